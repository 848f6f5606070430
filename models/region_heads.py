"""What the second stage says of a region: small networks on its pooled features."""

import keras
from keras import layers


def box_head(size, channels, units, num_classes, boxes_a_region, name):
    """Two dense layers, then deltas and the logits of all classes (Lin et al. 2017).

    Args:
        size: int S. Cells of the pooled features along each axis.
        channels: int F.
        units: int. Of each dense layer.
        num_classes: int C, without the background.
        boxes_a_region: int. 1, or one for each class.
        name: string.

    Returns:
        Model from `(N, S, S, F)` to `{"box": (N, 4 * boxes_a_region), "classification":
        (N, C + 1)}`, float32.
    """
    pooled = keras.Input((size, size, channels))
    x = layers.Flatten()(pooled)
    for i in range(2):
        x = layers.Dense(units, "relu", kernel_initializer="he_normal", name=f"head_{i}")(x)
    columns = {"box": 4 * boxes_a_region, "classification": num_classes + 1}
    outputs = {
        key: layers.Dense(
            count,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            dtype="float32",
            name=key,
        )(x)
        for key, count in columns.items()
    }
    return keras.Model(pooled, outputs, name=name)


def mask_head(size, channels, filters, num_classes):
    """Four 3x3 convolutions, a deconvolution, and a mask for each class (He et al. 2017).

    Args:
        size: int S. Cells of the pooled features along each axis.
        channels: int F.
        filters: int. Channels of the convolutions.
        num_classes: int C.

    Returns:
        Model from `(N, S, S, F)` to logits `(N, 2 * S, 2 * S, C)`, float32.
    """
    pooled = x = keras.Input((size, size, channels))
    settings = {"kernel_initializer": "he_normal", "activation": "relu"}
    for i in range(4):
        x = layers.Conv2D(filters, 3, padding="same", name=f"mask_{i}", **settings)(x)
    x = layers.Conv2DTranspose(filters, 2, 2, name="mask_deconvolution", **settings)(x)
    initializer = keras.initializers.RandomNormal(stddev=0.001)
    x = layers.Conv2D(
        num_classes, 1, kernel_initializer=initializer, dtype="float32", name="mask_logits"
    )(x)
    return keras.Model(pooled, x, name="mask_head")
