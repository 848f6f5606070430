"""torchvision's `fasterrcnn_resnet50_fpn` and `maskrcnn_resnet50_fpn`."""

import numpy as np

from harmonic_tf.models.backbones.torch_weights import layer_places, with_rows
from harmonic_tf.models.torchvision.family import (
    Family,
    delta_places,
    resnet_fpn_places,
    score_places,
)
from harmonic_tf.models.two_stage import RATIOS, ROI_SIZE


def places(model, classes):
    """Where the tensors of Faster R-CNN's state dict go."""
    (head,) = model.heads
    return {
        **resnet_fpn_places(model),
        **_rpn_places(model),
        **_first_dense_places(head.get_layer("head_0"), "roi_heads.box_head.fc6"),
        **layer_places(head.get_layer("head_1"), "roi_heads.box_head.fc7"),
        **score_places(
            head.get_layer("classification"),
            "roi_heads.box_predictor.cls_score",
            (*classes.kept, 0),
            classes.count,
        ),
        **delta_places(
            head.get_layer("box"),
            "roi_heads.box_predictor.bbox_pred",
            classes.count,
            index=classes.kept,
        ),
    }


def mask_places(model, classes):
    """Where the tensors of Mask R-CNN's state dict go."""
    (branch,) = model.branch_networks
    found = places(model, classes)
    for i in range(4):
        found |= layer_places(branch.get_layer(f"mask_{i}"), f"roi_heads.mask_head.{i}.0")
    predictor = "roi_heads.mask_predictor"
    return {
        **found,
        **layer_places(branch.get_layer("mask_deconvolution"), f"{predictor}.conv5_mask"),
        **score_places(
            branch.get_layer("mask_logits"),
            f"{predictor}.mask_fcn_logits",
            classes.kept,
            classes.count,
        ),
    }


def _rpn_places(model):
    """Those of the RPN, whose objectness is one logit there, and here that of the background 0."""
    rpn, anchors = model.network.get_layer("rpn"), len(RATIOS)
    (first, *_) = model.stages
    objectness = layer_places(rpn.classification, "rpn.head.cls_logits")
    return {
        **layer_places(rpn.convolution, "rpn.head.conv.0.0"),
        **with_rows(
            objectness, np.repeat(np.arange(anchors), 2), anchors, np.tile([1, 0], anchors)
        ),
        **delta_places(rpn.box, "rpn.head.bbox_pred", anchors, first.coder.variance),
    }


def _first_dense_places(layer, torch_name):
    """Those of a dense layer on pooled features, whose channels come before their cells there."""
    found = layer_places(layer, torch_name)
    weight = found[f"{torch_name}.weight"]
    channels = weight.shape[1] // ROI_SIZE**2
    order = np.arange(weight.shape[1]).reshape(channels, ROI_SIZE, ROI_SIZE)
    order = order.transpose(1, 2, 0).ravel()
    arranged = weight._replace(arrange=lambda array: weight.arrange(array[:, order]))
    return {**found, f"{torch_name}.weight": arranged}


FASTER_RCNN = Family(
    name="fasterrcnn_resnet50_fpn",
    preset="faster_rcnn_resnet50_fpn",
    has=("rpn.head.cls_logits.bias", "roi_heads.box_predictor.cls_score.bias"),
    logits="roi_heads.box_predictor.cls_score.bias",
    places=places,
    image_size=(1024, 1024),
    settings={"torchvision": True, "proposals": (1000, 1000)},
    softmax=True,
    epsilon=0.0,
)
MASK_RCNN = FASTER_RCNN._replace(
    name="maskrcnn_resnet50_fpn",
    preset="mask_rcnn_resnet50_fpn",
    has=(*FASTER_RCNN.has, "roi_heads.mask_predictor.mask_fcn_logits.bias"),
    places=mask_places,
)
