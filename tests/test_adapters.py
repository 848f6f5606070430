"""Packing the contract into one tensor and back."""

import numpy as np
from keras import ops

from harmonic_tf import pack, unpack


def test_targets():
    box = np.arange(24, dtype="float32").reshape(2, 3, 4)
    classes = np.array([[0, -1, -2], [3, -1, 1]])
    packed = pack({"box": box, "classification": classes})
    assert packed.shape == (2, 3, 5)
    np.testing.assert_array_equal(packed[1, 0], [12, 13, 14, 15, 3])
    restored = unpack(packed, target=True)
    np.testing.assert_array_equal(restored["box"], box)
    np.testing.assert_array_equal(restored["classification"], classes)


def test_predictions():
    rng = np.random.default_rng(0)
    for columns in (1, 2, 7):
        predictions = {
            "box": rng.normal(size=(2, 3, 4)).astype("float32"),
            "classification": rng.normal(size=(2, 3, columns)).astype("float32"),
        }
        packed = pack(predictions)
        assert packed.shape == (2, 3, 4 + columns)
        restored = unpack(packed)
        for key, value in predictions.items():
            np.testing.assert_array_equal(restored[key], value)


def test_inside_a_model():
    import keras

    inputs = keras.Input((3, 8))
    heads = {"box": keras.layers.Dense(4)(inputs), "classification": keras.layers.Dense(5)(inputs)}
    model = keras.Model(inputs, pack(heads))
    assert model.output_shape == (None, 3, 9)
    assert ops.shape(model(np.zeros((2, 3, 8)))) == (2, 3, 9)
