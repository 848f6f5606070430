"""Backbones of KerasCV and KerasHub, by the name of a preset."""

import difflib
import importlib
import os

import keras
from keras import layers

from harmonic_tf.models.backbones.backbone import freeze_parts, pyramid_features

_IMAGE_SIZE = {"keras_cv": "input_shape", "keras_hub": "image_shape"}


@keras.saving.register_keras_serializable(package="harmonic_tf")
class PreparedBackbone(keras.Model):
    """A backbone of another library behind what prepares its images.

    Its outputs are the pyramid levels, each of a layer of its own, and what is frozen is part of
    its config.

    Args:
        backbone: a KerasCV or KerasHub backbone, whose layers this model shares.
        scale: float or 3 floats that images, RGB with values 0 to 255, are multiplied by.
        offset: float or 3 floats that are added then.
        freeze_batch_norm: bool, as of `PyramidBackbone`.
        frozen_level: string or None, as of `PyramidBackbone`.
        name: string, the model's.
        trainable: bool. Whether any of it is trained.

    Raises:
        ValueError: if the backbone does not say where its levels are, or lacks `frozen_level`.

    Example:

    >>> import keras_cv
    >>> network = keras_cv.models.ResNetBackbone(
    ...     stackwise_filters=[64, 128, 256, 512], stackwise_blocks=[2, 2, 2, 2],
    ...     stackwise_strides=[1, 2, 2, 2], block_type="basic_block", include_rescaling=False,
    ...     input_shape=(64, 64, 3),
    ... )
    >>> backbone = PreparedBackbone(network, scale=1 / 255, frozen_level="P3")
    >>> backbone.output["P5"].shape
    (None, 2, 2, 512)
    """

    def __init__(
        self,
        backbone,
        scale=1.0,
        offset=0.0,
        freeze_batch_norm=False,
        frozen_level=None,
        name=None,
        trainable=True,
    ):
        images = keras.Input(backbone.input.shape[1:], name="images")
        prepared = layers.Rescaling(scale, offset, name="rescaling")(images)
        levels = pyramid_features(backbone)(prepared)
        outputs = {
            level: layers.Identity(name=f"level_{level}")(output)
            for level, output in levels.items()
        }
        super().__init__(inputs=images, outputs=outputs, name=name, trainable=trainable)
        self.backbone = backbone
        self.scale = scale
        self.offset = offset
        freeze_parts(self, freeze_batch_norm, frozen_level)

    @property
    def pyramid_level_inputs(self):
        """Name of the layer that each level comes from, as KerasCV's backbones have it."""
        return {level: f"level_{level}" for level in self.output}

    def get_config(self):
        return {
            "name": self.name,
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "scale": self.scale,
            "offset": self.offset,
            "freeze_batch_norm": self.freeze_batch_norm,
            "frozen_level": self.frozen_level,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects)
        return cls(**{**config, "backbone": backbone})


def preset_backbone(name, image_size, weights, freeze_batch_norm, frozen_level):
    """Builds a `PreparedBackbone` by a preset, which its library downloads unless it has it.

    Args:
        name: string, `"keras_cv:PRESET"` or `"keras_hub:PRESET"`; the preset may be a folder.
        image_size: (height, width) in pixels; None for an axis of any size.
        weights: `"none"`, or `"imagenet"` for those of the preset.
        freeze_batch_norm: bool, as of `PyramidBackbone`.
        frozen_level: string or None, as of `PyramidBackbone`.

    Raises:
        ValueError: if the library is not installed, it has no such preset, or the preset's files
            are neither here nor to be downloaded.
    """
    library, preset = name.split(":", 1)
    if library not in _IMAGE_SIZE or weights not in ("none", "imagenet"):
        raise ValueError(
            "Expected a backbone keras_cv:PRESET or keras_hub:PRESET with weights none or "
            f"imagenet, the preset's. Received: {name!r} with {str(weights)!r}"
        )
    try:
        module = importlib.import_module(library)
    except ImportError:
        package = library.replace("_", "-")
        raise ValueError(
            f"The backbone {name!r} needs a package that is not installed: pip install {package}"
        ) from None
    backbones = _backbones(module.models)
    _require_preset(name, preset, {x for kind in backbones for x in kind.presets})
    # KerasCV's `Backbone` itself knows no preset by its name.
    kind = next((x for x in backbones if preset in x.presets), module.models.Backbone)
    try:
        backbone = kind.from_preset(
            preset,
            load_weights=weights == "imagenet",
            **{_IMAGE_SIZE[library]: (*image_size, 3)},
        )
        rescaling = _rescaling(module, preset, backbone)
    except OSError as error:  # what libraries that download raise is of that class, too
        raise ValueError(
            f"The backbone {name!r} could be neither read here nor downloaded: check the network, "
            "or give its preset's folder in the place of its name "
            f"({error.strerror or type(error).__name__})"
        ) from error
    except Exception as error:
        raise ValueError(f"Could not build the backbone {name!r}: {error}") from error
    return PreparedBackbone(backbone, *rescaling, freeze_batch_norm, frozen_level)


def _backbones(models):
    classes = (kind for kind in vars(models).values() if isinstance(kind, type))
    return [kind for kind in classes if issubclass(kind, models.Backbone)]


def _require_preset(name, preset, known):
    is_elsewhere = "://" in preset or os.path.isdir(preset)
    if not is_elsewhere and preset not in known:
        close = difflib.get_close_matches(preset, known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(f"There is no preset, or folder of one, for the backbone {name!r}{hint}")


def _rescaling(module, preset, backbone):
    """Scale and offset for a backbone's images: in KerasHub those of the preset's converter."""
    if getattr(backbone, "include_rescaling", False):
        return 1.0, 0.0
    if not hasattr(module.layers, "ImageConverter"):
        return 1 / 255, 0.0
    converter = module.layers.ImageConverter.from_preset(preset)
    return (
        1.0 if converter.scale is None else converter.scale,
        0.0 if converter.offset is None else converter.offset,
    )
