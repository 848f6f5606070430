"""Keras losses: HarmonicDet, its parts, and the standard loss they are compared with."""

from harmonic_tf.losses.box import HarmonicIoULoss, LocalizationLoss
from harmonic_tf.losses.detection import (
    DetectionLoss,
    HarmonicDetLoss,
    HarmonicLoss,
    TaskContrastiveLoss,
)

__all__ = [
    "DetectionLoss",
    "HarmonicDetLoss",
    "HarmonicIoULoss",
    "HarmonicLoss",
    "LocalizationLoss",
    "TaskContrastiveLoss",
]
