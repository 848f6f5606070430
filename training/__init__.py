"""From a recipe to a trained, evaluated and exported detector; TensorFlow only."""
