"""A Keras model with two outputs, boxes and classes, that a layout describes."""

from harmonic_tf.models.adapters.adapter import Adapter
from harmonic_tf.models.stages import Lesson

_NAMES_OF_BOXES = ("box", "reg", "loc")


class TwoOutputs(Adapter):
    """How such a model learns: each output has a target of its own, as Keras has it.

    Args:
        detector: Keras model with two outputs `(B, A, ...)`, in a list or a dictionary. That of the
            boxes is the one with four columns or, if both have, with a name such as
            `"regression"`.
        layout: `harmonic_tf.Layout`.

    Raises:
        ValueError: if it cannot be told which output is which.
    """

    decodes = False

    def __init__(self, detector, layout):
        super().__init__(detector)
        self.layout = layout
        outputs = detector.output
        self._names = list(outputs) if isinstance(outputs, dict) else list(detector.output_names)
        outputs = list(outputs.values()) if isinstance(outputs, dict) else outputs
        self._of_boxes = _index_of_boxes(self._names, [output.shape for output in outputs])

    @property
    def loss_settings(self):
        settings = {
            "classification": self.layout.classification,
            "negative_ratio": None,
            "layout": self.layout,
        }
        if self.layout.box_variance is not None:
            settings["box_variance"] = self.layout.box_variance
        return settings

    def lessons(self, x, y, outputs, training):
        y_true = dict(zip(self.layout.target_keys, self._boxes_first(y), strict=True))
        y_pred = dict(zip(self.layout.prediction_keys, self._boxes_first(outputs), strict=True))
        return Lesson(y_true, y_pred), {}

    def _boxes_first(self, pair):
        """What belongs to the boxes and what to the classes, of a list or a dictionary by name."""
        pair = [pair[name] for name in self._names] if isinstance(pair, dict) else list(pair)
        return pair if self._of_boxes == 0 else pair[::-1]


def _index_of_boxes(names, shapes):
    """Which of two outputs has the boxes, 0 or 1."""
    by_shape = [shape[-1] == 4 for shape in shapes]
    by_name = [any(word in name.lower() for word in _NAMES_OF_BOXES) for name in names]
    for found in (by_shape, by_name):
        if found.count(True) == 1:
            return found.index(True)
    raise ValueError(
        "Expected an output of boxes, (B, A, 4), and one of classes, with names that tell them "
        'apart if there are four classes, such as keras.Model(images, {"box": ..., '
        f'"classification": ...}}). Received the outputs {dict(zip(names, shapes, strict=True))}.'
    )
