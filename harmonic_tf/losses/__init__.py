"""Keras losses: HarmonicDet, its parts, and the standard loss they are compared with."""

from harmonic_tf.losses.detection import (
    DetectionLoss,
    HarmonicDetLoss,
    HarmonicLoss,
    TaskContrastiveLoss,
)
from harmonic_tf.losses.harmonic_iou import HarmonicIoULoss

__all__ = [
    "DetectionLoss",
    "HarmonicDetLoss",
    "HarmonicIoULoss",
    "HarmonicLoss",
    "TaskContrastiveLoss",
]
