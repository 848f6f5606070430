"""A trained detector with its weights as 16-bit numbers."""

import keras
import numpy as np
import pytest

from harmonic_tf.models import from_preset
from harmonic_tf.training.compact import compact_run
from harmonic_tf.training.labels import Labels, load_model_and_labels, write_labels

SIZE = (64, 64)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    keras.utils.set_random_seed(0)
    from_preset("ssd_tiny", 1, image_size=SIZE).save(folder / "model.keras")
    write_labels(folder, Labels(("cat",), (7,)))
    (folder / "metrics.json").write_text('{"AP": 50.0}')
    return folder


def test_it_is_the_same_but_for_rounding(run, tmp_path):
    file = compact_run(run, tmp_path / "small")
    assert {path.name for path in file.parent.iterdir()} == {
        "model.keras", "labels.json", "metrics.json",
    }  # fmt: skip
    before, _ = load_model_and_labels(run)
    after, labels = load_model_and_labels(file.parent)
    assert labels == Labels(("cat",), (7,))
    for then, now in zip(before.weights, after.weights, strict=True):
        assert now.dtype == then.dtype == "float32"
        np.testing.assert_array_equal(now, then.numpy().astype("float16").astype("float32"))
    assert file.stat().st_size < 0.6 * (run / "model.keras").stat().st_size


def test_what_16_bits_do_not_hold_is_named(run, tmp_path):
    model, _ = load_model_and_labels(run)
    model.weights[0].assign(np.full(model.weights[0].shape, 1e5))
    model.save(tmp_path / "large.keras")
    with pytest.raises(ValueError, match=r"vars/0: a weight is too large for 16 bits"):
        compact_run(tmp_path / "large.keras", tmp_path / "small")
    assert not (tmp_path / "small/model.keras").exists()
