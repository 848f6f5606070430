"""Hard-negative mining, as SSD does it."""

from keras import ops

from harmonic_tf.ops import BACKGROUND


def hard_negatives(loss, classes, positive, ratio):
    """Marks the rows that enter the objective: all positives and the hardest negatives.

    Args:
        loss: `(B, A)`. Classification loss of each row.
        classes: `(B, A)`. -1 marks a negative.
        positive: `(B, A)`, 1 for positives.
        ratio: float. Negatives a positive, counted in each image; an image without positives
            brings none.

    Returns:
        `(B, A)` bool.
    """
    negative = ops.equal(classes, BACKGROUND)
    hardness = ops.where(negative, loss, -float("inf"))
    order = ops.argsort(-hardness, axis=-1)
    rank = ops.cast(ops.argsort(order, axis=-1), loss.dtype)
    allowed = ratio * ops.sum(positive, axis=-1, keepdims=True)
    chosen = ops.logical_and(negative, rank < allowed)
    return ops.logical_or(positive > 0, chosen)
