"""Faster R-CNN (Ren et al. 2015) on a feature pyramid (Lin et al. 2017)."""

import keras

from harmonic_tf.models.two_stage import Head, TwoStage, presets


@keras.saving.register_keras_serializable(package="harmonic_tf")
class FasterRCNN(TwoStage):
    """Two-stage detector: a region proposal network (RPN), then a head that looks at each region.

    The compiled loss is that of the head; see `harmonic_tf.models.two_stage.TwoStage`.

    Args:
        backbone: `harmonic_tf.models.PyramidBackbone`, or a KerasCV or KerasHub backbone, with a
            fixed input size.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        class_agnostic: bool. Whether a region has one box, or one for each class.
        **settings: the other arguments of `TwoStage`.

    Example:

    >>> model = FasterRCNN.from_preset("faster_rcnn_tiny", num_classes=3)
    >>> model.compile("adamw", loss=HarmonicDetLoss())
    >>> model.predict(np.zeros((1, 160, 208, 3)), verbose=0)["boxes"].shape
    (1, 100, 4)
    """

    def __init__(
        self, backbone, num_classes, bounding_box_format="xyxy", class_agnostic=False, **settings
    ):
        super().__init__(
            backbone,
            num_classes,
            bounding_box_format,
            heads=[Head(boxes_a_region=1 if class_agnostic else num_classes)],
            settings={"class_agnostic": class_agnostic},
            **settings,
        )


FasterRCNN.presets = presets("faster_rcnn")
