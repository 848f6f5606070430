"""Cascade Mask R-CNN (Cai & Vasconcelos 2019): Cascade R-CNN with a mask of each object."""

import keras

from harmonic_tf.models.cascade_rcnn import cascade
from harmonic_tf.models.mask_branch import MaskBranch
from harmonic_tf.models.mask_rcnn import MASK_TINY
from harmonic_tf.models.two_stage import TwoStage, presets


@keras.saving.register_keras_serializable(package="harmonic_tf")
class CascadeMaskRCNN(TwoStage):
    """Cascade R-CNN with the mask branch of Mask R-CNN.

    The branch learns from the first head's sample of regions, and draws in the boxes that are
    detected at the end, as in Detectron2. Ground truth and `predict` are those of `MaskRCNN`.

    Args:
        backbone: as for `FasterRCNN`.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        harmonize_stages: bool. Whether the compiled loss is also that of the first two heads.
        mask_filters: int. Channels of the mask branch.
        **settings: the other arguments of `TwoStage`.

    Example:

    >>> model = CascadeMaskRCNN.from_preset("cascade_mask_rcnn_tiny", num_classes=3)
    >>> model.compile("adamw", loss=HarmonicDetLoss())
    >>> model.predict(np.zeros((1, 160, 208, 3)), verbose=0)["masks"].shape
    (1, 100, 28, 28)
    """

    def __init__(
        self,
        backbone,
        num_classes,
        bounding_box_format="xyxy",
        harmonize_stages=False,
        mask_filters=256,
        **settings,
    ):
        super().__init__(
            backbone,
            num_classes,
            bounding_box_format,
            heads=cascade(harmonize_stages),
            branch=lambda features: MaskBranch(features, num_classes, mask_filters, "head1"),
            settings={"harmonize_stages": harmonize_stages, "mask_filters": mask_filters},
            **settings,
        )


CascadeMaskRCNN.presets = presets(
    "cascade_mask_rcnn", MASK_TINY, mask_filters=32, head_batch_size_per_image=32
)
