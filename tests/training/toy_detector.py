"""The least that the training loop asks of a detector: four cells, each with a box and a class."""

import keras
import numpy as np
import tensorflow as tf

from harmonic_tf.ops.replicas import global_sum

SIZE = (16, 16)


@keras.saving.register_keras_serializable(package="tests")
class ToyDetector(keras.Model):
    """A linear detector on four cells of 8 x 8 px; without batch normalisation."""

    image_size = SIZE
    classification = "softmax"
    box_variance = (0.1, 0.1, 0.2, 0.2)
    resize = "stretch"
    has_masks = False
    bounding_box_format = "xyxy"
    loss_settings = {"classification": classification, "box_variance": box_variance}

    def __init__(self, num_classes=2, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.dropout = keras.layers.Dropout(dropout)
        self.convolution = keras.layers.Conv2D(4 + num_classes + 1, 8, 8)
        self.tracker = keras.metrics.Mean(name="box_loss")
        self.build((None, *SIZE, 3))

    @property
    def backbone(self):
        return self.convolution

    def build(self, shape):
        self.convolution.build(shape)
        self.built = True

    def call(self, images, training=None):
        images = self.dropout(images / 255.0, training=training)
        cells = keras.ops.reshape(self.convolution(images), (-1, 4, 5 + self.num_classes))
        return {"box": cells[..., :4], "classification": cells[..., 4:]}

    def encode_targets(self, labels, image_size=None, predictions=None):
        return {"box": labels["boxes"][:, :4] / 16.0, "classification": labels["classes"][:, :4]}

    def loss_inputs(self, predictions, targets):
        return predictions

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        y = self.encode_targets(y)
        classes = keras.ops.cast(y["classification"], "int32")
        positive = keras.ops.cast(classes >= 0, "float32")
        background = keras.ops.where(classes >= 0, classes, self.num_classes)
        entropy = keras.losses.sparse_categorical_crossentropy(
            background, y_pred["classification"], from_logits=True
        )
        box = keras.ops.sum(keras.ops.square(y["box"] - y_pred["box"]), -1) * positive
        count = keras.ops.maximum(global_sum(keras.ops.sum(positive)), 1.0)
        here = keras.ops.sum(positive)
        mean = keras.ops.sum(box) / keras.ops.maximum(here, 1.0)
        self.tracker.update_state(mean, sample_weight=here)
        return keras.ops.sum(entropy + box) / count

    def decode_predictions(self, raw, images):
        scores = keras.ops.softmax(raw["classification"])[..., :-1]
        boxes = keras.ops.clip(raw["box"], 0.0, 1.0) * 8.0
        low, size = boxes[..., :2], boxes[..., 2:] + 1.0
        return {
            "boxes": keras.ops.concatenate([low, low + size], -1),
            "confidence": keras.ops.max(scores, -1),
            "classes": keras.ops.cast(keras.ops.argmax(scores, -1), "float32"),
            "num_detections": keras.ops.zeros_like(scores[:, 0, 0], dtype="int32") + 4,
        }

    def get_config(self):
        return {"num_classes": self.num_classes, "dropout": self.dropout.rate}


class ToyBatches:
    """Random images: `steps_per_epoch` batches, determined by the epoch."""

    def __init__(self, steps_per_epoch=3, batch_size=4, positives=None):
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.positives = positives

    def __call__(self, epoch):
        random = np.random.default_rng(epoch)
        count = self.steps_per_epoch * self.batch_size
        images = random.uniform(0, 255, (count, *SIZE, 3)).astype("float32")
        boxes = random.uniform(0, 16, (count, 4, 4)).astype("float32")
        classes = random.integers(-1, 2, (count, 4)).astype("float32")
        if self.positives is not None:
            classes = np.where(np.arange(4) < np.resize(self.positives, count)[:, None], 1.0, -1.0)
            classes = classes.astype("float32")
        data = tf.data.Dataset.from_tensor_slices((images, {"boxes": boxes, "classes": classes}))
        return untuned(data.batch(self.batch_size, drop_remainder=True))


def untuned(dataset):
    """Without tuning, for the end of a data set could wait for the tuner's next turn."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def compiled(optimizer=None, seed=0, **kwargs):
    """A compiled toy, the same for the same seed."""
    keras.utils.set_random_seed(seed)
    model = ToyDetector(**kwargs)
    model.compile(optimizer=optimizer or keras.optimizers.AdamW(0.01, weight_decay=0.1))
    return model
