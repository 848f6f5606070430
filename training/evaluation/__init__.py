"""How good a detector is: COCO's AP in original pixels, and how well score and box agree.

Outsiders use `evaluator.evaluate_model`, or `evaluator.Evaluator` where one model is evaluated
often; both give an `evaluator.Evaluation`, which `tables.metrics_table` shows.
`average_precision.coco_metrics` is the protocol on plain lists, and `resampling.resampled_metrics`
repeats it on other draws of the images.
"""
