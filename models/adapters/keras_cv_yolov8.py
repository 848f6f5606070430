"""`keras_cv.models.YOLOV8Detector`: plain boxes in units of a stride, scores after a sigmoid."""

import keras_cv
from keras import ops
from keras_cv.src.models.object_detection.yolo_v8 import yolo_v8_detector as yolo_v8

from harmonic_tf.layouts import Layout
from harmonic_tf.models.adapters.adapter import Adapter
from harmonic_tf.models.stages import Lesson


class KerasCVYOLOV8(Adapter):
    """How KerasCV's YOLOV8 learns: by its own `label_encoder`, a task-aligned assignment.

    Its class targets are soft: the better an anchor's box and score, the higher. They are read
    hard: an anchor with a target over 0 is a positive of that class, every other one background.
    """

    loss_settings = {
        "classification": "focal",
        "negative_ratio": None,
        "layout": Layout(box_coding="boxes", background=None, from_logits=False),
    }

    def lessons(self, x, y, outputs, training):
        objects, broken = self.objects(x, y, self.detector.num_classes)
        boxes = keras_cv.bounding_box.convert_format(
            objects["boxes"], source=self.detector.bounding_box_format, target="xyxy", images=x
        )
        points, strides = yolo_v8.get_anchors(image_shape=x.shape[1:])
        strides = strides[:, None]
        outputs = {key: ops.cast(value, "float32") for key, value in outputs.items()}
        found = yolo_v8.dist2bbox(yolo_v8.decode_regression_to_boxes(outputs["boxes"]), points)
        # Not called as a layer, which would cast to half precision, in which it cannot compute.
        own_boxes, own_scores, _ = self.detector.label_encoder.call(
            outputs["classes"],
            found * strides,
            points * strides,
            objects["classes"],
            boxes,
            objects["classes"][..., None] >= 0,
        )
        is_positive = ops.max(own_scores, axis=-1) > 0
        classes = ops.where(is_positive, ops.argmax(own_scores, axis=-1), -1)
        y_true = {"box": own_boxes / strides, "classification": classes}
        return Lesson(y_true, {"box": found + broken, "classification": outputs["classes"]}), {}
