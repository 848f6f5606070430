"""KerasCV's Faster R-CNN, which trains on Keras 3 in keras-cv-nightly alone."""

import keras
import keras_cv
import numpy as np
import pytest
import tensorflow as tf
from others import assert_same, data, faster_rcnn, run_two_replicas, seeded

from harmonic_tf import harmonize
from harmonic_tf.losses import HarmonicDetLoss

pytestmark = [
    pytest.mark.skipif("dev" not in keras_cv.__version__, reason="needs keras-cv-nightly"),
    pytest.mark.filterwarnings("ignore:(?s).*structure of `inputs`:UserWarning"),
]


@pytest.fixture(scope="module")
def theirs():
    return seeded(faster_rcnn)


def batch():
    """Classes are counted from 1."""
    images, targets = data(faster_rcnn)
    classes = np.where(targets["classes"] >= 0, targets["classes"] + 1, -1)
    return images, {**targets, "classes": classes}


class Spy(keras.losses.Loss):
    """Keeps what it is given."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        self.given = [np.array(x) for x in (y_true, y_pred, sample_weight)]
        return keras.ops.sum(y_pred)


def test_the_loss_is_that_of_the_librarys_own_targets():
    """What its own losses are given, with the seeds that draw its samples set back."""
    images, targets = batch()
    spies = {name: Spy() for name in ("rpn_box", "rpn_classification", "box", "classification")}
    theirs = seeded(faster_rcnn)
    seeds = [theirs.label_encoder.seed_generator.state, theirs.roi_sampler.seed_generator.state]
    drawn = [seed.numpy() for seed in seeds]
    theirs.compile(**{f"{name}_loss": spy for name, spy in spies.items()}, run_eagerly=True)
    outputs = theirs(images)
    theirs.compute_loss(images, targets, outputs, None)
    learned = {name: spy.given for name, spy in spies.items()}

    sampled = learned["classification"][2] > 0
    classes = np.where(sampled, learned["classification"][0].argmax(-1) - 1, -2)
    assert (classes >= 0).any() and (classes == -1).any()
    logits = np.roll(learned["classification"][1], -1, axis=-1)  # the background last
    expected = HarmonicDetLoss()(
        {"box": learned["box"][0], "classification": classes},
        {"box": learned["box"][1], "classification": logits},
    )
    anchors = learned["rpn_classification"]
    sampled = anchors[2].reshape(anchors[0].shape) > 0
    score = 1 / (1 + np.exp(-anchors[1]))
    entropy = -np.where(anchors[0] == 1, np.log(score), np.log(1 - score))[sampled]
    positive = ((anchors[0] == 1) & sampled)[..., 0]
    off = np.abs(learned["rpn_box"][0] - learned["rpn_box"][1])[positive]
    smooth = np.where(off < 1, off**2 / 2, off - 0.5)
    rpn = (entropy.sum() + smooth.sum()) / sampled.sum()

    for seed, value in zip(seeds, drawn, strict=True):
        seed.assign(value)
    ours = harmonize(theirs)
    ours.compile("sgd", loss=HarmonicDetLoss(), run_eagerly=True)
    received = ours.compute_loss(images, targets, outputs)
    assert float(ours.other_losses["rpn"].result()) == pytest.approx(rpn, rel=1e-3)
    assert float(received) == pytest.approx(float(expected) + rpn, rel=1e-4)


def test_it_learns_and_goes_on_after_it_was_saved(theirs, tmp_path):
    images, targets = batch()
    dataset = tf.data.Dataset.from_tensors((images, targets))
    found = theirs.predict(images, verbose=0)
    model = harmonize(theirs)
    model.compile(keras.optimizers.Adam(1e-4), loss=HarmonicDetLoss(), run_eagerly=True)
    assert_same(model.predict(images, verbose=0), found)
    losses = model.fit(dataset, epochs=6, shuffle=False, verbose=0).history
    assert losses["loss"][-1] < losses["loss"][0]
    assert losses["rpn_loss"][-1] < losses["rpn_loss"][0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(loaded({"images": images}), model({"images": images}))
    for one, other in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_images_without_objects(theirs):
    images, targets = batch()
    model = harmonize(theirs)
    model.compile("sgd", loss=HarmonicDetLoss(), run_eagerly=True)
    for y in (
        {key: np.full_like(value, -1) for key, value in targets.items()},
        {key: value[:, :0] for key, value in targets.items()},
    ):
        loss = model.evaluate(images, y, verbose=0, return_dict=True)
        assert 0 < loss["loss"] < np.inf and loss["mean_p"] == 0


def test_classes_are_counted_from_1(theirs):
    images, targets = batch()
    model = harmonize(theirs)
    model.compile("sgd", loss=HarmonicDetLoss(), run_eagerly=True)
    wrong = {**targets, "classes": np.full_like(targets["classes"], 4)}
    with pytest.raises(ValueError, match="must be whole numbers below 4"):
        model.compute_loss(images, wrong, theirs(images))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_refused(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        detector = faster_rcnn()
    finally:
        keras.config.set_dtype_policy(before)
    with pytest.raises(ValueError, match=f"computes in float32 alone.* Received: {policy}"):
        harmonize(detector)


def test_a_step_on_two_replicas_is_a_step_on_one():
    run_two_replicas("faster_rcnn")


def test_batches_of_unknown_size_are_refused(theirs):
    """It multiplies the number of images by a fraction, which TensorFlow's graphs cannot."""
    images, targets = batch()
    model = harmonize(theirs)
    model.compile("sgd", loss=HarmonicDetLoss())
    dataset = tf.data.Dataset.from_tensor_slices((images, targets)).batch(2)
    with pytest.raises(ValueError, match=r"drop_remainder=True.* \(None, 64, 64, 3\)"):
        model.fit(dataset, shuffle=False, verbose=0)
