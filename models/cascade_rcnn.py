"""Cascade R-CNN (Cai & Vasconcelos 2018): each head refines the regions of the one before."""

import keras

from harmonic_tf.models.two_stage import Head, TwoStage, presets


@keras.saving.register_keras_serializable(package="harmonic_tf")
class CascadeRCNN(TwoStage):
    """Faster R-CNN with three heads, positive from an IoU of 0.5, 0.6 and 0.7 (section 4).

    The regions that the first head learns from are a sample, as Faster R-CNN's; those of the second
    and third are the boxes that the head before makes of them. A region has one box for all
    classes. The scores of a detection are the mean of the three heads' for the region that it comes
    from.

    The compiled loss is that of the third head, and with `harmonize_stages` of the other two, each
    with its own variance and divided by its own positives; otherwise they have the standard loss.
    All three weigh the same.

    Args:
        backbone: as for `FasterRCNN`.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        harmonize_stages: bool. Whether the compiled loss is also that of the first two heads.
        **settings: the other arguments of `TwoStage`.

    Example:

    >>> model = CascadeRCNN.from_preset("cascade_rcnn_tiny", num_classes=3)
    >>> model.compile("adamw", loss=HarmonicDetLoss())
    >>> model.predict(np.zeros((1, 160, 208, 3)), verbose=0)["boxes"].shape
    (1, 100, 4)
    """

    def __init__(
        self,
        backbone,
        num_classes,
        bounding_box_format="xyxy",
        harmonize_stages=False,
        **settings,
    ):
        super().__init__(
            backbone,
            num_classes,
            bounding_box_format,
            heads=cascade(harmonize_stages),
            settings={"harmonize_stages": harmonize_stages},
            **settings,
        )


def cascade(harmonize_stages):
    """The three heads. The better the regions, the smaller their deltas, and the variance."""
    return [
        Head(
            name=f"head{i}",
            iou=iou,
            variance=(0.1 / i, 0.1 / i, 0.2 / i, 0.2 / i),
            harmonized=harmonize_stages or i == 3,
        )
        for i, iou in enumerate((0.5, 0.6, 0.7), 1)
    ]


CascadeRCNN.presets = presets("cascade_rcnn")
