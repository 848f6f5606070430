"""Centre-ness beside boxes (Tian et al. 2019): how near the middle of its object a location is."""

from keras import ops


class CenternessBranch:
    """Learns the centre-ness of the positives of a stage whose boxes are `Distances`.

    The network predicts it as `"centerness"` `(B, A)`, logits, by which the stage scores its
    detections. Its loss is the binary cross-entropy, its mean over the positives of the global
    batch; the compiled loss has no part in it.

    Args:
        after: name of the stage.
    """

    name = "centerness"

    def __init__(self, after):
        self.after = after

    def loss_terms(self, rows, lessons, outputs, truth, training):
        """The loss of each location, and which learn an object, `(B, A)` each."""
        y_true = lessons[self.after].y_true
        positive = y_true["classification"] >= 0
        target = centerness(ops.where(positive[..., None], y_true["box"], 1.0))
        logits = ops.cast(rows[self.after].centerness, "float32")
        terms = ops.binary_crossentropy(target, logits, from_logits=True)
        return terms, ops.cast(positive, "float32")

    def detections(self, found, outputs):
        """Nothing besides the boxes."""
        return {}


def centerness(distances):
    """sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)): 1 in the middle, 0 at an edge.

    Args:
        distances: `(..., 4)`, positive: to the left, top, right and bottom edge.

    Returns:
        `(...)`.

    Example:

    >>> float(centerness(ops.array([1.0, 2.0, 4.0, 2.0])))
    0.5
    """
    low, high = distances[..., :2], distances[..., 2:]
    ratio = ops.minimum(low, high) / ops.maximum(low, high)
    return ops.sqrt(ratio[..., 0] * ratio[..., 1])
