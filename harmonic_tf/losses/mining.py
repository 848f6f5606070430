"""Hard-negative mining, as SSD does it."""

from keras import ops

from harmonic_tf.ops import BACKGROUND


def hard_negatives(loss, classes, positive, ratio, minimum=0):
    """Marks the rows that enter the objective: all positives and the hardest negatives.

    Args:
        loss: `(B, A)`. Classification loss of each row.
        classes: `(B, A)`. -1 marks a negative.
        positive: `(B, A)`, 1 for positives.
        ratio: float. Negatives a positive, counted in each image.
        minimum: int. Negatives that an image brings at least. With 0 an image without positives
            brings none, and teaches nothing.

    Returns:
        `(B, A)` bool.

    Example:

    >>> loss, classes = ops.array([[0.1, 0.4, 0.2, 0.3]]), ops.array([[0, -1, -1, -1]])
    >>> np.asarray(hard_negatives(loss, classes, ops.array([[1.0, 0, 0, 0]]), ratio=2)).tolist()
    [[True, True, False, True]]
    """
    negative = ops.equal(classes, BACKGROUND)
    hardness = ops.where(negative, loss, -float("inf"))
    order = ops.argsort(-hardness, axis=-1)
    rank = ops.cast(ops.argsort(order, axis=-1), loss.dtype)
    allowed = ops.maximum(ratio * ops.sum(positive, axis=-1, keepdims=True), minimum)
    chosen = ops.logical_and(negative, rank < allowed)
    return ops.logical_or(positive > 0, chosen)
