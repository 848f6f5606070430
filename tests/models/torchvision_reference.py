"""What torchvision's detectors make of an image, for a test that does without it.

    pip install torch torchvision
    python tests/models/torchvision_reference.py [NAME...]

writes `data/torchvision_NAME.npz`: the names and shapes of its state dict, some rows of its outputs
before NMS, and its detections. Those of Faster R-CNN are Mask R-CNN's, but for masks. Both sides
fill their weights by `seeded`. What torchvision adds to variances is 0, as in the files that it
published first, unless EPSILON says another.
"""

import json
import re
import sys
import zlib
from pathlib import Path

import numpy as np

DATA = Path(__file__).with_name("data")
NAMES = (
    "fcos_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "ssd300_vgg16",
)
SIZE = (128, 160)
OUTPUTS = 91
EPSILON = {"fcos_resnet50_fpn": 1e-5}
ROWS = 150
# Regions and masks whose outputs are kept.
REGIONS, MASKS = 40, 8
# Of what predicts scores; others start from 0.
BIAS = {"scale_weight": 20.0, "rpn": 0.0, "cls_logits": -4.8, "ctrness": 2.0, "bbox_reg": 0.5}
# Ids without a class, which training would have made as unlikely in a softmax.
UNUSED = [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]
# Over the size that keeps variances: so that boxes stay near their anchors, and scores differ.
GAIN = {
    "bn3": 0.5,
    "layer_blocks": 0.004,
    "bbox_reg": 0.2,
    "cls_logits": 0.6,
    "bbox_pred": 0.2,
    "cls_score": 2.0,
    "mask_fcn_logits": 5.0,
    "features.0.": 0.02,
    "classification_head.module_list": 0.7,
    "regression_head.module_list": 0.3,
}


def file_of(name):
    return DATA / f"torchvision_{name}.npz"


def seeded(name, shape):
    """Numbers that depend on their name only. The first channel of a norm varies hardly at all."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    gain, bias = (
        next((value for part, value in table.items() if part in name), default)
        for table, default in ((GAIN, 1.0), (BIAS, 0.0))
    )
    if name.endswith("running_var"):
        values = random.uniform(0.5, 1.5, shape)
        values[0] = 3e-5
    elif len(shape) > 1:
        values = random.normal(0, gain * np.sqrt(2 / np.prod(shape[1:])), shape)
    elif name.endswith(".weight"):
        values = gain * random.uniform(0.5, 1.5, shape)
        values[0] = 0.005
    else:
        values = random.normal(bias, 0.1, shape)
    if name.endswith("cls_score.bias"):
        values[UNUSED] = -50.0
    if re.search(r"class.*module_list\.\d\.bias", name):
        values.reshape(-1, OUTPUTS)[:, UNUSED] = -50.0
        values[::OUTPUTS] = 6.0
    return values.astype("float32")


def size_of(name):
    """(height, width) of the image, which torchvision takes as it is."""
    return (300, 300) if name.startswith("ssd") else SIZE


def image(size):
    """Squares of 8 pixels, `(H, W, 3)`, 0 to 255."""
    squares = np.random.default_rng(0).integers(0, 256, (-(-size[0] // 8), -(-size[1] // 8), 3))
    whole = squares.repeat(8, axis=0).repeat(8, axis=1)
    return whole[: size[0], : size[1]].astype("float32")


def filled(name):
    """torchvision's detector with seeded weights, which takes the image as it is."""
    import torch
    from torchvision.models import detection

    settings = {} if name.startswith("ssd") else {"min_size": min(SIZE), "max_size": max(SIZE)}
    settings |= {"weights": None, "weights_backbone": None, "num_classes": OUTPUTS}
    model = getattr(detection, name)(**settings).eval()
    shapes = {key: tuple(x.shape) for key, x in model.state_dict().items()}
    model.load_state_dict({key: torch.tensor(seeded(key, x)) for key, x in shapes.items()})
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = EPSILON.get(name, 0.0)
    return model, shapes


def dense(model, images, features):
    """Outputs of RetinaNet, FCOS and SSD, and the boxes that they say."""
    outputs = model.head(features)
    (anchors,) = model.anchor_generator(images, features)
    deltas = outputs["bbox_regression"][0]
    decode = getattr(model.box_coder, "decode_single", model.box_coder.decode)
    found = {"classification": outputs["cls_logits"][0], "boxes": decode(deltas, anchors)}
    if "bbox_ctrness" in outputs:
        found["centerness"] = outputs["bbox_ctrness"][0, :, 0]
    return found


def every(count, length):
    return np.linspace(0, length - 1, min(count, length)).astype(int)


def two_stage(model, images, features):
    """Outputs of the RPN, and of the heads for some of the proposals and detections."""
    import torch

    named = dict(zip(("0", "1", "2", "3", "pool"), features, strict=True))
    objectness, deltas = model.rpn.head(features)
    (anchors,) = model.rpn.anchor_generator(images, features)
    cells = [[x.permute(0, 2, 3, 1).reshape(-1) for x in part] for part in (objectness, deltas)]
    objectness, deltas = map(torch.cat, cells)
    (proposals,), _ = model.rpn(images, named)
    rois, heads = proposals[every(REGIONS, len(proposals))], model.roi_heads
    pooled = heads.box_head(heads.box_roi_pool(named, [rois], images.image_sizes))
    logits, box_deltas = heads.box_predictor(pooled)
    found = {
        "objectness": objectness,
        "boxes": model.rpn.box_coder.decode_single(deltas.reshape(-1, 4), anchors),
        "regions": rois,
        "region_logits": logits,
        "region_boxes": heads.box_coder.decode(box_deltas, [rois])[:, 1:],
    }
    (detections,), _ = heads(named, [proposals], images.image_sizes)
    if "masks" in detections:
        found["masks"] = detections["masks"][:MASKS, 0]
    return found


def main(names):
    import torch

    for name in names or NAMES:
        model, shapes = filled(name)
        pixels = torch.tensor(image(size_of(name)) / np.float32(255)).permute(2, 0, 1)
        with torch.no_grad():
            (detections,) = model([pixels])
            images, _ = model.transform([pixels])
            features = list(model.backbone(images.tensors).values())
            outputs = (two_stage if "rcnn" in name else dense)(model, images, features)
        rows = every(ROWS, len(outputs["boxes"]))
        for key, value in outputs.items():
            print(name, key, tuple(value.shape), f"std {float(value.std()):.3g}")
        print(name, len(detections["scores"]), "detections", detections["scores"][:5])
        np.savez_compressed(
            file_of(name),
            shapes=json.dumps(shapes),
            rows=rows,
            **{
                key: value[rows] if len(value) == len(outputs["boxes"]) else value
                for key, value in outputs.items()
            },
            **{f"found_{key}": detections[key] for key in ("boxes", "scores", "labels")},
        )


if __name__ == "__main__":
    main(sys.argv[1:])
