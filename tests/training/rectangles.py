"""A detector whose answers are known, and images for it: rectangles of pure colour on black."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from harmonic_tf.training.data.dataset import Annotation, DetectionData, Objects, Sample

CLASS_NAMES = ("red", "green", "blue")
CATEGORY_IDS = (3, 0, 7)
SCORES = (0.9, 0.8, 0.7)


@keras.saving.register_keras_serializable(package="tests")
class RectangleFinder(keras.Model):
    """Finds at most one rectangle of each colour, class c with the score SCORES[c].

    One anchor a colour; every anchor whose colour is in the image is positive, its box is right.
    """

    num_classes = 3
    loss_settings = {"classification": "softmax", "box_variance": (0.1, 0.1, 0.2, 0.2)}
    bounding_box_format = "xyxy"
    has_masks = False

    def __init__(self, image_size=(32, 48), resize="stretch", **kwargs):
        super().__init__(**kwargs)
        self.image_size = tuple(image_size)
        self.resize = resize
        self.traced = 0
        self.gain = self.add_weight(shape=(), initializer="ones", name="gain")

    def get_config(self):
        return {**super().get_config(), "image_size": self.image_size, "resize": self.resize}

    def build(self, input_shape):
        self.built = True

    def call(self, images, training=False):
        self.traced += 1
        batch = tf.shape(images)[0]
        # softmax of (log p, log (1 - p) / 3 three times) is p for the first.
        logits = [
            [math.log(p if i == c else (1 - p) / 3) for i in range(4)] for c, p in enumerate(SCORES)
        ]
        logits = tf.tile(tf.constant(logits)[None], (batch, 1, 1)) * self.gain
        return {"box": tf.zeros((batch, 3, 4)), "classification": logits}

    def loss_inputs(self, predictions, targets):
        return predictions

    def encode_targets(self, objects, image_size=None, predictions=None):
        here = tf.reduce_any(objects["classes"][:, :, None] == tf.range(3.0), axis=1)
        return {
            "box": tf.zeros((*here.shape, 4)),
            "classification": tf.where(here, tf.range(3.0), -1.0),
        }

    def decode_predictions(self, raw, images):
        scores = tf.linalg.diag_part(tf.nn.softmax(raw["classification"])[..., :3])
        bright = images > 127
        columns, rows = tf.reduce_any(bright, axis=1), tf.reduce_any(bright, axis=2)
        x1, x2 = _extent(columns)
        y1, y2 = _extent(rows)
        found = tf.reduce_any(columns, axis=1)
        order = tf.argsort(tf.cast(found, tf.int32), direction="DESCENDING", stable=True)

        def put(value):
            value = tf.where(found if value.shape.rank == 2 else found[..., None], value, -1.0)
            return tf.gather(value, order, batch_dims=1)

        return {
            "boxes": put(tf.stack([x1, y1, x2, y2], axis=-1)),
            "confidence": put(scores),
            "classes": put(tf.zeros_like(scores) + tf.range(3.0)),
            "num_detections": tf.reduce_sum(tf.cast(found, tf.int32), axis=1),
        }


@keras.saving.register_keras_serializable(package="tests")
class LeftHalfFinder(RectangleFinder):
    """The mask of everything that it finds is the left half of the box."""

    has_masks = True

    def decode_predictions(self, raw, images):
        found = super().decode_predictions(raw, images)
        present = found["confidence"][..., None, None] >= 0
        left_half = tf.repeat([[1.0, 0.0]], 28, axis=0)
        return {**found, "masks": tf.where(present, tf.repeat(left_half, 14, axis=1), -1.0)}


def _extent(bright):
    """First and one past the last bright place on axis 1, (B, 3) each."""
    bright = tf.cast(bright, tf.int32)
    length = tf.shape(bright)[1]
    first = tf.argmax(bright, axis=1, output_type=tf.int32)
    last = length - tf.argmax(bright[:, ::-1], axis=1, output_type=tf.int32)
    return tf.cast(first, tf.float32), tf.cast(last, tf.float32)


def draw(height, width, boxes):
    """A uint8 image; `boxes` maps a class index to whole-pixel (x1, y1, x2, y2)."""
    image = np.zeros((height, width, 3), np.uint8)
    for index, (x1, y1, x2, y2) in boxes.items():
        image[y1:y2, x1:x2, index] = 255
    return image


def png(image):
    return tf.io.encode_png(image).numpy()


def rectangle_data(sizes_and_boxes, name="rectangles"):
    """A data set of `(height, width, boxes)`, ids 10, 11, ..."""
    records = []
    for index, (height, width, boxes) in enumerate(sizes_and_boxes):
        encoded = png(draw(height, width, boxes))
        objects = Objects.of([Annotation(tuple(map(float, b)), c) for c, b in boxes.items()])
        records.append(
            Sample(
                name=f"{index}.png",
                image_id=10 + index,
                height=height,
                width=width,
                is_jpeg=False,
                encoded=lambda encoded=encoded: encoded,
                objects=objects,
            )
        )
    return DetectionData(name, "test", CLASS_NAMES, CATEGORY_IDS, tuple(records))


def with_left_halves(data, shift=0.0):
    """The same data with the left half of each box as its mask, moved to the right in pixels."""

    def polygons(x1, y1, x2, y2):
        x1, x2 = x1 + shift, (x1 + x2) / 2 + shift
        return [[x1, y1, x2, y1, x2, y2, x1, y2]]

    def masked(record):
        masks = tuple(polygons(*box) for box in record.objects.boxes.tolist())
        objects = dataclasses.replace(record.objects, segmentations=masks)
        return dataclasses.replace(record, objects=objects)

    return dataclasses.replace(data, records=tuple(map(masked, data.records)))


# Boxes of even widths, so that their halves are whole pixels.
EVEN = ((64, 96, {0: (10, 20, 40, 60)}), (32, 48, {1: (4, 4, 20, 30), 2: (22, 5, 46, 31)}))

# Sizes that stretch to 32 x 48 by whole factors, boxes on the network's own grid.
IMAGES = (
    (64, 96, {0: (10, 20, 40, 60)}),
    (32, 48, {1: (4, 4, 20, 30), 2: (21, 5, 48, 32)}),
    (64, 48, {}),
    (128, 48, {0: (0, 0, 30, 100), 1: (31, 8, 40, 120)}),
    (64, 96, {2: (60, 10, 96, 64)}),
)
