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

#: The first that a state dict has all of the tensors of is its own.
FAMILIES = (FCOS, RETINANET)
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

    Which one it is, its tensors say: `fcos_resnet50_fpn` or `retinanet_resnet50_fpn`. Images are
    brought to the input by letterbox.

    Args:
        path: string or Path.
        image_size: (height, width) of the input in pixels, best multiples of 128; None for
            1024 x 1024.

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
    model = from_preset(
        family.preset,
        num_classes=len(classes.kept),
        backbone="resnet50_torchvision",
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
    pyramid = re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$")
    return {pyramid.sub(r"\1.0.\2", name): x for name, x in _nested_heads(state).items()}


def _nested_heads(state):
    """RetinaNet's, whose convolutions every second number was a ReLU; FCOS has others there."""
    head = re.compile(r"^(head\.(?:classification|regression)_head\.conv)\.(\d)\.(weight|bias)$")
    if any(name in state for name in FCOS.has):
        return state
    return {
        head.sub(lambda x: f"{x[1]}.{int(x[2]) // 2}.0.{x[3]}", name): tensor
        for name, tensor in state.items()
    }


def with_epsilon(state, epsilon):
    """A state dict for batch normalisation that adds 1e-5 to variances, where its own adds another.

    Its scales make up for the difference, so that outputs are the same.

    Args:
        state: mapping from name to array.
        epsilon: float, its own.
    """
    scaled = dict(state)
    for name in state:
        scale = name.replace(".running_var", ".weight")
        if scale != name and scale in state:
            variance = np.asarray(state[name], "float64")
            ratio = np.sqrt((variance + _EPSILON) / (variance + epsilon))
            scaled[scale] = (state[scale] * ratio).astype("float32")
    return scaled
