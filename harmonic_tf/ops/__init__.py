"""Fused operations behind the losses and metrics, in `keras.ops`."""

from harmonic_tf.ops.objective import BACKGROUND, IGNORED, Parts, objective_rows
from harmonic_tf.ops.replicas import global_sum, replica_count
from harmonic_tf.ops.settings import Settings

# The settings' earlier name.
Objective = Settings

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "Objective",
    "Parts",
    "Settings",
    "global_sum",
    "objective_rows",
    "replica_count",
]
