"""torchvision's detectors as files: what is written, what is refused, and the whole way by command.

What the detectors compute is tested with `load_torchvision`.
"""

import numpy as np
import pytest

import harmonic_tf.models.torchvision as torchvision
from harmonic_tf.models import from_preset
from harmonic_tf.training import cli
from harmonic_tf.training.build import build_model
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.importing import import_torchvision
from harmonic_tf.training.labels import load_model_and_labels
from harmonic_tf.training.recipe import Recipe, resolve


@pytest.fixture
def small(monkeypatch):
    """Stands for the full-size detector of any file."""
    model = from_preset("fcos_tiny", num_classes=2, torchvision=True, resize="letterbox")
    loaded = torchvision.Loaded("fcos_resnet50_fpn", model, ("cat", "dog"), (17, 18))
    asked = []
    monkeypatch.setattr(
        torchvision, "load_torchvision", lambda *arguments: asked.append(arguments) or loaded
    )
    return model, asked


def test_the_model_lies_beside_its_labels(small, tmp_path, capsys):
    model, asked = small
    output = tmp_path / "new" / "model.keras"
    arguments = ["import", "weights.pth", "--output", str(output), "--image-size", "160", "208"]
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert not ended.value.code
    assert [(str(file), size) for file, size in asked] == [("weights.pth", (160, 208))]
    text = capsys.readouterr().out
    assert "fcos_resnet50_fpn: 2 classes, images of 208 x 160 pixels" in text
    assert str(output) in text
    again, labels = load_model_and_labels(output.parent)
    assert (labels.class_names, labels.category_ids) == (("cat", "dog"), (17, 18))
    images = np.random.default_rng(0).uniform(0, 255, (1, *model.image_size, 3))
    np.testing.assert_array_equal(again(images)["box"], model(images)["box"])
    assert again.resize == "letterbox"


def test_a_run_starts_from_it(small, tmp_path):
    model, _ = small
    import_torchvision("weights.pth", tmp_path / "model.keras")
    recipe = resolve(Recipe(start=str(tmp_path)))
    assert recipe.model == "fcos_tiny"
    started = build_model(recipe, ("dog", "zebra"))
    assert started.resize == "letterbox"
    images = np.full((1, *model.image_size, 3), 9.0, "float32")
    then, now = (np.asarray(m(images)["classification"]) for m in (model, started))
    np.testing.assert_allclose(now[..., 0], then[..., 1], rtol=1e-5)


def test_nothing_is_overwritten(small, tmp_path):
    for name in ("model.keras", "labels.json"):
        there = tmp_path / name
        there.write_text("there")
        with pytest.raises(UserError, match=f"{name}: is there already"):
            import_torchvision("weights.pth", tmp_path / "model.keras")
        assert there.read_text() == "there"
        there.unlink()
    with pytest.raises(UserError, match="a file that ends in .keras; received .*model.h5"):
        import_torchvision("weights.pth", tmp_path / "model.h5")
    with pytest.raises(UserError, match=r"--image-size: .* positive sizes; received \(0, 64\)"):
        import_torchvision("weights.pth", tmp_path / "model.keras", (0, 64))
    assert not small[1]


def test_a_file_that_is_none_leaves_nothing(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"weights\.pth.*: expected a dictionary from name"):
        import_torchvision(tmp_path / "weights.pth", tmp_path / "new" / "model.keras")
    assert not (tmp_path / "new").exists()
