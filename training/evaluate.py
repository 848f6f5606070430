"""The older name of `harmonic_tf.training.evaluation.evaluator`, kept for one release."""

from harmonic_tf.training.evaluation.evaluator import Evaluation, Evaluator, evaluate_model

__all__ = ["Evaluation", "Evaluator", "evaluate_model"]
