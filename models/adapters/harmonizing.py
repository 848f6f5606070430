"""`harmonize`: one line that trains the detector that someone already has with HarmonicDet."""

import contextlib
import warnings

from harmonic_tf.models.adapters.harmonized import Harmonized
from harmonic_tf.models.adapters.kinds import adapter_of


def harmonize(model, loss=None, layout=None, repair_prior=False):
    """A detector of another library, ready to be compiled with `HarmonicDetLoss`.

        model = harmonize(keras_cv.models.RetinaNet.from_preset(...))
        model.compile("adam", loss=HarmonicDetLoss())

    The weights are shared and the model that is passed in stays as it is. What is returned predicts
    the same and is fitted on the same data; label encoder, preprocessor and prediction decoder are
    those of the model, read and set on either.

    | model | what the loss reads |
    |---|---|
    | `keras_cv.models.RetinaNet` | the label encoder's targets, deltas over its variance, focal |
    | `keras_cv.models.YOLOV8Detector` | boxes; an anchor with a class target over 0 is a positive \
of that class, whatever the target, all others are background; focal |
    | `keras_cv.models.FasterRCNN` of keras-cv-nightly | the head's sampled regions, softmax; \
the RPN has the standard loss |
    | `keras_hub.models.RetinaNetObjectDetector` | as KerasCV's, variance 1 |
    | two outputs, boxes and classes | what `layout` says, a target for each output |

    Args:
        model: built Keras model of one of these kinds.
        loss: the loss that it is compiled with where `compile` is given none. Defaults to
            `HarmonicDetLoss()`.
        layout: `harmonic_tf.Layout` or its name, for a model with two outputs.
        repair_prior: bool. KerasHub's RetinaNet begins with the prior of its class head on its box
            head, so that every anchor begins as half an object. True moves it, in the weights that
            both models share; False warns.

    Returns:
        A Keras model, `harmonic_tf.models.adapters.harmonized.Harmonized`.

    Raises:
        ValueError: for a model of another kind, with what to do instead; for a layout that is not
            needed, or a prior that is not misplaced.

    Example:

    >>> images = keras.Input((64, 64, 3))
    >>> x = keras.layers.Conv2D(8, 3, strides=16, padding="same")(images)
    >>> boxes = keras.layers.Reshape((16, 4), name="regression")(keras.layers.Conv2D(4, 1)(x))
    >>> scores = keras.layers.Conv2D(3, 1, activation="sigmoid")(x)
    >>> scores = keras.layers.Reshape((16, 3), name="classification")(scores)
    >>> model = harmonize(keras.Model(images, [boxes, scores]), layout="keras_retinanet")
    >>> model.compile("adam", loss=HarmonicDetLoss())
    >>> targets = [np.zeros((2, 16, 4 + 1)), np.zeros((2, 16, 3 + 1))]  # each ends in a state
    >>> bool(model.fit(np.zeros((2, 64, 64, 3)), targets, verbose=0).history["loss"][0] > 0)
    True
    """
    adapter = adapter_of(model, layout)
    if repair_prior and not adapter.misplaces_prior:
        raise ValueError(
            "`repair_prior` must be False: the prior of this model is not on its box head. "
            "Received: repair_prior=True"
        )
    if repair_prior:
        adapter.repair_prior()
    elif adapter.misplaces_prior:
        warnings.warn(
            f"{type(model).__name__} begins with the prior of its class head on its box head: "
            "every anchor scores about 0.5 at first, and the loss begins very high. "
            "harmonize(model, repair_prior=True) moves it.",
            stacklevel=2,
        )
    strategy = getattr(model, "distribute_strategy", None)
    with strategy.scope() if strategy else contextlib.nullcontext():
        return Harmonized(model, loss, layout)
