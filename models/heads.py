"""A detector in two parts: its backbone's feature maps, and the network that reads them.

Both share the detector's layers, so that what is learned in a part is learned in the whole.
"""

import keras


def feature_network(model):
    """The network from images `(B, H, W, 3)` to the feature maps that a detector's heads read.

    Args:
        model: a `Detector`.

    Returns:
        Keras model; it returns a dictionary from level to map `(B, h, w, C)`.
    """
    return model.network.get_layer(f"{model.backbone.name}_features")


def head_network(model):
    """The rest of a detector's network: from feature maps to what it returns in training.

    Args:
        model: a `Detector`.

    Returns:
        Keras model of a tuple of maps, in the order of `feature_network`'s.

    Example:

    >>> model = SSD.from_preset("ssd_tiny", num_classes=3)
    >>> images = np.zeros((1, 160, 208, 3), "float32")
    >>> maps = tuple(feature_network(model)(images).values())
    >>> bool(ops.all(head_network(model)(maps)["box"] == model(images)["box"]))
    True
    """
    (call,) = feature_network(model)._inbound_nodes
    return keras.Model(tuple(call.output_tensors), model.network.output, name="heads")
