"""Backbones that give a feature pyramid its inputs.

Ours are `PyramidBackbone`s. Detectors also take any KerasCV backbone (by its
`pyramid_level_inputs`) or KerasHub backbone (by its `pyramid_outputs`). Every backbone here takes
images with values 0 to 255, RGB.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
from keras import layers

from harmonic_tf.models.backbones.efficientnet_lite import (
    efficientnet_lite,
    load_efficientnet_lite,
)
from harmonic_tf.models.backbones.resnet import resnet, resnet_weights
from harmonic_tf.models.backbones.resnext import load_resnext, resnext101_32x8d
from harmonic_tf.models.backbones.tiny import tiny
from harmonic_tf.models.backbones.vgg import load_vgg16, vgg16


class Architecture(NamedTuple):
    """A network, and where its pretrained weights come from.

    Attributes:
        build: function from a Keras tensor of images to a dictionary of pyramid levels.
        load: function of a model with that network and of `weights`, `"imagenet"` or a path, that
            loads them; None for a network that is trained from scratch.
    """

    build: Callable
    load: Callable | None = None


_ARCHITECTURES = {
    "tiny": Architecture(tiny),
    "efficientnet_lite0": Architecture(efficientnet_lite(1.0, 1.0), load_efficientnet_lite),
    "efficientnet_lite1": Architecture(efficientnet_lite(1.0, 1.1), load_efficientnet_lite),
    "efficientnet_lite2": Architecture(efficientnet_lite(1.1, 1.2), load_efficientnet_lite),
    "resnet50": Architecture(resnet("ResNet50", (3, 4, 6, 3)), resnet_weights("ResNet50")),
    "resnet101": Architecture(resnet("ResNet101", (3, 4, 23, 3)), resnet_weights("ResNet101")),
    "resnext101_32x8d": Architecture(resnext101_32x8d, load_resnext),
    "vgg16": Architecture(vgg16, load_vgg16),
}


@keras.saving.register_keras_serializable(package="harmonic_tf")
class PyramidBackbone(keras.Model):
    """A backbone with one output a pyramid level: P2 (stride 4) to P5 (stride 32).

    `"vgg16"` has P3 (stride 8) to P8 instead: SSD's own layers are part of it.

    Args:
        architecture: `"tiny"`, `"resnet50"`, `"resnet101"`, `"resnext101_32x8d"` or `"vgg16"`.
        image_size: (height, width) in pixels; None for an axis of any size.
        freeze_batch_norm: bool. Whether batch normalisation keeps its statistics and scale, the
            usual choice where pretrained weights are fine-tuned with small batches.
        **kwargs: of `keras.Model`.

    Raises:
        ValueError: if there is no such architecture, or images are too small for it.

    Example:

    >>> backbone = PyramidBackbone("tiny", image_size=(64, 96))
    >>> {level: x.shape[1:] for level, x in backbone.output.items()}
    {'P2': (16, 24, 32), 'P3': (8, 12, 64), 'P4': (4, 6, 96), 'P5': (2, 3, 160)}
    """

    def __init__(self, architecture, image_size=(None, None), freeze_batch_norm=False, **kwargs):
        if architecture not in _ARCHITECTURES:
            raise ValueError(
                f"`architecture` must be one of {sorted(_ARCHITECTURES)}. "
                f"Received: {architecture!r}"
            )
        images = keras.Input((*image_size, 3), name="images")
        levels = _ARCHITECTURES[architecture].build(images)
        super().__init__(inputs=images, outputs=levels, **kwargs)
        self.architecture = architecture
        self.image_size = tuple(image_size)
        self.freeze_batch_norm = freeze_batch_norm
        if freeze_batch_norm:
            for layer in self._flatten_layers():
                if isinstance(layer, layers.BatchNormalization):
                    layer.trainable = False

    @property
    def pyramid_level_inputs(self):
        """Name of the layer that each level comes from, as KerasCV's backbones have it."""
        return {level: _layer_name(output) for level, output in self.output.items()}

    def get_config(self):
        return {
            "name": self.name,
            "architecture": self.architecture,
            "image_size": self.image_size,
            "freeze_batch_norm": self.freeze_batch_norm,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def build_backbone(architecture, image_size, weights="none", freeze_batch_norm=None):
    """Builds a `PyramidBackbone` and loads its weights.

    Args:
        architecture: see `PyramidBackbone`.
        image_size: see `PyramidBackbone`.
        weights: `"none"`, `"imagenet"` (downloaded by Keras), or the path of a file: for a ResNet,
            the same Keras application without its top; for VGG-16, with its top; for ResNeXt, which
            has no `"imagenet"`, torchvision's state dict.
        freeze_batch_norm: bool, or None for the usual: only with pretrained weights.

    Raises:
        ValueError: if there are no such weights, or they cannot be read or downloaded.
    """
    pretrained = weights not in (None, "none")
    if freeze_batch_norm is None:
        freeze_batch_norm = pretrained
    backbone = PyramidBackbone(architecture, image_size, freeze_batch_norm)
    if pretrained:
        load = _ARCHITECTURES[architecture].load
        if load is None:
            raise ValueError(
                f"There are no pretrained weights for the backbone {architecture!r}; it is trained "
                f'from scratch: weights="none". Received: weights={str(weights)!r}'
            )
        load(backbone, str(weights))
    return backbone


def pyramid_features(backbone, levels):
    """A model from images to a dictionary of the backbone's feature maps at `levels`.

    Args:
        backbone: a `PyramidBackbone`, or a KerasCV or KerasHub backbone.
        levels: sequence of strings such as `("P3", "P4", "P5")`.

    Raises:
        ValueError: if the backbone does not say where its levels are, or lacks one.
    """
    names = level_layer_names(backbone)
    missing = [level for level in levels if level not in names]
    if missing:
        raise ValueError(
            f"The backbone {backbone.name!r} has no level {', '.join(missing)}; "
            f"it has {', '.join(names)}."
        )
    outputs = {level: backbone.get_layer(names[level]).output for level in levels}
    return keras.Model(backbone.input, outputs, name=f"{backbone.name}_features")


def level_layer_names(backbone):
    """Name of the layer that each pyramid level of a backbone comes from."""
    if getattr(backbone, "pyramid_level_inputs", None):
        return dict(backbone.pyramid_level_inputs)
    if getattr(backbone, "pyramid_outputs", None):
        return {level: _layer_name(x) for level, x in backbone.pyramid_outputs.items()}
    raise ValueError(
        "A backbone must say where its pyramid levels are, by `pyramid_level_inputs` (KerasCV) or "
        f"`pyramid_outputs` (KerasHub). Received: {type(backbone).__name__}"
    )


def _layer_name(keras_tensor):
    return keras_tensor._keras_history.operation.name
