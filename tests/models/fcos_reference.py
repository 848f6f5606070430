"""What torchvision's `fcos_resnet50_fpn` makes of random features, for a test that does without it.

    pip install torch torchvision
    python tests/models/fcos_reference.py

writes `data/fcos_resnet50_fpn.npz`: the outputs of its pyramid and heads, and its losses on them.
The ResNet before them is another than Keras's. Both sides fill theirs by `seeded`. Torchvision's
locations lie at the corners of their cells, the paper's and ours in the middle: its losses are
given ours.
"""

import zlib
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("data") / "fcos_resnet50_fpn.npz"
# All levels but P3 and P4 have odd sides, on which "same" padding is PyTorch's.
SIZE = (160, 288)
STRIDES = (8, 16, 32, 64, 128)
CLASSES = 4
BOXES = np.array([[8.0, 20, 60, 90], [30, 10, 270, 150], [40, 40, 70, 76]], "float32")
LABELS = np.array([2, 0, 3])


def seeded(name, shape):
    """Numbers that depend on their name only, of about the size that training leaves them."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) == 4 else 0.1
    is_norm = name.endswith(".weight") and len(shape) == 1
    return random.normal(float(is_norm), scale, shape).astype("float32")


def features():
    """C3, C4 and C5, `(1, H, W, F)`."""
    random = np.random.default_rng(0)
    return {
        f"P{level}": random.normal(0, 1, (1, SIZE[0] >> level, SIZE[1] >> level, filters)).astype(
            "float32"
        )
        for level, filters in ((3, 512), (4, 1024), (5, 2048))
    }


def main():
    import torch
    from torchvision.models.detection import fcos_resnet50_fpn

    from harmonic_tf.models.anchors import strided_squares

    model = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES)
    for part in (model.backbone.fpn, model.head):
        shapes = {name: tuple(x.shape) for name, x in part.state_dict().items()}
        part.load_state_dict({k: torch.tensor(seeded(k, shape)) for k, shape in shapes.items()})
    maps = {level: torch.tensor(x).permute(0, 3, 1, 2) for level, x in features().items()}
    with torch.no_grad():
        levels = list(model.backbone.fpn(maps).values())
        outputs = model.head(levels)
        losses = model.compute_loss(
            [{"boxes": torch.tensor(BOXES), "labels": torch.tensor(LABELS)}],
            outputs,
            [torch.tensor(strided_squares(SIZE, STRIDES))],
            [x.shape[2] * x.shape[3] for x in levels],
        )
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        FILE,
        classification=outputs["cls_logits"],
        box=outputs["bbox_regression"],
        centerness=outputs["bbox_ctrness"][..., 0],
        **{f"{name}_loss": value for name, value in losses.items()},
    )


if __name__ == "__main__":
    main()
