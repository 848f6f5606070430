"""torchvision's `retinanet_resnet50_fpn`."""

from harmonic_tf.models.backbones.torch_weights import layer_places
from harmonic_tf.models.torchvision.family import (
    Family,
    delta_places,
    resnet_fpn_places,
    score_places,
)

_ANCHORS = 9


def places(model, classes):
    """Where the tensors of its state dict go."""
    layer = model.network.get_layer
    found = resnet_fpn_places(model, ("p6", "p7"))
    heads = {"classification_head": "classification_head", "box_head": "regression_head"}
    for ours, theirs in heads.items():
        for i, convolution in enumerate(layer(ours).convolutions):
            found |= layer_places(convolution, f"head.{theirs}.conv.{i}.0")
    return {
        **found,
        **score_places(
            layer("classification_head").prediction,
            "head.classification_head.cls_logits",
            classes.kept,
            classes.count,
            _ANCHORS,
        ),
        **delta_places(
            layer("box_head").prediction,
            "head.regression_head.bbox_reg",
            _ANCHORS,
            model.box_variance,
        ),
    }


RETINANET = Family(
    name="retinanet_resnet50_fpn",
    preset="retinanet_resnet50_fpn",
    has=("head.classification_head.cls_logits.bias", "head.regression_head.bbox_reg.bias"),
    logits="head.classification_head.cls_logits.bias",
    places=places,
    image_size=(1024, 1024),
    settings={"torchvision": True, "max_detections": 300},
    outputs_a_class=_ANCHORS,
    epsilon=0.0,
)
