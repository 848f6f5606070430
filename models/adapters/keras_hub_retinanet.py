"""`keras_hub.models.RetinaNetObjectDetector`: KerasHub's `{"boxes", "labels"}`, variance 1."""

import math

import keras
import numpy as np
from keras import ops

from harmonic_tf.models.adapters.adapter import Adapter
from harmonic_tf.models.ground_truth import convert_boxes, image_size_of
from harmonic_tf.models.stages import Lesson


class KerasHubRetinaNet(Adapter):
    """How KerasHub's RetinaNet learns: by its own `preprocessor` and `label_encoder`."""

    @property
    def loss_settings(self):
        return {
            "classification": "focal",
            "box_variance": tuple(map(float, self.detector.label_encoder.box_variance)),
            "negative_ratio": None,
        }

    def lessons(self, x, y, outputs, training):
        encoder = self.detector.label_encoder
        objects, broken = self.objects(x, y, self.detector.num_classes)
        boxes = convert_boxes(
            objects["boxes"],
            self.detector.bounding_box_format,
            encoder.bounding_box_format,
            image_size_of(x),
        )
        box, classes = encoder(images=x, gt_boxes=boxes, gt_classes=objects["classes"])
        y_pred = {
            "box": ops.cast(outputs["bbox_regression"], "float32") + broken,
            "classification": outputs["cls_logits"],
        }
        return Lesson({"box": box, "classification": classes}, y_pred), {}

    def prepare(self, x=None, y=None, sample_weight=None, batch_size=None, **settings):
        """Batches that the preprocessor has seen, as KerasHub's own `fit` makes them.

        Raises:
            ValueError: for `validation_split`, which needs arrays.
        """
        is_prepared = settings.get("_use_cached_eval_dataset")
        if self.detector.preprocessor is None or is_prepared:
            own = {"x": x, "y": y, "sample_weight": sample_weight, "batch_size": batch_size}
            return {**{key: value for key, value in own.items() if value is not None}, **settings}
        if settings.get("validation_split"):
            raise ValueError(
                "With a preprocessor expected `validation_data`. "
                f"Received: validation_split={settings['validation_split']}"
            )
        if settings.get("validation_data") is not None:
            samples = keras.utils.unpack_x_y_sample_weight(settings["validation_data"])
            settings["validation_data"] = self._preprocessed(*samples, batch_size)
        return {"x": self._preprocessed(x, y, sample_weight, batch_size), **settings}

    def _preprocessed(self, x, y, sample_weight, batch_size):
        import tensorflow as tf

        if not isinstance(x, tf.data.Dataset):
            samples = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
            x = tf.data.Dataset.from_tensor_slices(samples).batch(batch_size or 32)
        return x.map(self.detector.preprocess_samples, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    @property
    def misplaces_prior(self):
        """Whether the prior of the class head lies on the box head, as KerasHub 0.32 builds it."""
        box_head = self.detector.box_head
        prior = -math.log(1 / box_head.prior_probability - 1)
        biases = (
            head.prediction_layer.bias for head in (self.detector.classification_head, box_head)
        )
        classes, boxes = map(ops.convert_to_numpy, biases)
        return bool(np.all(classes == 0) and np.allclose(boxes, prior) and prior != 0)

    def repair_prior(self):
        """Moves the prior to the class head."""
        box_bias = self.detector.box_head.prediction_layer.bias
        class_bias = self.detector.classification_head.prediction_layer.bias
        class_bias.assign(ops.full_like(class_bias, box_bias[0]))
        box_bias.assign(ops.zeros_like(box_bias))
