"""Text is read whatever its encoding; files are written whole, and leftovers go."""

import codecs
import json
import os

import pytest

from harmonic_tf.training.errors import UserError
from harmonic_tf.training.files import (
    read_text,
    replacing,
    sweep,
    write_bytes,
    write_json,
    writing_to,
)


@pytest.mark.parametrize(
    "content",
    [
        "été".encode(),
        "été".encode("latin-1"),
        "été".encode("utf-8-sig"),
        "été".encode("utf-16"),
        codecs.BOM_UTF16_BE + "été".encode("utf-16-be"),
    ],
)
def test_text_is_read_by_its_mark_else_as_utf8_else_as_latin1(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert read_text(tmp_path / "file") == "été"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such pipes")
def test_what_never_ends_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(OSError, match="a pipe or device, not a file"):
            read_text(tmp_path / name)


def test_names_that_are_no_text_come_back_as_they_were(tmp_path):
    names = ["k\udce4se.png", "狗", "\ud83d"]
    assert json.loads(read_text(write_json(tmp_path / "names.json", names))) == names


def test_files_are_replaced_whole(tmp_path):
    path = tmp_path / "a" / "file.json"
    write_bytes(path, b"older")
    with pytest.raises(ValueError):
        write_json(path, {"AP": float("nan")})
    with pytest.raises(KeyboardInterrupt), replacing(path) as aside:
        aside.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"older"
    name = "é " + os.fsdecode(b"k\xe4se")  # as Python has names that are no UTF-8
    write_json(path, {"name": name})
    assert path.read_bytes() == '{\n  "name": "é k\\udce4se"\n}\n'.encode()
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": name}
    assert [child.name for child in path.parent.iterdir()] == ["file.json"]


def test_half_letters_of_names_stay_json(tmp_path):
    names = ["k\udce4se.png", "käse.png"]
    file = write_json(tmp_path / "a.json", names)
    assert json.loads(file.read_text("utf-8")) == names


def test_what_killed_writers_left_is_swept_and_nothing_else(tmp_path):
    for name in (".17.best.keras", ".recipe.yaml.17", ".lock", ".hidden", "17.keras", ".git"):
        (tmp_path / name).touch()
    (tmp_path / ".17.folder").mkdir()
    sweep(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        ".17.folder", ".git", ".hidden", ".lock", "17.keras",
    ]  # fmt: skip


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path):
    (tmp_path / "history.csv").mkdir()
    message = r"cells: cannot be written to: Is a directory \(history.csv\); mend that$"
    with pytest.raises(UserError, match=message), writing_to("cells", "; mend that"):
        write_bytes(tmp_path / "history.csv", b"")
