"""A detector for images of another size."""

# What backbones call the size of their images: ours, KerasCV's and KerasHub's.
_SIZE_ARGUMENTS = ("image_size", "input_shape", "image_shape")


def resize_detector(model, image_size):
    """The same detector for images of another size.

    Anchors keep their sizes in pixels: an object that a larger image shows larger is found by
    larger anchors, on a coarser map.

    Args:
        model: a detector. It stays as it is.
        image_size: (height, width) of the input in pixels. Best they differ from the detector's
            own by multiples of 32: else maps change between odd and even, and "same" padding lays
            their cells elsewhere on the image than the detector has learned, or maps no longer
            fit together, as in the full-size RetinaNets.

    Returns:
        A detector of the same class with copies of the weights, not compiled.

    Raises:
        ValueError: if the backbone does not say its size in its config, the detector cannot be
            built for that size, or a weight depends on it.

    Example:

    >>> model = from_preset("ssd_tiny", num_classes=3)
    >>> resize_detector(model, (224, 272)).image_size
    (224, 272)
    """
    size = _with_size(model.backbone.get_config(), tuple(image_size))
    if not size:
        raise ValueError(
            "Expected a backbone with its input size in its config, as "
            f"{' or '.join(map(repr, _SIZE_ARGUMENTS))}. Received: {type(model.backbone).__name__}"
        )
    try:
        backbone = type(model.backbone).from_config({**model.backbone.get_config(), **size})
        resized = type(model).from_config({**model.get_config(), "backbone": backbone})
    except ValueError as error:
        raise ValueError(
            f"This {type(model).__name__} cannot be built for images of "
            f"{' x '.join(map(str, image_size))} pixels; a larger size may leave enough for its "
            f"coarsest feature map. {error}"
        ) from error
    resized.set_weights(model.get_weights())
    return resized


def _with_size(config, image_size):
    """The arguments that hold a backbone's size, or that of one inside it, changed."""
    changed = {}
    for key, value in config.items():
        if key in _SIZE_ARGUMENTS:
            changed[key] = (*image_size, *value[2:])  # channels stay
        elif isinstance(value, dict) and "config" in value:
            inner = _with_size(value["config"], image_size)
            if inner:
                changed[key] = {**value, "config": {**value["config"], **inner}}
    return changed
