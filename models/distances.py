"""Distances to the edges of a box, as detectors without anchors predict them."""

from keras import ops


def positive(x):
    """x + 1 above 0 and exp(x) below: no distance is negative, and each can always be learned.

    In the place of a ReLU, after which a side of the box that the first weights make negative
    everywhere stays 0 for good, as happened in one of four trainings of a small network.

    Args:
        x: tensor. What the network predicts.

    Returns:
        Tensor of the same shape; 1 at 0.

    Example:

    >>> ops.convert_to_numpy(positive(ops.array([-np.log(2.0), 0.0, 3.0]))).round(6).tolist()
    [0.5, 1.0, 4.0]
    """
    return ops.elu(x) + 1
