"""A trained detector for other classes: of a known class it says what it said before."""

import numpy as np
import pytest
from detectors import ONE_STAGE, TWO_STAGE

from harmonic_tf.models import from_preset
from harmonic_tf.models.transfer import with_classes

# One of each kind of head; the others are made of the same.
KINDS = ["ssd_tiny", "fcos_tiny", "mask_rcnn_tiny"]
OTHERS = [name for name in (*ONE_STAGE, *TWO_STAGE) if name not in KINDS and "cascade" not in name]
OLD, SOURCES = 3, [2, None, None, 0]  # of three classes the last and the first, among new ones


def random_weights(model, seed=1):
    """Fills every weight, as training would: no class is as it was at the start."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        shift = random.uniform(0.01, 0.1, weight.shape)
        weight.assign(
            np.abs(weight.numpy()) + shift if "variance" in weight.path else weight + shift
        )
    return model


@pytest.mark.parametrize(
    "name", [*KINDS, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_a_known_class_says_what_it_said(name):
    model = random_weights(from_preset(name, OLD))
    result = with_classes(model, SOURCES)
    images = np.random.default_rng(0).uniform(0, 255, (1, *model.image_size, 3)).astype("float32")
    before, after = model(images), result(images)
    assert result.num_classes == len(SOURCES)
    assert before.keys() == after.keys()
    for key, then in before.items():
        then, now = np.asarray(then), np.asarray(after[key])
        if then.shape == now.shape:
            np.testing.assert_array_equal(now, then, err_msg=key)
            continue
        axis = -2 if key.endswith("box") else -1
        for index, source in enumerate(SOURCES):
            if source is not None:
                np.testing.assert_allclose(
                    now.take(index, axis), then.take(source, axis), rtol=1e-5, atol=1e-5
                )
        if then.shape[axis] > OLD:
            np.testing.assert_allclose(now[..., -1], then[..., -1], rtol=1e-5, atol=1e-5)
    if model.has_masks:
        there, here = (m.branches[0].network.layers[-1].kernel.numpy() for m in (model, result))
        np.testing.assert_array_equal(here[..., [0, 3]], there[..., [2, 0]])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TWO_STAGE if "cascade" in name])
def test_every_head_of_a_cascade_is_taken(name):
    """The mean of their probabilities depends on the other classes, so weights are compared."""
    model = random_weights(from_preset(name, OLD))
    result = with_classes(model, SOURCES)
    heads = 0
    for there, here in zip(model.weights, result.weights, strict=True):
        if there.shape == here.shape:
            np.testing.assert_array_equal(here, there)
            continue
        heads += 1
        np.testing.assert_array_equal(here.numpy()[..., [0, 3]], there.numpy()[..., [2, 0]])
        if there.shape[-1] == OLD + 1:
            np.testing.assert_array_equal(here.numpy()[..., -1], there.numpy()[..., -1])
    assert heads == 2 * (3 + model.has_masks)


def test_the_same_classes_in_another_order():
    model = random_weights(from_preset("ssd_tiny", 2))
    result = with_classes(model, [1, 0], score_threshold=0.3)
    images = np.zeros((1, *model.image_size, 3), "float32")
    then, now = (np.asarray(m(images)["classification"]) for m in (model, result))
    np.testing.assert_array_equal(now, then[..., [1, 0, 2]])
    assert result.decoding["score_threshold"] == 0.3
    assert model.decoding["score_threshold"] != 0.3


def test_a_new_class_starts_as_in_a_new_detector():
    """Its prior with it: a focal head says 0.01 of everything at first."""
    model = random_weights(from_preset("retinanet_tiny", 2))
    result = with_classes(model, [None, 0])
    (bias,) = (x for x in result.weights if x.shape == (2 * 9,))
    new, known = bias.numpy().reshape(-1, 2).T
    np.testing.assert_allclose(new, -np.log(99.0), rtol=1e-5)
    assert (known > -np.log(99.0)).all()


@pytest.mark.parametrize("sources", [[], [2], [-1, 0]])
def test_classes_that_cannot_be(sources):
    with pytest.raises(ValueError, match="`sources` must have an index from 0 to 1, or None"):
        with_classes(from_preset("ssd_tiny", 2), sources)
