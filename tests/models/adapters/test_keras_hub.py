"""What is particular to KerasHub's RetinaNet: its prior, and its preprocessor."""

import warnings

import keras
import numpy as np
import pytest
from others import SIZE, assert_same, data, hub_retinanet, needs_keras_hub, seeded

from harmonic_tf import harmonize
from harmonic_tf.losses import HarmonicDetLoss

pytestmark = needs_keras_hub


def test_the_prior_is_moved_to_the_class_head():
    detector = seeded(hub_retinanet)
    images, targets = data(hub_retinanet)
    with pytest.warns(UserWarning, match="repair_prior=True"):
        model = harmonize(detector)
    model.compile("sgd", loss=HarmonicDetLoss(), run_eagerly=True)
    before = model.evaluate(images, targets, verbose=0, return_dict=True)["loss"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = harmonize(detector, repair_prior=True)
    biases = [
        head.prediction_layer.bias.numpy() for head in (model.classification_head, model.box_head)
    ]
    np.testing.assert_allclose(biases[0], -np.log(99), rtol=1e-6)
    assert not biases[1].any()
    model.compile("sgd", loss=HarmonicDetLoss(), run_eagerly=True)
    assert model.evaluate(images, targets, verbose=0, return_dict=True)["loss"] < before
    with pytest.raises(ValueError, match="`repair_prior` must be False"):
        harmonize(detector, repair_prior=True)


@pytest.fixture
def model():
    import keras_hub

    converter = keras_hub.layers.RetinaNetImageConverter(
        image_size=SIZE, scale=1 / 255, bounding_box_format="xyxy", pad_to_aspect_ratio=False
    )
    preprocessor = keras_hub.models.RetinaNetObjectDetectorPreprocessor(converter)
    model = harmonize(seeded(hub_retinanet, preprocessor=preprocessor), repair_prior=True)
    model.compile("sgd", loss=HarmonicDetLoss(), run_eagerly=True)
    return model


def test_the_preprocessor_is_the_detectors(model):
    """Images of twice the size, and their boxes, are resized in all that takes data."""
    images, targets = data(hub_retinanet)
    large = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)
    large_targets = {**targets, "boxes": targets["boxes"] * 2}
    samples = model.detector.preprocess_samples(large, large_targets)
    assert tuple(samples[0].shape) == (2, *SIZE, 3)
    received = model.evaluate(large, large_targets, batch_size=2, verbose=0)
    found = model.predict(large, verbose=0)
    with pytest.raises(ValueError, match="expected `validation_data`"):
        model.fit(large, large_targets, validation_split=0.5)

    again = harmonize(seeded(hub_retinanet), repair_prior=True)
    again.compile("sgd", loss=HarmonicDetLoss(), run_eagerly=True)
    small = keras.tree.map_structure(keras.ops.convert_to_numpy, samples[:2])
    assert again.evaluate(*small, verbose=0) == pytest.approx(received, rel=1e-5)
    assert_same(again.predict(small[0], verbose=0), found)
    histories = [
        m.fit(*arrays, validation_data=arrays, shuffle=False, verbose=0).history
        for m, arrays in ((model, (large, large_targets)), (again, small))
    ]
    assert histories[0].keys() == histories[1].keys() >= {"loss", "val_loss"}
    for key, value in histories[0].items():
        np.testing.assert_allclose(value, histories[1][key], rtol=1e-4, err_msg=key)


def test_the_preprocessor_may_be_taken_off(model):
    images, targets = data(hub_retinanet)
    model.preprocessor = None
    assert model.detector.preprocessor is None
    expected = model.compute_loss(images / 255, targets, model(images / 255), training=False)
    received = model.evaluate(images / 255, targets, verbose=0, return_dict=True)["loss"]
    assert received == pytest.approx(float(expected), rel=1e-5)
