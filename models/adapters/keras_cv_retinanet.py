"""`keras_cv.models.RetinaNet`: anchors, deltas over the encoder's variance, sigmoid logits."""

import keras_cv
from keras import ops

from harmonic_tf.models.adapters.adapter import Adapter
from harmonic_tf.models.stages import Lesson


class KerasCVRetinaNet(Adapter):
    """How KerasCV's RetinaNet learns: by its own `label_encoder`."""

    @property
    def loss_settings(self):
        return {
            "classification": "focal",
            "box_variance": tuple(map(float, self.detector.label_encoder.box_variance_tuple)),
            "negative_ratio": None,
        }

    def lessons(self, x, y, outputs, training):
        encoder = self.detector.label_encoder
        objects, broken = self.objects(x, y, self.detector.num_classes)
        objects = keras_cv.bounding_box.convert_format(
            objects,
            source=self.detector.bounding_box_format,
            target=encoder.bounding_box_format,
            images=x,
        )
        box, classes = encoder(x, objects)
        y_pred = {
            "box": ops.cast(outputs["box"], "float32") + broken,
            "classification": outputs["classification"],
        }
        return Lesson({"box": box, "classification": classes}, y_pred), {}
