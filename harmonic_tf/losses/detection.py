"""The losses on the contract: standard, harmonic, and the whole of HarmonicDet."""

import keras

from harmonic_tf.losses.joint import JointLoss
from harmonic_tf.ops import BACKGROUND, IGNORED


@keras.saving.register_keras_serializable(package="harmonic_tf")
class HarmonicDetLoss(JointLoss):
    """The HarmonicDet loss: classification and localisation trained together (12, 13).

    For a positive with the classification loss CE, the probability p of its class and the IoU u
    of its decoded box:

        L_loc  = sum of smooth_l1 over the 4 deltas + alpha * (1 + u)^gamma * (1 - u)    (10, 11)
        beta_r = exp(-L_loc),  beta_c = exp(-CE) = p                                      (3, 5)
        L_TC   = max(0, |p - u| - margin) / (1 + exp(entropy))                            (8)
        L_i    = (1 + beta_r) * CE + (1 + beta_c) * L_loc + L_TC                          (12)
        L      = (sum over positives of L_i + sum over negatives of CE) / N               (13)

    N counts the positives of the global batch (over all replicas of a strategy) and is at least 1.

    Where the paper (Wang & Zhang, ICCV 2021) leaves a choice:

    * The gradient flows through beta_r and beta_c, as equations 4 to 7 have it, and not through
      the entropy weight. The paper calls the derivative (7) by p always negative; it is positive
      where L_loc > (1 + exp(-L_loc)) / p, and the derivative by L_loc, 1 + p - CE * exp(-L_loc),
      is negative where CE is large and L_loc small. The parts (`with_parts`) let you count how
      often.
    * In the focal form CE is the row's focal loss, beta_c is p, and the entropy is that of the
      scores normalised to sum 1, so that exp(entropy) is a perplexity in both forms.

    Targets and predictions are a dictionary each, or packed into one tensor (`harmonic_tf.pack`):

    | key | `y_true` | `y_pred` |
    |---|---|---|
    | `"box"` | `(B, A, 4)` target deltas | `(B, A, 4)` predicted deltas |
    | `"classification"` | `(B, A)` class index, -1 background, -2 ignored | `(B, A, C)` logits, \
focal form; `(B, A, C + 1)`, softmax form, background last |

    A NaN or an infinity anywhere in the predictions makes the loss NaN. A class index that `y_pred`
    has no column for raises, also in a compiled step; only with TensorFlow under XLA, which Keras
    chooses by itself on a GPU (`jit_compile`), the loss becomes NaN instead. Class scores that look
    like probabilities though they are read as logits are warned of once, likewise.

    Half-precision predictions are computed in float32. A gradient beyond 65504 becomes infinite
    when it is cast back to float16, which `keras.optimizers.LossScaleOptimizer` looks for.

    Args:
        classification: `"softmax"` (SSD, R-CNN heads), `"focal"` (RetinaNet) or `"auto"`: the
            detector's that it is compiled into, without one softmax.
        alpha: float. Weight of the IoU term in L_loc.
        gamma: float in [0, 1]. Exponent of the harmonic IoU loss.
        margin: float. Difference of p and u that the contrastive term forgives.
        iou_loss: `"hiou"` (10), `"iou"` (9), or None for smooth L1 alone.
        box_loss: what stands in L_loc beside it: `"smooth_l1"`, summed over the 4 deltas; `"giou"`,
            1 - GIoU (Rezatofighi et al. 2019); `"log_iou"`, -ln IoU (Yu et al. 2016), constant
            below an IoU of 1e-6.
        harmonic: bool. Whether 1 + beta_r and 1 + beta_c are the factors; otherwise both are
            `constant_factor`, and what says how factors are made has no effect.
        contrastive: bool. Whether L_TC is added.
        factor_gradient: bool. Whether the gradient flows through the factors.
        factor_offset: float. What stands for the 1 in the factors.
        normalize_factors: bool. Whether each factor is divided by its own unweighted mean over the
            positives of the global batch and brought to the mean 2, so that the factors say which
            positives count, and not how much all do. The mean counts as a constant to the gradient.
        box_variance: 4 floats that the deltas were divided by: SSD and KerasCV 0.1, 0.1, 0.2, 0.2;
            KerasHub 1, 1, 1, 1. `"auto"`: the detector's, without one 0.1, 0.1, 0.2, 0.2.
        negative_ratio: float or None. Hard-negative mining as in SSD (there 3): in each image
            only the negatives with the highest loss enter, this many a positive. None: all enter.
            `"auto"`: as the detector has it, without one None.
        min_negatives: int. With mining, how many negatives an image brings at least, whatever its
            positives. With 3 negatives to 0 positives an SSD learns nothing from images without
            objects; this makes it.
        constant_factor: float. What stands for both factors when `harmonic=False`.
        focal_alpha: float. Weight of the positive class in the focal loss.
        focal_gamma: float. Focusing exponent of the focal loss.
        layout: how targets and predictions are written, if not as above: a `harmonic_tf.Layout`,
            or the name of one: `"keras_io_retinanet"`, `"ssd_keras"`, `"ssd_tf2"`,
            `"keras_retinanet"`, `"efficientdet"`, `"model_garden"`. It sets the form, and where it
            has one the variance; never mining.
        reduction: `"sum"`, the scalar (13); None, its `(B, A)` terms, each divided by N.
        name: string.
        dtype: `"float32"`, also for half-precision inputs, or `"float64"`.

    Raises:
        ValueError: for a setting outside its range, a shape that does not fit, or a class index
            not below C; from a compiled step the last is an error of the backend's.

    Example:

    >>> y_true = {"box": np.zeros((1, 2, 4)), "classification": np.array([[0, -1]])}
    >>> y_pred = {"box": np.zeros((1, 2, 4)), "classification": np.zeros((1, 2, 2))}
    >>> loss = HarmonicDetLoss()(y_true, y_pred)  # (1 + 1) ln 2 + 0.3 / 3 + ln 2
    >>> round(float(loss), 4)
    2.1794
    """

    def __init__(
        self,
        classification="auto",
        alpha=1.5,
        gamma=0.8,
        margin=0.2,
        iou_loss="hiou",
        box_loss="smooth_l1",
        harmonic=True,
        contrastive=True,
        factor_gradient=True,
        factor_offset=1.0,
        normalize_factors=False,
        box_variance="auto",
        negative_ratio="auto",
        min_negatives=0,
        constant_factor=1.0,
        focal_alpha=0.25,
        focal_gamma=2.0,
        layout=None,
        reduction="sum",
        name="harmonic_det_loss",
        dtype=None,
    ):
        super().__init__(locals())


@keras.saving.register_keras_serializable(package="harmonic_tf")
class HarmonicLoss(JointLoss):
    """The Harmonic loss with the task-contrastive term, without an IoU loss (2, 8).

    `HarmonicDetLoss` with `iou_loss=None`: L_loc is smooth L1 alone. See there for the arguments
    and the form of targets and predictions.
    """

    def __init__(
        self,
        classification="auto",
        margin=0.2,
        harmonic=True,
        contrastive=True,
        factor_gradient=True,
        factor_offset=1.0,
        normalize_factors=False,
        box_variance="auto",
        negative_ratio="auto",
        min_negatives=0,
        constant_factor=1.0,
        focal_alpha=0.25,
        focal_gamma=2.0,
        layout=None,
        reduction="sum",
        name="harmonic_loss",
        dtype=None,
    ):
        super().__init__(locals(), iou_loss=None)


@keras.saving.register_keras_serializable(package="harmonic_tf")
class DetectionLoss(JointLoss):
    """The standard detection loss: cross entropy or focal loss, plus smooth L1 (1).

    The baseline of the paper, on the same contract, so that a comparison changes nothing else. See
    `HarmonicDetLoss` for the arguments and the form of targets and predictions.
    `constant_factor=2` weighs the positives twice: a control for what HarmonicDet's factors, which
    lie between 1 and 2, do by their size alone.

    `box_loss="auto"` is what the detector that it is compiled into is published with (GIoU in FCOS,
    -ln IoU in FSAF), without one smooth L1.

    Example:

    >>> y_true = {"box": np.zeros((1, 2, 4)), "classification": np.array([[0, -1]])}
    >>> y_pred = {"box": np.zeros((1, 2, 4)), "classification": np.zeros((1, 2, 2))}
    >>> round(float(DetectionLoss()(y_true, y_pred)), 4)  # 2 ln 2
    1.3863
    """

    def __init__(
        self,
        classification="auto",
        box_variance="auto",
        negative_ratio="auto",
        min_negatives=0,
        constant_factor=1.0,
        focal_alpha=0.25,
        focal_gamma=2.0,
        box_loss="auto",
        layout=None,
        reduction="sum",
        name="detection_loss",
        dtype=None,
    ):
        super().__init__(locals(), iou_loss=None, harmonic=False, contrastive=False)


@keras.saving.register_keras_serializable(package="harmonic_tf")
class TaskContrastiveLoss(JointLoss):
    """The task-contrastive loss alone: the sum over positives of equation 8, over N.

    Pulls the score p of a positive and the IoU of its box together once they differ by more than
    `margin`, the less the more uncertain the classes are. The entropy weight carries no gradient.
    See `HarmonicDetLoss` for the arguments and the form of targets and predictions.
    """

    def __init__(
        self,
        classification="auto",
        margin=0.2,
        box_variance="auto",
        layout=None,
        reduction="sum",
        name="task_contrastive_loss",
        dtype=None,
    ):
        super().__init__(locals(), iou_loss=None, harmonic=False, constant_factor=0.0)

    def _rows(self, y_true, y_pred):
        rows = super()._rows(y_true, y_pred)
        negative = keras.ops.equal(rows.classes, BACKGROUND)
        return rows._replace(classes=keras.ops.where(negative, IGNORED, rows.classes))
