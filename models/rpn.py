"""The region proposal network (Ren et al. 2015) on a feature pyramid (Lin et al. 2017)."""

import keras
import numpy as np
from keras import layers, ops

from harmonic_tf import boxes
from harmonic_tf.models.nms import class_wise_nms


def rpn_head(maps, anchors_per_cell, filters):
    """One 3x3 convolution, then objectness and deltas, with the same weights on every map.

    Args:
        maps: list of feature maps, finest first.
        anchors_per_cell: int.
        filters: int. Channels of the convolution.

    Returns:
        `{"rpn_box": (B, A, 4), "rpn_classification": (B, A, 2)}`, float32; object, background.
    """

    def convolution(count, size, name, **settings):
        initializer = keras.initializers.RandomNormal(stddev=0.01)
        return layers.Conv2D(count, size, kernel_initializer=initializer, name=name, **settings)

    shared = convolution(filters, 3, "rpn_convolution", padding="same", activation="relu")
    columns = {"rpn_box": 4, "rpn_classification": 2}
    heads = {
        key: convolution(anchors_per_cell * size, 1, f"{key}_head") for key, size in columns.items()
    }
    features = [shared(x) for x in maps]
    return {
        key: layers.Concatenate(axis=1, dtype="float32", name=key)(
            [layers.Reshape((-1, size))(heads[key](x)) for x in features]
        )
        for key, size in columns.items()
    }


def propose(predictions, anchors, level_sizes, image_size, variance, before, after):
    """Regions where the network sees an object: the best of each level after its own NMS.

    Args:
        predictions: what `rpn_head` returned.
        anchors: `(A, 4)`, x1, y1, x2, y2 in pixels.
        level_sizes: number of anchors of each level, in their order.
        image_size: (height, width) in pixels; proposals are clipped to it.
        variance: 4 floats that deltas are divided by.
        before: int. Proposals of each level that enter NMS.
        after: int R. Proposals kept of a picture.

    Returns:
        `(B, R, 4)`, best first, padded with boxes at -1 without area. Carries no gradient.
    """
    scores = ops.softmax(predictions["rpn_classification"], axis=-1)[..., 0]
    anchors = ops.convert_to_tensor(anchors, "float32")
    decoded = boxes.decode(predictions["rpn_box"], anchors, variance)
    decoded = boxes.clip(decoded, image_size)
    chosen, level_scores = [], []
    starts = np.cumsum([0, *level_sizes[:-1]])
    for level, (start, count) in enumerate(zip(starts, level_sizes, strict=True)):
        best, index = ops.top_k(scores[:, start : start + count], min(before, count))
        chosen.append(ops.take_along_axis(decoded, start + index[..., None], axis=1))
        one_level = np.eye(len(level_sizes), dtype="float32")[level]
        level_scores.append(best[..., None] * one_level)
    found = class_wise_nms(
        ops.concatenate(chosen, axis=1),
        ops.concatenate(level_scores, axis=1),
        score_threshold=0.0,
        iou_threshold=0.7,
        max_detections=after,
    )
    return ops.stop_gradient(found["boxes"])
