"""torchvision's `fcos_resnet50_fpn`."""

from harmonic_tf.models.backbones.torch_weights import layer_places
from harmonic_tf.models.torchvision.family import Family, resnet_fpn_places, score_places


def places(model, classes):
    """Where the tensors of its state dict go."""
    layer = model.network.get_layer
    found = resnet_fpn_places(model, ("p6", "p7"))
    for ours, theirs in (("classification", "classification_head"), ("box", "regression_head")):
        for i in range(4):
            found |= layer_places(layer(f"{ours}_convolution_{i}"), f"head.{theirs}.conv.{3 * i}")
            found |= layer_places(layer(f"{ours}_norm_{i}"), f"head.{theirs}.conv.{3 * i + 1}")
    return {
        **found,
        **score_places(
            layer("classification_prediction"),
            "head.classification_head.cls_logits",
            classes.kept,
            classes.count,
        ),
        **layer_places(layer("box_prediction"), "head.regression_head.bbox_reg"),
        **layer_places(layer("centerness_prediction"), "head.regression_head.bbox_ctrness"),
    }


FCOS = Family(
    name="fcos_resnet50_fpn",
    preset="fcos_resnet50_fpn",
    has=("head.regression_head.bbox_ctrness.bias",),
    logits="head.classification_head.cls_logits.bias",
    places=places,
    image_size=(1024, 1024),
    settings={"torchvision": True, "score_threshold": 0.2, "nms_threshold": 0.6},
)
