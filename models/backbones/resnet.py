"""The ResNets of Keras applications."""

from harmonic_tf.models.backbones.applications import application, subtract_mean
from harmonic_tf.models.backbones.levels import LEVELS


def resnet(name):
    """A Keras ResNet behind its own preprocessing."""
    stages = {level: f"conv{i}_" for i, level in enumerate(LEVELS, 2)}
    return application(name, stages, subtract_mean)
