"""The maps, anchors and heads that SSD, DSSD and RefineDet are made of."""

import keras
import numpy as np
import pytest

from harmonic_tf.models import DSSD, SSD, PyramidBackbone, RefineDet
from harmonic_tf.models.single_shot import add_levels, deconvolution, predict_rows


@pytest.mark.parametrize(
    ("detector", "preset", "count"),
    [
        (SSD, "ssd300_resnet50_fpn", 8732),
        (SSD, "ssd512_resnet50_fpn", 24564),
        (DSSD, "dssd320_resnet50", 17080),
        (DSSD, "dssd512_resnet50", 43688),
        (RefineDet, "refinedet320_resnet50", 6375),
        (RefineDet, "refinedet320_resnet101", 6375),
        (RefineDet, "refinedet512_resnet50", 16320),
        (RefineDet, "refinedet512_resnet101", 16320),
    ],
)
def test_published_numbers_of_anchors(detector, preset, count):
    """On the tiny backbone, whose maps have the sizes of all others'."""
    spec = detector.presets[preset]
    settings = {**spec.settings, "filters": 8}
    model = detector(PyramidBackbone("tiny", spec.image_size), 20, **settings)
    assert model.anchors(model.image_size).shape == (count, 4)
    assert model.network.output["box"].shape == (None, count, 4)
    assert model.network.output["classification"].shape == (None, count, 21)


def test_the_original_ssd300():
    """Its published numbers of anchors and, for VOC's 20 classes, of parameters."""
    model = SSD.from_preset("ssd300_vgg16", num_classes=20)
    assert model.anchors((300, 300)).shape == (8732, 4)
    assert model.count_params() == 26_285_486


def maps(*sizes, channels=2):
    return [keras.Input((*size, channels)) for size in sizes]


@pytest.mark.parametrize(("padding", "size"), [("same", 2), ("valid", 1)])
def test_extra_levels_halve_the_size(padding, size):
    levels = add_levels(maps((9, 10)), 3, filters=4, last_padding=padding)
    assert [x.shape[1:] for x in levels] == [
        (9, 10, 2),
        (5, 5, 4),
        (3, 3, 4),
        (size, size, 4),
    ]


@pytest.mark.parametrize(
    ("coarse", "fine"), [((5, 5), (10, 10)), ((3, 4), (5, 7)), ((1, 1), (3, 3)), ((1, 2), (3, 3))]
)
def test_deconvolution_reaches_the_size_of_the_finer_map(coarse, fine):
    x, like = maps(coarse, fine)
    assert deconvolution(x, like, filters=6, name="up").shape == (None, *fine, 6)


def test_deconvolution_by_hand():
    """Ones through a kernel of ones: each coarse cell fills its 2 x 2 fine ones."""
    x, like = maps((2, 2), (3, 4), channels=1)
    model = keras.Model(x, deconvolution(x, like, filters=1, name="up"))
    model.get_layer("up_deconvolution").kernel.assign(np.ones((2, 2, 1, 1)))
    received = model(np.array([[1.0, 2.0], [3.0, 4.0]], "float32").reshape(1, 2, 2, 1))
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4]]
    np.testing.assert_allclose(received[0, ..., 0], expected)


def test_rows_are_in_the_order_of_the_anchors():
    """Level, row, column, shape: a head whose bias counts the shapes, on maps that count cells."""
    features = maps((1, 2), (1, 1), channels=1)
    model = keras.Model(features, predict_rows(features, [[1, 2], [1]], {"box": 4}))
    for i, shapes in enumerate((2, 1)):
        layer = model.get_layer(f"box_{i}")
        kernel = np.zeros((3, 3, 1, 4 * shapes))
        kernel[1, 1] = 1.0
        layer.set_weights([kernel, np.repeat(10.0 * np.arange(shapes), 4)])
    inputs = [np.array(x, "float32").reshape(1, 1, -1, 1) for x in ([1, 2], [3])]
    received = model(inputs)["box"]
    np.testing.assert_allclose(received[0, :, 0], [1, 11, 2, 12, 3])
    np.testing.assert_allclose(received[0, :, 3], [1, 11, 2, 12, 3])
