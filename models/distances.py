"""Distances to the edges of a box, as detectors without anchors predict them."""

from keras import ops


def positive(x):
    """x + 1 above 0 and exp(x) below: no distance is negative, and each can always be learned.

    In the place of a ReLU, beyond which a side whose first weights make it negative everywhere,
    as happens to small networks in one training of five, stays 0 for good.

    Args:
        x: tensor. What the network predicts.

    Returns:
        Tensor of the same shape; 1 at 0.

    Example:

    >>> ops.convert_to_numpy(positive(ops.array([-np.log(2.0), 0.0, 3.0]))).round(6).tolist()
    [0.5, 1.0, 4.0]
    """
    return ops.elu(x) + 1
