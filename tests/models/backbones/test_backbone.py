import keras
import numpy as np
import pytest

from harmonic_tf.models.backbones import backbone as backbones
from harmonic_tf.models.backbones.backbone import (
    Architecture,
    PyramidBackbone,
    build_backbone,
    freeze,
    level_layer_names,
    pyramid_features,
)
from harmonic_tf.models.backbones.tiny import tiny


@pytest.mark.parametrize("architecture", ["tiny", "resnet50"])
def test_levels_halve_the_size(architecture):
    backbone = PyramidBackbone(architecture, (64, 96))
    sizes = {level: x.shape[1:3] for level, x in backbone.output.items()}
    assert sizes == {"P2": (16, 24), "P3": (8, 12), "P4": (4, 6), "P5": (2, 3)}


def test_features_are_the_named_levels():
    backbone = PyramidBackbone("tiny", (64, 64))
    features = pyramid_features(backbone, ("P3", "P5"))
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    expected, received = backbone(images), features(images)
    assert sorted(received) == ["P3", "P5"]
    for level in received:
        np.testing.assert_array_equal(received[level], expected[level])


def test_resnet_preprocesses_as_keras_applications_do():
    network = keras.applications.ResNet50(include_top=False, weights=None)
    backbone = PyramidBackbone("resnet50", (32, 32))
    for layer in network.layers:
        if layer.weights:
            backbone.get_layer(layer.name).set_weights(layer.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    expected = network(keras.applications.resnet.preprocess_input(images.copy()))
    np.testing.assert_allclose(backbone(images)["P5"], expected, rtol=1e-4, atol=1e-4)


def test_a_new_architecture_is_one_entry(monkeypatch, tmp_path):
    loaded = []
    entry = Architecture(tiny, load=lambda network, weights: loaded.append((network, weights)))
    monkeypatch.setitem(backbones._ARCHITECTURES, "new", entry)
    file = tmp_path / "a.file"
    file.touch()
    backbone = build_backbone("new", (32, 32), weights=file)
    assert loaded == [(backbone, str(file))]
    assert backbone.freeze_batch_norm


def test_config_is_complete():
    backbone = PyramidBackbone("tiny", (32, None), freeze_batch_norm=True, name="trunk")
    backbone.trainable = False
    config = backbone.get_config()
    assert config == {
        "name": "trunk",
        "architecture": "tiny",
        "image_size": (32, None),
        "freeze_batch_norm": True,
        "frozen_level": None,
        "trainable": False,
    }
    again = PyramidBackbone.from_config(config)
    assert again.get_config() == config
    assert not again.trainable_weights


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_batch_norm_keeps_its_statistics(frozen):
    backbone = PyramidBackbone("tiny", (32, 32), freeze_batch_norm=frozen)
    backbone = PyramidBackbone.from_config(backbone.get_config())
    mean = backbone.get_layer("stem_bn").moving_mean
    backbone(np.full((2, 32, 32, 3), 255.0, "float32"), training=True)
    assert np.any(np.array(mean)) != frozen
    trainable = {weight.path for weight in backbone.trainable_weights}
    assert any("_bn" in path for path in trainable) != frozen


def test_a_weights_file_is_loaded_and_freezes_batch_norm(tmp_path):
    network = keras.applications.ResNet50(include_top=False, weights=None)
    file = tmp_path / "resnet50.weights.h5"
    network.save_weights(file)
    backbone = build_backbone("resnet50", (32, 32), weights=str(file))
    assert backbone.freeze_batch_norm
    for name in ("conv1_conv", "conv5_block3_3_bn"):
        received, expected = (m.get_layer(name).get_weights() for m in (backbone, network))
        for a, b in zip(received, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_failed_download_says_what_to_do(monkeypatch):
    def fail(**kwargs):
        raise OSError("URL fetch failure")

    original = keras.applications.ResNet50
    monkeypatch.setattr(
        keras.applications,
        "ResNet50",
        lambda **kwargs: fail() if kwargs["weights"] == "imagenet" else original(**kwargs),
    )
    with pytest.raises(ValueError, match="URL fetch failure.*give its path as `weights`"):
        build_backbone("resnet50", (32, 32), weights="imagenet")


@pytest.mark.parametrize("weights", ["auto", "ImageNet", "no/such/file.pth"])
def test_what_is_no_weights_is_named(weights):
    message = f'There is no file \'{weights}\': weights are "none", "imagenet" or a file'
    with pytest.raises(ValueError, match=message):
        build_backbone("efficientnet_lite0", (32, 32), weights=weights)


def test_a_backbone_takes_no_word_that_it_does_not_know():
    with pytest.raises(TypeError, match="unexpected keyword argument 'weights'"):
        PyramidBackbone("efficientnet_lite0", (32, 32), weights="imagenet")


def test_a_missing_weights_file_is_named():
    with pytest.raises(ValueError, match="no/such/file.h5"):
        build_backbone("resnet50", (32, 32), weights="no/such/file.h5")


def test_tiny_has_no_pretrained_weights():
    with pytest.raises(ValueError, match="no pretrained weights for the backbone 'tiny'"):
        build_backbone("tiny", (32, 32), weights="imagenet")


def test_unknown_architecture():
    with pytest.raises(ValueError, match="no backbone 'vgg'; there are tiny, .*keras_hub:PRESET"):
        PyramidBackbone("vgg")


def test_a_backbone_that_is_built_has_no_name():
    with pytest.raises(ValueError, match="goes to the detector's own class"):
        build_backbone(PyramidBackbone("tiny", (32, 32)), (32, 32))


def test_a_missing_level_is_named():
    with pytest.raises(ValueError, match="no level P9; it has P2, P3, P4, P5"):
        pyramid_features(PyramidBackbone("tiny", (32, 32)), ("P5", "P9"))


def test_a_model_that_does_not_name_its_levels():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 1)])
    with pytest.raises(ValueError, match="pyramid_level_inputs.*Received: Sequential"):
        pyramid_features(model, ("P3",))


@pytest.mark.parametrize("freeze_batch_norm", [False, True])
def test_the_last_freeze_counts(freeze_batch_norm):
    once = PyramidBackbone("tiny", (32, 32), freeze_batch_norm, frozen_level="P2")
    twice = PyramidBackbone("tiny", (32, 32), freeze_batch_norm, frozen_level="all")
    assert not twice.trainable_weights
    freeze(twice, "P2")
    assert twice.frozen_level == "P2"
    learned = [[x.path for x in backbone.trainable_weights] for backbone in (once, twice)]
    assert learned[0] == learned[1] != []


def test_frozen_layers_are_those_up_to_the_level():
    backbone = PyramidBackbone("tiny", (32, 32))
    freeze(backbone, "P3")
    for layer in backbone.layers:
        frozen = layer.name.startswith(("rescaling", "images", "stem", "P2", "P3"))
        assert layer.trainable != frozen, layer.name


def test_frozen_layers_keep_their_statistics_and_weights():
    backbone = PyramidBackbone("tiny", (32, 32), frozen_level="P3")
    before = {x.path: np.array(x) for x in backbone.weights}
    backbone(np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)), training=True)
    changed = {x.path for x in backbone.weights if np.any(np.array(x) != before[x.path])}
    assert {path.split("_")[0] for path in changed} == {"P4", "P5"}
    assert {x.path.split("_")[0] for x in backbone.trainable_weights} == {"P4", "P5"}


def layers_with_a_gradient(function, *arguments):
    """Names of the convolutions that what a function returns has a backward pass through."""
    graph = function.get_concrete_function(*arguments).graph
    waiting, seen = [x.op for x in graph.outputs], set()
    while waiting:
        operation = waiting.pop()
        if operation not in seen:
            seen.add(operation)
            waiting += [x.op for x in operation.inputs]
    paths = [x.name.split("/") for x in seen if x.name.startswith("gradient_tape")]
    return {part for path in paths for part in path if "_conv" in part}


@pytest.mark.parametrize(
    ("level", "learned"), [("stem", {"P2", "P3", "P4", "P5"}), ("P4", {"P5"}), ("all", set())]
)
def test_what_is_frozen(level, learned):
    """It costs no backward pass, keeps its statistics, and the rest learns."""
    import tensorflow as tf

    backbone = PyramidBackbone("tiny", (32, 32), frozen_level=level)
    assert {x.path.split("_")[0] for x in backbone.trainable_weights} == learned
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")

    @tf.function(autograph=False)
    def step(images):
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_sum(x) for x in backbone(images, training=True).values()])
        return loss, tape.gradient(loss, [x.value for x in backbone.trainable_weights])

    assert {name.split("_")[0] for name in layers_with_a_gradient(step, images)} == learned
    before = [np.array(x) for x in backbone.non_trainable_weights]
    _, gradients = step(images)
    assert all(np.any(gradient) for gradient in gradients)
    changed = [
        x.path.split("_")[0]
        for x, value in zip(backbone.non_trainable_weights, before, strict=True)
        if np.any(np.array(x) != value)
    ]
    assert set(changed) == learned


@pytest.mark.parametrize("level", ["stem", "P2", "P5", "all"])
def test_what_is_frozen_survives_saving(level, tmp_path):
    backbone = PyramidBackbone("tiny", (32, 32), freeze_batch_norm=True)
    freeze(backbone, level)
    file = tmp_path / "backbone.keras"
    backbone.save(file)
    again = keras.saving.load_model(file)
    assert again.get_config() == backbone.get_config()
    assert again.get_config()["frozen_level"] == level
    paths = [[x.path for x in model.trainable_weights] for model in (again, backbone)]
    assert paths[0] == paths[1]


def test_a_level_that_cannot_be_frozen():
    message = 'no level P6; it has P2, P3, P4, P5. To freeze there are "stem" and "all", too'
    with pytest.raises(ValueError, match=message):
        build_backbone("tiny", (32, 32), frozen_level="P6")


def test_levels_that_share_a_layer_are_features_but_have_no_layers_of_their_own():
    """As those of KerasHub's `RetinaNetBackbone` do."""

    class Pyramid(keras.layers.Layer):
        def call(self, x):
            return {"P3": 2 * x, "P4": 3 * x}

    images = keras.Input((4, 4, 3))
    levels = Pyramid(name="fpn")(images)
    backbone = keras.Model(images, levels)
    backbone.pyramid_outputs = levels
    features = pyramid_features(backbone, ("P4", "P3"))(np.ones((1, 4, 4, 3)))
    assert np.all(features["P3"] == 2) and np.all(features["P4"] == 3)
    with pytest.raises(ValueError, match="layer for each of P3, P4. .* with layers fpn, fpn$"):
        level_layer_names(backbone)
