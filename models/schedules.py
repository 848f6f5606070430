"""How presets are trained where the user does not say: settings of a recipe, by their names.

Those under "trained" take their place where a backbone or detector starts from trained weights.
"""

FULL_SIZE = {
    "epochs": 24,
    "batch_size": 16,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    # Keras's SGD takes decay out of its momentum, so this acts as 1e-4 in the gradient would.
    "weight_decay": 1e-3,
    "augmentation": "light",
}
SINGLE_SHOT = {**FULL_SIZE, "epochs": 120, "learning_rate": 2e-3, "augmentation": "ssd"}
TINY = {
    "epochs": 50,
    "batch_size": 16,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.05,
    "augmentation": "light",
}
# Found on blood cells. At 0.006 FSAF depends on its first weights, and at 0.012 it diverges.
FCOS_TINY = {**TINY, "learning_rate": 6e-3}
FSAF_TINY = {**TINY, "learning_rate": 4e-3}
# What holds from trained weights. At the full rate they are forgotten before heads can use them.
LITE = {**TINY, "epochs": 20, "trained": {"backbone_rate": 0.1}}
# Found on VOC 2007 and blood cells: beside such a backbone heads learn faster.
SSD_LITE = {**LITE, "epochs": 30, "trained": {"learning_rate": 6e-3, "backbone_rate": 0.033}}
