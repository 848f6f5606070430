"""From a state dict of torchvision's to a detector of ours."""

import re
from typing import NamedTuple

import numpy as np

from harmonic_tf.models.backbones.torch_weights import assign, read_state_dict
from harmonic_tf.models.detector import Detector
from harmonic_tf.models.registry import from_preset
from harmonic_tf.models.torchvision.classes import COCO_OUTPUTS, classes_of
from harmonic_tf.models.torchvision.fcos import FCOS
from harmonic_tf.models.torchvision.retinanet import RETINANET
from harmonic_tf.models.torchvision.ssd import SSD300
from harmonic_tf.models.torchvision.two_stage import FASTER_RCNN, MASK_RCNN

#: The first that a state dict has all of the tensors of is its own.
FAMILIES = (FCOS, RETINANET, MASK_RCNN, FASTER_RCNN, SSD300)
# What a tensor's name began with, and what it begins with now.
_RENAMED = (
    (r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d)", r"\1.0."),
    (r"rpn\.head\.conv", "rpn.head.conv.0.0."),
    (r"roi_heads\.mask_head\.mask_fcn(\d)", lambda x: f"roi_heads.mask_head.{int(x[1]) - 1}.0."),
)
# Where every second number was a ReLU; FCOS has others there.
_RENAMED_IN_RETINANET = (
    r"(head\.(?:classification|regression)_head\.conv)\.(\d)",
    lambda x: f"{x[1]}.{int(x[2]) // 2}.0.",
)
# Our batch normalisation adds this to variances.
_EPSILON = 1e-5


class Loaded(NamedTuple):
    """A detector with torchvision's weights.

    Attributes:
        architecture: string, torchvision's name of it.
        model: `harmonic_tf.models.detector.Detector`.
        class_names: tuple of strings.
        category_ids: tuple of ints: the outputs of torchvision's, which are COCO's ids.
    """

    architecture: str
    model: Detector
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]


def load_torchvision(path, image_size=None):
    """Loads `torch.save(model.state_dict(), path)` of a detector of torchvision's, without PyTorch.

    Which one it is, its tensors say: `fcos_resnet50_fpn`, `retinanet_resnet50_fpn`,
    `fasterrcnn_resnet50_fpn`, `maskrcnn_resnet50_fpn` or `ssd300_vgg16`. Images are brought to the
    input by letterbox, those of the last by stretching.

    Args:
        path: string or Path.
        image_size: (height, width) of the input in pixels, best multiples of 128; None for
            1024 x 1024. `ssd300_vgg16` has always 300 x 300.

    Returns:
        `Loaded`.

    Raises:
        ValueError: if it is no such file.

    Example:

    ```python
    loaded = load_torchvision("fcos_resnet50_fpn_coco-99b0c9b7.pth")
    loaded.model.save("fcos.keras")
    ```
    """
    path = str(path)
    state = with_new_names(read_state_dict(path))
    family = _family_of(state, path)
    classes = classes_of(state[family.logits].size // family.outputs_a_class, family.softmax)
    if image_size and not family.any_size and tuple(image_size) != family.image_size:
        raise ValueError(
            f"{path}: {family.name} takes images of {family.image_size} (height, width) pixels. "
            f"Received: {tuple(image_size)}"
        )
    model = from_preset(
        family.preset,
        num_classes=len(classes.kept),
        backbone=family.backbone,
        freeze_batch_norm=True,
        image_size=image_size or family.image_size,
        **{"resize": "letterbox", **family.settings},
    )
    is_frozen = not any(name.endswith(".num_batches_tracked") for name in state)
    is_published = is_frozen and classes.count == COCO_OUTPUTS
    state = with_epsilon(state, family.epsilon if is_published else _EPSILON)
    try:
        assign(state, family.places(model, classes))
    except ValueError as error:
        raise ValueError(f"{path}, read as torchvision's {family.name}: {error}") from error
    return Loaded(family.name, model, classes.names, classes.kept)


def _family_of(state, path):
    for family in FAMILIES:
        if all(name in state for name in family.has):
            return family
    names = ", ".join(family.name for family in FAMILIES)
    raise ValueError(
        f"{path}: expected the state dict of a detector of torchvision's ({names}). "
        f"Received: {len(state)} tensors, the first {next(iter(state), None)!r}"
    )


def with_new_names(state):
    """A state dict with the names of today's torchvision, which nests a convolution in a block.

    Example:

    >>> list(with_new_names({"backbone.fpn.inner_blocks.0.weight": 0}))
    ['backbone.fpn.inner_blocks.0.0.weight']
    """
    renamed = [*_RENAMED, *([] if FCOS.has[0] in state else [_RENAMED_IN_RETINANET])]

    def new(name):
        for pattern, replacement in renamed:
            name = re.sub(rf"^{pattern}\.(?=(weight|bias)$)", replacement, name)
        return name

    return {new(name): x for name, x in state.items()}


def with_epsilon(state, epsilon):
    """A state dict for batch normalisation that adds 1e-5 to variances, where its own adds another.

    Its scales make up for the difference, so that outputs are the same.

    Args:
        state: mapping from name to array.
        epsilon: float, its own.
    """
    scaled = dict(state)
    for name, x in state.items():
        scale = name.replace(".running_var", ".weight")
        if scale != name and scale in state and state[scale].shape == x.shape:
            variance = np.asarray(x, "float64")
            ratio = np.sqrt((variance + _EPSILON) / (variance + epsilon))
            scaled[scale] = (state[scale] * ratio).astype("float32")
    return scaled
