import keras
import numpy as np
import pytest

from harmonic_tf.models.layers.pyramid import FeaturePyramid


def maps(*sizes):
    rng = np.random.default_rng(0)
    return {
        f"P{i + 3}": rng.normal(size=(1, *size, 2)).astype("float32")
        for i, size in enumerate(sizes)
    }


def test_coarse_levels_are_added_to_finer_ones():
    """With identity convolutions P3 is its input plus P4 and P5 repeated over 2 and 4 cells."""
    inputs = maps((4, 4), (2, 2), (1, 1))
    pyramid = FeaturePyramid(extra_levels=0, filters=2)
    pyramid(inputs)
    for lateral, output in zip(pyramid.laterals, pyramid.refinements, strict=True):
        lateral.kernel.assign(np.eye(2).reshape(1, 1, 2, 2))
        kernel = np.zeros((3, 3, 2, 2))
        kernel[1, 1] = np.eye(2)
        output.kernel.assign(kernel)
    finest, middle, coarsest = (np.array(x) for x in pyramid(inputs))
    expected = inputs["P4"] + inputs["P5"]
    np.testing.assert_allclose(coarsest, inputs["P5"], rtol=1e-6)
    np.testing.assert_allclose(middle, expected, rtol=1e-6)
    np.testing.assert_allclose(
        finest, inputs["P3"] + expected.repeat(2, 1).repeat(2, 2), rtol=1e-5, atol=1e-6
    )


def test_odd_sizes():
    outputs = FeaturePyramid(filters=4)(maps((5, 7), (3, 4), (2, 2)))
    assert [tuple(x.shape) for x in outputs] == [
        (1, 5, 7, 4),
        (1, 3, 4, 4),
        (1, 2, 2, 4),
        (1, 1, 1, 4),
        (1, 1, 1, 4),
    ]


@pytest.mark.parametrize(("padding", "size"), [("same", 2), ("valid", 1)])
def test_padding_of_the_last_level(padding, size):
    pyramid = FeaturePyramid(("P3",), extra_levels=2, filters=4, last_padding=padding)
    assert tuple(pyramid(maps((6, 6)))[-1].shape) == (1, size, size, 4)


def test_what_the_first_extra_level_is_made_of():
    """Of one cell: the backbone's, or three times it, in the level that is made of it."""
    inputs = maps((1, 1))
    sums = {}
    for source in ("backbone", "pyramid"):
        pyramid = FeaturePyramid(("P3",), extra_levels=1, filters=2, extra_input=source)
        pyramid(inputs)
        pyramid.refinements[0].kernel.assign(3 * np.eye(2) * np.ones((3, 3, 1, 1)))
        pyramid.laterals[0].kernel.assign(np.eye(2)[None, None])
        pyramid.extras[0].kernel.assign(np.ones((3, 3, 2, 2)))
        sums[source] = np.array(pyramid(inputs)[-1])[0, 0, 0]
    total = inputs["P3"].sum()
    np.testing.assert_allclose(sums["backbone"], [total, total], rtol=1e-5)
    np.testing.assert_allclose(sums["pyramid"], [3 * total, 3 * total], rtol=1e-5)
    with pytest.raises(ValueError, match='`extra_input` must be "backbone" or "pyramid"'):
        FeaturePyramid(extra_input="P5")
    for levels in (("P5", "P3"), ("P3", "P5"), ()):
        with pytest.raises(ValueError, match="consecutive levels of the backbone, finest first"):
            FeaturePyramid(levels)
    with pytest.raises(ValueError, match="`extra_levels` must not be negative. Received: -1"):
        FeaturePyramid(extra_levels=-1)


@pytest.mark.parametrize(("symmetric", "seen"), [(False, [3, 4, 5]), (True, [2, 3, 4])])
def test_what_a_coarser_cell_sees_of_an_even_side(symmetric, seen):
    """The second of two: the last two and padding, or as in PyTorch the last three."""
    inputs = {"P3": np.arange(4, dtype="float32").reshape(1, 1, 4, 1) + 1}
    pyramid = FeaturePyramid(("P3",), extra_levels=1, filters=1, symmetric=symmetric)
    pyramid(inputs)
    pyramid.extras[0].kernel.assign(np.ones((3, 3, 1, 1)))
    values = [0, 1, 2, 3, 4, 0]
    received = np.array(pyramid(inputs)[-1])[0, 0, :, 0]
    assert received[1] == sum(values[i] for i in seen)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("source", ["backbone", "pyramid"])
def test_symbolic_shapes_are_those_of_the_call(source, symmetric):
    inputs = maps((6, 8), (3, 4), (2, 2))
    symbolic = {level: keras.Input(x.shape[1:]) for level, x in inputs.items()}
    pyramid = FeaturePyramid(extra_levels=3, filters=4, extra_input=source, symmetric=symmetric)
    shapes = [x.shape[1:] for x in pyramid(symbolic)]
    assert shapes == [tuple(x.shape[1:]) for x in pyramid(inputs)]


def test_config_is_complete():
    settings = {
        "levels": ("P4", "P5"),
        "extra_levels": 1,
        "filters": 8,
        "last_padding": "valid",
        "extra_input": "pyramid",
        "symmetric": True,
        "name": "neck",
    }
    config = FeaturePyramid(**settings).get_config()
    assert settings.items() <= config.items()
    assert FeaturePyramid.from_config(config).get_config() == config


def test_a_separable_pyramid_is_light_and_stays_so():
    layer = FeaturePyramid(("P3", "P4"), extra_levels=1, filters=4, separable=True)
    shapes = [tuple(x.shape) for x in layer(maps((4, 4), (2, 2)))]
    assert shapes == [(1, 4, 4, 4), (1, 2, 2, 4), (1, 1, 1, 4)]
    lateral, refinement, extra = 2 * 4 + 4, 13 * 4 + 4 * 4 + 4, 13 * 2 + 2 * 4 + 4
    assert layer.count_params() == 2 * lateral + 2 * refinement + extra
    again = FeaturePyramid.from_config(layer.get_config())
    again(maps((4, 4), (2, 2)))
    assert again.count_params() == layer.count_params()
