"""torchvision's state dicts as detectors of ours: its outputs, its detections, and what is refused.

What is expected was computed by torchvision; see `torchvision_reference.py`.
"""

import json
import pickle
import re
import zipfile

import keras
import numpy as np
import pytest
import torchvision_reference as reference

from harmonic_tf.models import from_preset
from harmonic_tf.models.stages import read
from harmonic_tf.models.torchvision import load_torchvision, loading
from harmonic_tf.models.torchvision.classes import COCO, classes_of

DENSE = ["fcos_resnet50_fpn", "retinanet_resnet50_fpn", "ssd300_vgg16"]
TWO_STAGE = ["fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"]


def expected_of(name):
    """Of Faster R-CNN that of a Mask R-CNN, less what is there of masks."""
    with np.load(reference.file_of(name.replace("faster", "mask"))) as file:
        expected = dict(file)
    shapes = json.loads(str(expected["shapes"]))
    if name.startswith("faster"):
        shapes = {key: shape for key, shape in shapes.items() if ".mask_" not in key}
    return {**expected, "shapes": shapes}


def published_state(name):
    """As torchvision's detector is filled, in the form of the published file: frozen, old names."""
    shapes = expected_of(name)["shapes"]
    frozen = {key: x for key, x in shapes.items() if not key.endswith("num_batches_tracked")}
    state = {key: reference.seeded(key, tuple(shape)) for key, shape in frozen.items()}
    if name.startswith("fcos"):
        return state

    def old(key):
        key = re.sub(r"(inner|layer)_blocks\.(\d)\.0", r"\1_blocks.\2", key)
        key = re.sub(r"^rpn\.head\.conv\.0\.0", "rpn.head.conv", key)
        key = re.sub(
            r"(_heads\.mask_head)\.(\d)\.0", lambda x: f"{x[1]}.mask_fcn{int(x[2]) + 1}", key
        )
        return re.sub(r"_head\.conv\.(\d)\.0", lambda x: f"_head.conv.{2 * int(x[1])}", key)

    return {old(key): x for key, x in state.items()}


def write_state_dict(path, state):
    """As `torch.save(state, path)` does: a zip of a pickle and of a file for each tensor."""

    def constant(value):
        return pickle.dumps(value, 2)[2:-1]

    with zipfile.ZipFile(path, "w") as archive:
        content = b"\x80\x02}"
        for key, (name, array) in enumerate(state.items()):
            strides = tuple(stride // array.itemsize for stride in array.strides)
            storage = f"(Vstorage\nctorch\nFloatStorage\nV{key}\nVcpu\nI{array.size}\ntQ".encode()
            view = constant(0) + constant(array.shape) + constant(strides)
            content += f"V{name}\nctorch._utils\n_rebuild_tensor_v2\n(".encode()
            content += storage + view + b"tRs"
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/data.pkl", content + b".")


@pytest.fixture(scope="module", params=[*DENSE, *TWO_STAGE])
def case(request, tmp_path_factory):
    """torchvision's results, and what the detector that is read from its file says of the image."""
    expected = expected_of(request.param)
    path = tmp_path_factory.mktemp("torchvision") / f"{request.param}.pth"
    write_state_dict(path, published_state(request.param))
    size = reference.size_of(request.param)
    loaded = load_torchvision(path, size)
    path.unlink()
    assert loaded.architecture == request.param
    images = reference.image(size)[None]
    return loaded, expected, {key: np.array(x) for key, x in loaded.model(images).items()}, images


def equal(received, expected, least_spread=0.1):
    """Of boxes in units of the largest side."""
    for key, value in expected.items():
        assert np.std(value) > least_spread, key
        scale = max(1.0, np.abs(value).max()) if "boxes" in key else 1.0
        np.testing.assert_allclose(received[key] / scale, value / scale, atol=1e-4, err_msg=key)


def test_outputs_are_torchvisions(case):
    loaded, expected, outputs, _ = case
    if loaded.architecture in TWO_STAGE:
        outputs_of_both_stages(loaded, expected, outputs)
        return
    row = read(loaded.model.stages, outputs, loaded.model.image_size)["boxes"]
    rows, kept = expected["rows"], list(loaded.category_ids)
    if row.stage.classification == "softmax":
        kept.append(0)
    received = {
        "classification": row.classification[0][rows],
        "boxes": np.array(row.boxes())[0][rows],
    }
    wanted = {"classification": expected["classification"][:, kept], "boxes": expected["boxes"]}
    if "centerness" in expected:
        received["centerness"] = row.centerness[0][rows]
        wanted["centerness"] = expected["centerness"]
    equal(received, wanted)


def outputs_of_both_stages(loaded, expected, outputs):
    """Of the RPN anchor by anchor; of the head for the same regions, in whichever order."""
    found = read(loaded.model.stages, outputs, reference.SIZE)
    rpn, head = found["rpn"], found["head"]
    rows, kept = expected["rows"], np.array(loaded.category_ids)
    logits = np.array(rpn.classification)[0, rows]
    regions = np.array(head.reference_boxes)[0]
    distance = np.abs(regions - expected["regions"][:, None]).max(axis=-1)
    own = distance.argmin(axis=1)
    assert distance.min(axis=1).max() < 1e-2
    received = {
        "objectness": logits[:, 0] - logits[:, 1],
        "boxes": np.array(rpn.boxes())[0, rows],
        "region_logits": np.array(head.classification)[0, own],
        "region_boxes": np.array(head.boxes())[0, own],
    }
    wanted = {
        **{key: expected[key] for key in received},
        "region_logits": expected["region_logits"][:, [*kept, 0]],
        "region_boxes": expected["region_boxes"][:, kept - 1],
    }
    equal(received, wanted)


def test_detections_are_torchvisions(case):
    """But for those of outputs that are no class of COCO's."""
    loaded, expected, outputs, images = case
    found = {k: np.array(x)[0] for k, x in loaded.model.decode_predictions(outputs, images).items()}
    is_class = np.isin(expected["found_labels"], loaded.category_ids)
    count = int(found["num_detections"])
    assert count == is_class.sum() > 10
    np.testing.assert_allclose(
        found["confidence"][:count], expected["found_scores"][is_class], atol=1e-5
    )
    np.testing.assert_allclose(found["boxes"][:count], expected["found_boxes"][is_class], atol=1e-2)
    ids = np.array(loaded.category_ids)[found["classes"][:count]]
    np.testing.assert_array_equal(ids, expected["found_labels"][is_class])
    if "masks" in found:
        masks = expected["masks"]
        equal({"masks": found["masks"][: len(masks)]}, {"masks": masks})
    assert ("masks" in found) == loaded.architecture.startswith("mask")


def test_classes_are_cocos(case):
    loaded = case[0]
    assert loaded.model.num_classes == len(loaded.class_names) == 80
    names = dict(zip(loaded.category_ids, loaded.class_names, strict=True))
    assert names == COCO
    assert sorted([*COCO, *reference.UNUSED]) == list(range(1, 91))
    assert (names[1], names[13], names[18], names[90]) == (
        "person",
        "stop sign",
        "dog",
        "toothbrush",
    )


def test_of_another_count_all_are_classes():
    assert classes_of(4, softmax=False).kept == (0, 1, 2, 3)
    assert classes_of(4, softmax=True).names == ("class 1", "class 2", "class 3")


def test_images_are_resized_as_in_torchvision_and_batch_normalisation_is_frozen(case):
    architecture, model, *_ = case[0]
    is_ssd = architecture == "ssd300_vgg16"
    assert model.resize == ("stretch" if is_ssd else "letterbox")
    assert model.image_size == reference.size_of(architecture)
    assert model.backbone.freeze_batch_norm
    trained = {x.path.split("/")[-2] for x in model.backbone.trainable_variables}
    assert ("fc6" if is_ssd else "conv1") in trained and "bn1" not in trained


@pytest.mark.parametrize("preset", ["fcos_tiny", "retinanet_tiny", "faster_rcnn_tiny", "ssd_tiny"])
def test_torchvisions_layout_is_kept_in_a_file(preset, tmp_path):
    """And is another than ours."""
    images = np.random.default_rng(0).uniform(0, 255, (1, 128, 160, 3)).astype("float32")
    settings = {"num_classes": 2, "image_size": (128, 160)}
    layout = {"steps": (9, 17, 35, 60)} if preset == "ssd_tiny" else {"torchvision": True}
    model = from_preset(preset, **layout, **settings)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    expected, received = model(images), again(images)
    for key in expected:
        np.testing.assert_array_equal(received[key], expected[key])
    np.testing.assert_array_equal(again.anchors((128, 160)), model.anchors((128, 160)))
    ours = from_preset(preset, **settings)
    assert np.abs(ours.anchors((128, 160)) - model.anchors((128, 160))).max() > 3


def test_a_state_dict_that_is_not_whole_is_refused(monkeypatch):
    """By the file's name and the tensor's; the detector is built once, and stays as it was."""
    shapes = expected_of("retinanet_resnet50_fpn")["shapes"]
    state = {name: np.zeros(shape, "float32") for name, shape in shapes.items()}
    model = from_preset(
        "retinanet_resnet50_fpn",
        num_classes=80,
        backbone="resnet50_torchvision",
        image_size=(64, 64),
        torchvision=True,
    )
    before = model.backbone.get_layer("conv1").get_weights()[0]
    monkeypatch.setattr(loading, "from_preset", lambda *_, **__: model)

    def load(changes):
        changed = {key: x for key, x in {**state, **changes}.items() if x is not None}
        monkeypatch.setattr(loading, "read_state_dict", lambda path: changed)
        load_torchvision("some.pth")

    norm, conv = "head.classification_head.conv.0.1.weight", "backbone.body.conv1.weight"
    for changes, message in (
        ({conv: None}, rf"^some\.pth, read as \S+ retinanet_resnet50_fpn: .* lacks {conv}\.$"),
        ({norm: np.zeros(256)}, rf"^some\.pth, read as .*, but the network has not, {norm}\.$"),
        (
            {conv: np.zeros((64, 3, 3, 3))},
            r"conv1\.weight \(64, 3, 3, 3\) instead of \(64, 3, 7, 7\)",
        ),
        ({"backbone.body.bn1.bias": np.zeros(3)}, r"bn1\.bias \(3,\) instead of \(64,\)"),
        ({"backbone.body.bn1.weight": np.zeros(3)}, r"bn1\.weight \(3,\) instead of \(64,\)"),
        ({conv: np.full((64, 3, 7, 7), np.nan)}, rf"has numbers that are not finite in {conv}"),
        ({"backbone.body.bn1.weight": None}, r"lacks backbone\.body\.bn1\.weight\.$"),
    ):
        with pytest.raises(ValueError, match=message):
            load(changes)
    np.testing.assert_array_equal(model.backbone.get_layer("conv1").get_weights()[0], before)


def test_ssd300_has_one_size(monkeypatch):
    state = {name: np.zeros(455) for name in loading.SSD300.has}
    monkeypatch.setattr(loading, "read_state_dict", lambda path: state)
    with pytest.raises(ValueError, match=r"^some\.pth: ssd300_vgg16 takes images of \(300, 300\)"):
        load_torchvision("some.pth", (512, 512))


@pytest.mark.parametrize(
    ("state", "received"),
    [({"fc.weight": np.zeros(3)}, "1 tensors, the first 'fc.weight'"), ({}, "0 tensors")],
)
def test_what_is_no_detector_is_refused(state, received, monkeypatch):
    monkeypatch.setattr(loading, "read_state_dict", lambda path: state)
    with pytest.raises(ValueError, match=rf"^some\.pth: expected .*fcos_resnet50_fpn.*{received}"):
        load_torchvision("some.pth")
