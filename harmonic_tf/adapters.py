"""Between the dictionaries of the contract and one packed tensor, for models with one output."""

from keras import ops


def pack(contract):
    """Packs boxes and classes into one tensor, so that any one-output Keras model can be trained.

    Args:
        contract: dictionary with `"box"` `(B, A, 4)` and `"classification"`, `(B, A)` for targets
            or `(B, A, K)` for predictions.

    Returns:
        Tensor `(B, A, 5)` for targets, `(B, A, 4 + K)` for predictions: deltas first.

    Example:

    >>> target = {"box": np.zeros((1, 3, 4)), "classification": np.array([[0, -1, -2]])}
    >>> tuple(pack(target).shape)
    (1, 3, 5)
    """
    box = ops.convert_to_tensor(contract["box"])
    classification = ops.cast(contract["classification"], box.dtype)
    if len(classification.shape) == len(box.shape) - 1:
        classification = classification[..., None]
    return ops.concatenate([box, classification], axis=-1)


def unpack(packed, target=False):
    """Undoes `pack`.

    Args:
        packed: tensor `(B, A, 4 + K)`.
        target: whether it holds targets, whose classes come back as `(B, A)`.

    Returns:
        Dictionary with `"box"` `(B, A, 4)` and `"classification"`.

    Example:

    >>> parts = unpack(np.zeros((1, 3, 4 + 2)))
    >>> tuple(parts["box"].shape), tuple(parts["classification"].shape)
    ((1, 3, 4), (1, 3, 2))
    """
    # Split, and not sliced: the gradient is one concatenation.
    box, classification = ops.split(packed, [4], axis=-1)
    if target:
        classification = classification[..., 0]
    return {"box": box, "classification": classification}
