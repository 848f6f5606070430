"""Fused operations behind the losses and metrics, in `keras.ops`."""

from harmonic_tf.ops.objective import Objective
from harmonic_tf.ops.replicas import global_sum, replica_count
from harmonic_tf.ops.rows import BACKGROUND, IGNORED, Parts, objective_rows

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "Objective",
    "Parts",
    "global_sum",
    "objective_rows",
    "replica_count",
]
