"""The name that KerasCV's RetinaNet had here before `harmonize`."""

import warnings

from harmonic_tf.models.adapters.harmonizing import harmonize
from harmonic_tf.models.backbones import level_layer_names


def KerasCVRetinaNet(backbone, num_classes, bounding_box_format="xyxy", **settings):
    """Deprecated: `harmonize(keras_cv.models.RetinaNet(...))`, of which this is the short form."""
    import keras_cv

    warnings.warn(
        "KerasCVRetinaNet(...) is harmonize(keras_cv.models.RetinaNet(...)), and will go.",
        DeprecationWarning,
        stacklevel=2,
    )
    if not hasattr(backbone, "pyramid_level_inputs"):
        backbone.pyramid_level_inputs = level_layer_names(backbone)
    return harmonize(
        keras_cv.models.RetinaNet(backbone, num_classes, bounding_box_format, **settings)
    )
