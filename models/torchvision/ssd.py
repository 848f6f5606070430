"""torchvision's `ssd300_vgg16`."""

from harmonic_tf.models.anchors import ssd_anchor_shapes
from harmonic_tf.models.backbones.torch_weights import Place, layer_places
from harmonic_tf.models.torchvision.family import Family, delta_places, score_places

_SIDE = 300
_SHAPES = tuple(
    tuple((min(width, _SIDE), min(height, _SIDE)) for width, height in shapes)
    for shapes in ssd_anchor_shapes(
        tuple(_SIDE * scale for scale in (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)),
        ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    )
)
# Names of our convolutions, and what their names end in there, after "backbone.".
_VGG = {
    **{f"block1_conv{i}": f"features.{n}" for i, n in enumerate((0, 2), 1)},
    **{f"block2_conv{i}": f"features.{n}" for i, n in enumerate((5, 7), 1)},
    **{f"block3_conv{i}": f"features.{n}" for i, n in enumerate((10, 12, 14), 1)},
    **{f"block4_conv{i}": f"features.{n}" for i, n in enumerate((17, 19, 21), 1)},
    **{f"block5_conv{i}": f"extra.0.{n}" for i, n in enumerate((1, 3, 5), 1)},
    "fc6": "extra.0.7.1",
    "fc7": "extra.0.7.3",
    **{f"P{i + 4}_1": f"extra.{i}.0" for i in range(1, 5)},
    **{f"P{i + 4}_2": f"extra.{i}.2" for i in range(1, 5)},
}


def places(model, classes):
    """Where the tensors of its state dict go."""
    factors = model.backbone.get_layer("block4_norm").factors
    found = {"backbone.scale_weight": Place(factors, tuple(factors.shape), lambda array: array)}
    for ours, theirs in _VGG.items():
        found |= layer_places(model.backbone.get_layer(ours), f"backbone.{theirs}")
    layer = model.network.get_layer
    for i, shapes in enumerate(_SHAPES):
        found |= score_places(
            layer(f"classification_{i}"),
            f"head.classification_head.module_list.{i}",
            (*classes.kept, 0),
            classes.count,
            len(shapes),
        )
        found |= delta_places(
            layer(f"box_{i}"), f"head.regression_head.module_list.{i}", len(shapes)
        )
    return found


SSD300 = Family(
    name="ssd300_vgg16",
    preset="ssd300_vgg16",
    has=("backbone.scale_weight", "head.classification_head.module_list.0.bias"),
    logits="head.classification_head.module_list.0.bias",
    places=places,
    image_size=(_SIDE, _SIDE),
    settings={
        "anchor_shapes": _SHAPES,
        "steps": (8, 16, 32, 64, 100, 300),
        "max_detections": 200,
        "resize": "stretch",
    },
    backbone="vgg16_torchvision",
    any_size=False,
    outputs_a_class=len(_SHAPES[0]),
    softmax=True,
)
