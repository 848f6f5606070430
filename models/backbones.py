"""Backbones that give a feature pyramid its inputs.

Ours are `PyramidBackbone`s: a tiny residual network made for a CPU, and Keras's ResNets. Detectors
also take any KerasCV backbone (by its `pyramid_level_inputs`) or KerasHub backbone (by its
`pyramid_outputs`). Every backbone here takes pictures with values 0 to 255, RGB.
"""

import keras
from keras import layers

_LEVELS = ("P2", "P3", "P4", "P5")


def _tiny(images):
    """A residual network of 0.8 million parameters; P3 has 64 channels, P5 160."""
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(images)
    x = _convolution(x, 16, strides=2, name="stem")
    levels = {"P2": _convolution(x, 32, strides=2, name="P2")}
    x = levels["P2"]
    for level, filters, blocks in zip(_LEVELS[1:], (64, 96, 160), (2, 2, 1), strict=True):
        for block in range(blocks):
            x = _residual(x, filters, strides=1 if block else 2, name=f"{level}_block{block}")
        levels[level] = x
    return levels


def _residual(x, filters, strides, name):
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        if strides > 1:
            shortcut = layers.AveragePooling2D(strides, padding="same", name=f"{name}_pool")(x)
        shortcut = _convolution(shortcut, filters, size=1, relu=False, name=f"{name}_shortcut")
    x = _convolution(x, filters, strides=strides, name=f"{name}_1")
    x = _convolution(x, filters, relu=False, name=f"{name}_2")
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _convolution(x, filters, size=3, strides=1, relu=True, name=None):
    x = layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _resnet(application, blocks):
    """A Keras ResNet behind its own preprocessing; `blocks` are the last block of each level."""

    def features(images):
        # What keras.applications.resnet.preprocess_input does, as layers that a model can hold.
        x = keras.ops.flip(images, axis=-1)
        x = layers.Rescaling(1.0, offset=[-103.939, -116.779, -123.68], name="rescaling")(x)
        network = getattr(keras.applications, application)(
            include_top=False, weights=None, input_tensor=x
        )
        return {
            level: network.get_layer(f"conv{i + 2}_block{block}_out").output
            for i, (level, block) in enumerate(zip(_LEVELS, blocks, strict=True))
        }

    return features


_ARCHITECTURES = {
    "tiny": _tiny,
    "resnet50": _resnet("ResNet50", (3, 4, 6, 3)),
    "resnet101": _resnet("ResNet101", (3, 4, 23, 3)),
}
_APPLICATIONS = {"resnet50": "ResNet50", "resnet101": "ResNet101"}


@keras.saving.register_keras_serializable(package="harmonic_tf")
class PyramidBackbone(keras.Model):
    """A backbone with one output a pyramid level: P2 (stride 4) to P5 (stride 32).

    Args:
        architecture: `"tiny"`, `"resnet50"` or `"resnet101"`.
        image_size: (height, width) in pixels; None for an axis of any size.
        freeze_batch_norm: bool. Whether batch normalisation keeps its statistics and scale, the
            usual choice where pretrained weights are fine-tuned with small batches.
        **kwargs: of `keras.Model`.
    """

    def __init__(self, architecture, image_size=(None, None), freeze_batch_norm=False, **kwargs):
        if architecture not in _ARCHITECTURES:
            raise ValueError(
                f"`architecture` must be one of {sorted(_ARCHITECTURES)}. "
                f"Received: {architecture!r}"
            )
        images = keras.Input((*image_size, 3), name="images")
        levels = _ARCHITECTURES[architecture](images)
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
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def build_backbone(architecture, image_size, weights="none", freeze_batch_norm=None):
    """Builds a `PyramidBackbone` and loads its weights.

    Args:
        architecture: see `PyramidBackbone`.
        image_size: see `PyramidBackbone`.
        weights: `"none"`, `"imagenet"` (downloaded by Keras), or the path of a weights file of the
            same Keras application without its top.
        freeze_batch_norm: bool, or None for the usual: only with pretrained weights.

    Raises:
        ValueError: if there are no such weights, or they cannot be read or downloaded.
    """
    pretrained = weights not in (None, "none")
    if freeze_batch_norm is None:
        freeze_batch_norm = pretrained
    backbone = PyramidBackbone(architecture, image_size, freeze_batch_norm)
    if pretrained:
        if architecture not in _APPLICATIONS:
            raise ValueError(
                f"There are no pretrained weights for the backbone {architecture!r}; it is trained "
                f'from scratch: weights="none". Received: weights={str(weights)!r}'
            )
        _load_application_weights(backbone, _APPLICATIONS[architecture], str(weights))
    return backbone


def _load_application_weights(backbone, application, weights):
    try:
        source = getattr(keras.applications, application)(include_top=False, weights=weights)
    except Exception as error:
        advice = (
            "Check the network, or download the file elsewhere and give its path as `weights`."
            if weights == "imagenet"
            else "Expected a weights file of this Keras application without its top."
        )
        raise ValueError(
            f"Could not load the weights {weights!r} of {application}: {error} {advice}"
        ) from error
    for layer in source.layers:
        if layer.weights:
            backbone.get_layer(layer.name).set_weights(layer.get_weights())


def pyramid_features(backbone, levels):
    """A model from pictures to a dictionary of the backbone's feature maps at `levels`.

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
