"""Training on kept feature maps is training the heads of the whole detector."""

import dataclasses
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from harmonic_tf import models
from harmonic_tf.losses import HarmonicDetLoss
from harmonic_tf.models.backbones import build_backbone, freeze
from harmonic_tf.models.heads import head_network
from harmonic_tf.training.build import build_batches, build_model
from harmonic_tf.training.data import Augmentation, load_data, train_batches
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.features import BATCH_SIZE, SEED, FeatureBatches, kept_features
from harmonic_tf.training.labels import load_model_and_labels
from harmonic_tf.training.loop import Loop
from harmonic_tf.training.recipe import Recipe, resolve
from harmonic_tf.training.train import resume, train

SIZE = (64, 96)
LIGHT = Augmentation.light()
DATA = "shapes:train=10,val=2"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/harmonic-tf"


def quiet(*_):
    pass


def kept(data, model, augmentation=LIGHT, views=2, place="memory", say=quiet):
    return kept_features(data, model, augmentation, views, place, say)


def detector(seed=0):
    keras.utils.set_random_seed(seed)
    model = models.from_preset("ssd_tiny", 3, image_size=SIZE)
    freeze(model.backbone, "all")
    model.compile(keras.optimizers.SGD(0.01), loss=HarmonicDetLoss())
    return model


@pytest.fixture(scope="module")
def ssd():
    """Not to be trained."""
    return detector()


@pytest.fixture(scope="module")
def data():
    return load_data(DATA)


def test_maps_and_boxes_are_those_of_each_augmentation(data, ssd):
    arrays = kept(data, ssd)
    assert {name: (array.shape[:2], array.dtype.name) for name, array in arrays.items()} == {
        **{level: ((2, 10), "float16") for level in ("P3", "P4", "P5")},
        **{name: ((2, 10), "float32") for name in ("boxes", "classes")},
    }
    augmented = train_batches(data, SIZE, 10, augmentation=LIGHT, seed=SEED)
    for view in range(2):
        ((images, targets),) = augmented.in_order(view)
        for name in ("boxes", "classes"):
            np.testing.assert_array_equal(arrays[name][view], targets[name])
        wanted = ssd(images, training=False)
        maps = tuple(arrays[level][view].astype("float32") for level in ("P3", "P4", "P5"))
        for name, values in head_network(ssd)(maps).items():
            np.testing.assert_allclose(values, wanted[name], atol=0.02)
    assert (arrays["P3"][0] != arrays["P3"][1]).mean() > 0.5


def test_images_that_do_not_fill_a_batch_are_there_too(ssd):
    data = load_data(f"shapes:train={BATCH_SIZE + 1}")
    last = kept(data, ssd, Augmentation(), views=1)["P5"][0, -1]
    alone = dataclasses.replace(data, records=data.records[-1:])
    np.testing.assert_allclose(last, kept(alone, ssd, Augmentation(), 1)["P5"][0, 0], atol=1e-3)


def test_an_epoch_shows_each_image_once_and_n_epochs_each_augmentation(data, ssd):
    arrays = kept(data, ssd, views=3)
    # The number of an image and its view, in the place of its features.
    numbers = np.arange(30, dtype="float32").reshape(3, 10)
    arrays["classes"][:] = numbers[..., None]
    batches = FeatureBatches(arrays, batch_size=5, seed=1)
    assert batches.steps_per_epoch == 2
    seen = [
        np.concatenate([targets["classes"][:, 0] for _, targets in batches(epoch)]).astype(int)
        for epoch in range(3)
    ]
    for epoch in seen:
        assert sorted(epoch % 10) == list(range(10))
    assert sorted(np.concatenate(seen)) == list(range(30))
    assert (seen[0] % 10).tolist() != (seen[1] % 10).tolist()
    again = [targets["classes"][0, 0] for _, targets in batches(1)]
    assert again == [seen[1][0], seen[1][5]]
    other = next(iter(FeatureBatches(arrays, 5, seed=2)(0)))[1]["classes"][:, 0]
    assert other.numpy().tolist() != seen[0][:5].tolist()
    maps, _ = next(iter(batches(0)))
    assert [x.dtype.name for x in maps] == 3 * ["float32"]
    with pytest.raises(
        ValueError, match="features: 10 images do not fill a batch of 11; .*--batch-size"
    ):
        FeatureBatches(arrays, 11, seed=1)


def test_a_step_on_features_is_a_step_on_images(data):
    """Of the whole detector with its backbone frozen, up to the rounding of the features."""
    after = []
    for on_features in (False, True):
        model = detector()
        before = model.get_weights()
        features = FeatureBatches(kept(data, model, Augmentation(), 1), 10, seed=1)
        images = train_batches(data, SIZE, 10, seed=1)
        network = head_network(model) if on_features else None
        loop = Loop(model, 10.0, network=network)
        keras.utils.set_random_seed(1)
        assert loop.run(features if on_features else images, epochs=1)
        after.append([new - old for new, old in zip(model.get_weights(), before, strict=True)])
    moved = 0
    for whole, heads in zip(*after, strict=True):
        moved += bool(np.abs(whole).max(initial=0) > 1e-4)
        np.testing.assert_allclose(heads, whole, atol=1e-3)
    assert moved > 10


def test_what_is_kept_is_found_again_only_for_the_same(data, ssd, own_cache):
    def folders():
        return len(list(own_cache.glob("features-*")))

    said = []
    first = kept(data, ssd, place="disk", say=said.append)
    second = kept(data, ssd, place="disk", say=said.append)
    assert folders() == 1 and "features: kept in" in said[-1]
    np.testing.assert_array_equal(first["P4"], second["P4"])
    size = sum(array.nbytes for array in first.values())
    assert f"features: {size} bytes in {own_cache}" in said[0]
    kept(data, detector(seed=1), place="disk")  # other weights
    kept(data, ssd, views=1, place="disk")
    objects = data.records[0].objects
    moved = replace(data.records[0], objects=replace(objects, boxes=objects.boxes + 1))
    kept(replace(data, records=(moved, *data.records[1:])), ssd, place="disk")
    assert folders() == 4


def test_what_cannot_be_kept_is_named(data, ssd):
    with pytest.raises(ValueError, match="MaskRCNN learns masks, which are not kept"):
        kept(data, models.from_preset("mask_rcnn_tiny", 3, image_size=SIZE))
    model = detector()
    model.backbone.set_weights([1e6 * w for w in model.backbone.get_weights()])
    with pytest.raises(ValueError, match="train: 10 images do not fill a batch of 11"):
        build_batches(Recipe(batch_size=11, augmentation="light", cache_features=2), data, None)
    with pytest.raises(ValueError, match="a feature of P3 is too large for float16"):
        kept(data, model)
    first = replace(data.records[0], encoded=Path("gone.bmp"), digest="known")
    broken = replace(data, records=(first, *data.records[1:]))
    with pytest.raises(ValueError, match="gone.bmp: .*; features are kept of whole data"):
        kept(broken, ssd)


def test_how_a_backbone_is_trained_is_nothing_to_its_features(own_cache):
    model = detector()
    for freeze_batch_norm in (False, True):
        model.backbone.freeze_batch_norm = freeze_batch_norm
        kept(load_data(DATA), model, place="disk")
    assert len([*own_cache.glob("features-*")]) == 1


def test_what_features_cannot_be_kept_with_is_refused(tmp_path):
    file = str(tmp_path / "file.pth")
    Path(file).touch()
    with pytest.raises(UserError, match="weights: expected trained weights .* received 'none'"):
        resolve(Recipe(cache_features=2, weights="none"))
    with pytest.raises(UserError, match="stay as they are .tiny starts from random weights: no "):
        resolve(Recipe(cache_features=2))
    with pytest.raises(UserError, match="cache: expected memory or disk .* received 'none'"):
        resolve(Recipe(cache_features=2, cache="none", weights=file))
    with pytest.raises(UserError, match="cache_features: expected 1, .* all views .* received 2"):
        resolve(Recipe(cache_features=2, augmentation="none", weights=file))
    assert resolve(Recipe(cache_features=1, augmentation="none", weights=file)).cache == "disk"
    with pytest.raises(UserError, match="cache_features: expected at least 1; received 0"):
        Recipe(cache_features=0)
    resolved = resolve(Recipe(cache_features=2, weights=file))
    assert resolved.cache == "disk" and resolve(resolved) == resolved
    assert resolve(Recipe()).cache == "none"


class InterruptAtOnce(keras.callbacks.Callback):
    """Presses Ctrl-C after the first step."""

    def on_train_batch_end(self, batch, logs=None):
        signal.raise_signal(signal.SIGINT)


def with_other_weights(recipe, class_names):
    model = build_model(recipe, class_names)
    model.backbone.set_weights([1.1 * values for values in model.backbone.get_weights()])
    return model


def test_a_run_on_features_goes_on_and_leaves_a_whole_detector_and_features_for_others(
    tmp_path, own_cache, capsys, monkeypatch
):
    recipe = Recipe(
        data=DATA,
        backbone="efficientnet_lite0",
        weights="imagenet",
        image_size=SIZE,
        epochs=2,
        batch_size=5,
        cache_features=2,
    )
    folder = tmp_path / "run"
    stopped = train(recipe, folder, extras=False, callbacks=[InterruptAtOnce()])
    assert not stopped.finished
    (kept_in,) = own_cache.glob("features-*")
    with monkeypatch.context() as another_day:
        another_day.setattr("harmonic_tf.training.train.build_model", with_other_weights)
        with pytest.raises(UserError, match="holds other weights now than then"):
            resume(folder, extras=False)
        (other,) = set(own_cache.glob("features-*")) - {kept_in}
        shutil.rmtree(other)
    run = resume(folder, extras=False)
    assert run.finished and run.evaluation.metrics.keys() >= {"AP", "AIC"}
    assert f"features: kept in {kept_in}\n" in capsys.readouterr().out
    other = resolve(replace(recipe, seed=2, loss="standard"))
    build_batches(other, load_data(DATA), build_model(other, ("blob", "ring", "cross")))
    assert list(own_cache.glob("features-*")) == [kept_in]
    model, _ = load_model_and_labels(folder)
    start = build_backbone("efficientnet_lite0", SIZE, "imagenet")
    for trained, original in zip(model.backbone.weights, start.weights, strict=True):
        np.testing.assert_array_equal(trained, original)
    assert not model.backbone.trainable_weights
