"""A folder is claimed at once, by one process, until it ends, however it ends."""

import os
import signal
import subprocess
import sys

import pytest

from harmonic_tf.training.errors import UserError
from harmonic_tf.training.locking import FolderInUse, claimed, is_empty


def test_a_claim_makes_the_folder_and_leaves_it_only_if_something_is_in_it(tmp_path):
    folder = tmp_path / "runs" / "cells"
    with claimed(folder):
        assert is_empty(folder) and list(folder.iterdir())
    assert not list(tmp_path.iterdir())
    with claimed(folder):
        (folder / "recipe.yaml").touch()
        assert not is_empty(folder)
    assert [file.name for file in folder.iterdir()] == ["recipe.yaml"]


def test_what_a_killed_writer_left_aside_does_not_fill_a_folder(tmp_path):
    (tmp_path / ".17.recipe.yaml").touch()
    assert is_empty(tmp_path)
    (tmp_path / ".hidden").touch()
    assert not is_empty(tmp_path)


def test_an_empty_folder_that_was_there_stays(tmp_path):
    with claimed(tmp_path):
        pass
    assert tmp_path.is_dir() and not list(tmp_path.iterdir())


def test_another_process_is_kept_out_until_the_first_is_killed(tmp_path):
    code = f"""
import time
from harmonic_tf.training.locking import claimed
with claimed({str(tmp_path)!r}):
    print("claimed", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    with process.stdout:
        assert process.stdout.readline() == b"claimed\n"
        with pytest.raises(FolderInUse, match=rf"at work here \(process {process.pid} on "):
            with claimed(tmp_path):
                pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]
    with claimed(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(victim)
    with pytest.raises(UserError, match="symbolic link"):
        with claimed(tmp_path / "run"):
            pass
    assert victim.read_text() == "precious"


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/run: cannot be written to: Not a directory"):
        with claimed(tmp_path / "file" / "run"):
            pass
