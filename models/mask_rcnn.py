"""Mask R-CNN (He et al. 2017): Faster R-CNN with a mask of each object."""

import keras

from harmonic_tf.models.mask_branch import MaskBranch
from harmonic_tf.models.schedules import TINY
from harmonic_tf.models.two_stage import Head, TwoStage, presets


@keras.saving.register_keras_serializable(package="harmonic_tf")
class MaskRCNN(TwoStage):
    """Faster R-CNN with a third branch, which draws the mask of each object in its region.

    It is trained on `{"boxes": (B, M, 4), "classes": (B, M), "masks": (B, M, S, S)}`: masks from 0
    to 1 in the frame of their box (`harmonic_tf.masks`), of any size S. `predict` gives `"masks"`
    `(B, D, 28, 28)` too: probabilities in the frame of the detection's box, -1 where padded.

    Args:
        backbone: as for `FasterRCNN`.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        class_agnostic: bool. Whether a region has one box, or one for each class.
        mask_filters: int. Channels of the mask branch.
        **settings: the other arguments of `TwoStage`.

    Example:

    >>> model = MaskRCNN.from_preset("mask_rcnn_tiny", num_classes=3)
    >>> model.compile("adamw", loss=HarmonicDetLoss())
    >>> model.predict(np.zeros((1, 160, 208, 3)), verbose=0)["masks"].shape
    (1, 100, 28, 28)
    """

    def __init__(
        self,
        backbone,
        num_classes,
        bounding_box_format="xyxy",
        class_agnostic=False,
        mask_filters=256,
        **settings,
    ):
        super().__init__(
            backbone,
            num_classes,
            bounding_box_format,
            heads=[Head("head", boxes_a_region=1 if class_agnostic else num_classes)],
            branch=lambda features: MaskBranch(features, num_classes, mask_filters, "head"),
            settings={"class_agnostic": class_agnostic, "mask_filters": mask_filters},
            **settings,
        )


# A step takes twice as long as one of Faster R-CNN.
MASK_TINY = {**TINY, "epochs": 25}
MaskRCNN.presets = presets("mask_rcnn", MASK_TINY, mask_filters=32, head_batch_size_per_image=32)
