"""From a recipe to what a run is made of: data, detector, loss, optimizer, strategy."""

import keras
import tensorflow as tf

from harmonic_tf.models.heads import head_network
from harmonic_tf.training.console import line_console, printable_logger
from harmonic_tf.training.data import Augmentation, load_data, train_batches
from harmonic_tf.training.data.pipeline import whole_batches
from harmonic_tf.training.data.resized import resized_data
from harmonic_tf.training.data.splits import check_trainable, empty_classes, overlap
from harmonic_tf.training.eval_splits import split_names
from harmonic_tf.training.features import FeatureBatches, kept_features
from harmonic_tf.training.losses import build_loss, detector_settings
from harmonic_tf.training.optimizers import SGD, AdamW
from harmonic_tf.training.start import start_model


def load_both(recipe):
    """The data to train on and the data to evaluate on, with the same classes.

    Raises:
        ValueError: If there is no object to train on.
    """
    train_data = load_data(
        recipe.data,
        "train",
        recipe.train_split,
        recipe.class_names,
        recipe.on_bad_data,
        recipe.val_fraction,
        recipe.val_seed,
    )
    eval_data = load_to_evaluate(recipe, split_names(recipe.eval_split)[0], train_data.class_names)
    check_trainable(train_data)
    warn = printable_logger(__name__).warning
    if recipe.class_names and (empty := empty_classes(train_data)):
        warn("%s: no object to train on of the classes %s", train_data.name, ", ".join(empty))
    if common := overlap(train_data, eval_data):
        names = (train_data.name, train_data.split, eval_data.split)
        warn("%s, %s and %s: %s; AP is then no measure of new images", *names, common)
    return train_data, eval_data


def load_to_evaluate(recipe, split, class_names):
    """The recipe's data to evaluate on; of the split with this name, if it is one."""
    return load_data(
        recipe.data,
        "eval",
        split,
        class_names,
        recipe.on_bad_data,
        recipe.val_fraction,
        recipe.val_seed,
    )


def build_model(recipe, class_names):
    """The recipe's detector, with new weights or those of the one that it starts from."""
    from harmonic_tf import models
    from harmonic_tf.models.layers.dtype_policy import dtype_policy

    if recipe.start is not None:
        model, line = start_model(recipe, class_names)
        line_console().print(line)
        return model
    if recipe.weights == "none" and recipe.freeze_backbone != "none":
        line = "freeze_backbone: %s: its layers keep the random weights that they start from"
        printable_logger(__name__).warning(line, recipe.freeze_backbone)
    with dtype_policy(recipe.precision):
        return models.from_preset(
            recipe.model,
            num_classes=len(class_names),
            backbone=recipe.backbone,
            weights=recipe.weights,
            freeze_batch_norm=recipe.freeze_batch_norm,
            frozen_level=None if recipe.freeze_backbone == "none" else recipe.freeze_backbone,
            image_size=recipe.image_size,
            **detector_settings(recipe.loss, models.PRESETS[recipe.model]),
            **({} if recipe.resize is None else {"resize": recipe.resize}),
        )


def build_batches(recipe, data, model):
    """The recipe's training images as `model` takes them, or what is kept of them instead."""
    augmentation, say = getattr(Augmentation, recipe.augmentation)(), line_console().print
    whole_batches(f"{data.name} {data.split}", len(data), recipe.batch_size)  # before long work
    if recipe.cache_features:
        features = kept_features(
            data, model, augmentation, recipe.cache_features, recipe.cache, say
        )
        return FeatureBatches(features, recipe.batch_size, recipe.seed)
    if recipe.cache in ("memory", "disk"):
        data = resized_data(data, model.image_size, model.resize, recipe.cache, say)
    return train_batches(
        data,
        image_size=model.image_size,
        batch_size=recipe.batch_size,
        resize=model.resize,
        augmentation=augmentation,
        seed=recipe.seed,
        masks=model.has_masks,
    )


def build_network(recipe, model):
    """What the recipe's batches go into: the heads for kept features, None for the whole model."""
    return head_network(model) if recipe.cache_features else None


def build_strategy(recipe):
    """The recipe's tf.distribute.Strategy: over all GPUs, or else all logical CPU devices.

    Raises:
        ValueError: If its replicas cannot share a batch evenly.
    """
    if recipe.strategy == "none":
        return tf.distribute.get_strategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    if recipe.batch_size % strategy.num_replicas_in_sync:
        raise ValueError(
            f"a batch of {recipe.batch_size} images does not divide evenly over "
            f"{strategy.num_replicas_in_sync} devices"
        )
    return strategy


def build_optimizer(recipe, steps, backbone=()):
    """The recipe's optimizer, with its learning rate over all `steps`, and no clipping.

    The rate rises linearly from 0 over the warm-up and returns to 0 on a cosine; that of the
    variables of the `backbone` is its own fraction of it.
    """
    warmup = round(recipe.warmup * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else recipe.learning_rate,
        decay_steps=steps - warmup,
        warmup_target=recipe.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    settings = {"decay": recipe.weight_decay, "slow": backbone, "factor": recipe.backbone_rate}
    if recipe.optimizer == "sgd":
        return SGD(rate, momentum=0.9, **settings)
    return AdamW(rate, **settings)


def compile_model(model, recipe, steps, strategy):
    """Compiles the detector with the recipe's optimizer, over so many steps, and its loss."""
    with strategy.scope():
        model.compile(
            optimizer=build_optimizer(recipe, steps, model.backbone.trainable_variables),
            loss=build_loss(recipe.loss, model.loss_settings),
        )
