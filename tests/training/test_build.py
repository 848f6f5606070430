"""The parts of a run, from its recipe."""

from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from harmonic_tf.training.build import (
    build_batches,
    build_model,
    build_optimizer,
    build_strategy,
)
from harmonic_tf.training.data import load_data
from harmonic_tf.training.recipe import Recipe


def test_the_learning_rate_warms_up_and_returns_to_zero():
    recipe = Recipe(learning_rate=0.5, warmup=0.1, optimizer="sgd", weight_decay=0.0)
    schedule = build_optimizer(recipe, steps=100)._learning_rate
    assert [float(schedule(step)) for step in (0, 5, 10)] == pytest.approx([0, 0.25, 0.5])
    assert float(schedule(55)) == pytest.approx(0.25)
    assert float(schedule(100)) == pytest.approx(0, abs=1e-7)
    flat = build_optimizer(replace(recipe, warmup=0.0), steps=100)._learning_rate
    assert float(flat(0)) == pytest.approx(0.5)


def test_weight_decay_spares_biases():
    kernel, bias = keras.Variable(np.ones((2, 2))), keras.Variable(np.ones(2))
    recipe = Recipe(learning_rate=0.1, warmup=0.0, optimizer="adamw", weight_decay=0.5)
    optimizer = build_optimizer(recipe, steps=10)
    optimizer.build([kernel, bias])
    optimizer.apply([np.zeros((2, 2), "float32"), np.zeros(2, "float32")])
    np.testing.assert_allclose(kernel.numpy(), 0.95, rtol=1e-6)
    np.testing.assert_array_equal(bias.numpy(), 1.0)


@pytest.mark.parametrize(("level", "frozen"), [("none", {}), ("stem", {"stem"}), ("all", None)])
def test_the_recipe_says_what_is_frozen(level, frozen, caplog):
    recipe = Recipe(model="ssd_tiny", weights="none", freeze_backbone=level, image_size=(64, 64))
    backbone = build_model(recipe, ("cat", "dog")).backbone
    learned = {variable.path.split("_")[0] for variable in backbone.trainable_variables}
    assert learned == (set() if frozen is None else {"stem", "P2", "P3", "P4", "P5"} - set(frozen))
    line = f"freeze_backbone: {level}: its layers keep the random weights that they start from"
    assert caplog.messages == ([] if level == "none" else [line])


@pytest.mark.parametrize("has_masks", [False, True])
def test_a_detector_of_masks_is_given_masks(has_masks):
    model = SimpleNamespace(image_size=(40, 52), resize="stretch", has_masks=has_masks)
    batches = build_batches(
        Recipe(batch_size=2, augmentation="none"), load_data("shapes:train=2"), model
    )
    targets = batches(0).element_spec[1]
    assert set(targets) == {"boxes", "classes"} | ({"masks"} if has_masks else set())


def test_the_loss_says_which_score_is_coupled():
    recipe = Recipe(model="fcos_tiny", weights="none", freeze_backbone="none")
    for couple, form in ((True, "harmonic_det:couple_centerness=true"), (False, "harmonic_det")):
        model = build_model(replace(recipe, loss=form), ["cell"])
        assert model.get_config()["couple_centerness"] is couple


def test_one_device_needs_no_strategy():
    assert build_strategy(Recipe()).num_replicas_in_sync == 1
    assert build_strategy(Recipe(strategy="mirrored", batch_size=3)).num_replicas_in_sync == 1
