"""From a recipe to a trained, evaluated and exported detector; TensorFlow only.

Outsiders use `recipe.Recipe`, `train.train` and `train.resume`, `data.load_data`,
`evaluation.evaluator.evaluate_model`, `labels.load_model_and_labels` and
`serving.saved_model.export_model`; the program is `cli.main`.
"""
