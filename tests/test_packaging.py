"""The wheel holds the whole package, wherever it is installed and started."""

import configparser
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "harmonic_tf": "harmonic_tf",
    "models": "harmonic_tf/models",
    "training": "harmonic_tf/training",
}
IMPORT = """
import harmonic_tf, harmonic_tf.models, harmonic_tf.training, harmonic_tf.training.data
for module in (harmonic_tf.models, harmonic_tf.training, harmonic_tf.training.data):
    print(module.__file__)
"""


def test_every_package_is_named():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    found = {
        ".".join((*place.split("/"), *file.parent.relative_to(ROOT / folder).parts))
        for folder, place in FOLDERS.items()
        for file in (ROOT / folder).rglob("__init__.py")
    }
    assert set(settings["options"]["packages"].split()) == found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    files = [ROOT / name for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")]
    files += (ROOT / "models/pretrained").glob("*/*")
    for file in [*files, *(x for folder in FOLDERS for x in (ROOT / folder).rglob("*.py"))]:
        copy = source / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_has_every_module_and_no_other_top_level_name(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    modules = {name for name in names if name.endswith(".py")}
    for folder, place in FOLDERS.items():
        for file in (ROOT / folder).rglob("*.py"):
            assert f"{place}/{file.relative_to(ROOT / folder).as_posix()}" in modules
    shipped = {name for name in names if name.startswith("harmonic_tf/models/pretrained/voc/")}
    assert {Path(name).name for name in shipped} == {
        "README.md", "details.json", "labels.json", "metrics.json", "model.keras", "recipe.yaml",
    }  # fmt: skip
    assert all(zipfile.ZipFile(wheel).getinfo(name).file_size <= 10e6 for name in shipped)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"harmonic_tf"}


@pytest.mark.parametrize("started_in", ["elsewhere", "the repository's root"])
def test_installed_it_imports_from_anywhere(wheel, tmp_path, started_in):
    """Beside the repository's own `harmonic_tf` with the links in it that alone is used."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    cwd = tmp_path if started_in == "elsewhere" else ROOT
    result = subprocess.run(
        [sys.executable, "-c", IMPORT],
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": ""},
    )
    linked = started_in != "elsewhere" and (ROOT / "harmonic_tf/models").is_dir()
    expected = str(ROOT / "harmonic_tf" if linked else tmp_path)
    assert all(path.startswith(expected) for path in result.stdout.split()), result.stdout
