import concurrent.futures
import json
import shutil
import threading
import time

import numpy as np
import pytest

from harmonic_tf.training.data import cache
from harmonic_tf.training.data.cache import kept_arrays
from harmonic_tf.training.errors import UserError

SPECS = {"squares": ((5,), "int32"), "halves": ((2, 2), "float16")}


class Maker:
    """Fills the arrays, and counts how often it had to."""

    def __init__(self, fails=False):
        self.times, self.fails = 0, fails

    def __call__(self, arrays):
        self.times += 1
        arrays["squares"][:] = np.arange(5) ** 2
        if self.fails:
            raise KeyboardInterrupt
        arrays["halves"][:] = 0.5


def kept(make=None, place="disk", said=None, **about):
    said = [] if said is None else said
    return kept_arrays("tables", {"data": "a", **about}, SPECS, make or Maker(), place, said.append)


def only_folder(own_cache):
    (folder,) = (own_cache / "harmonic-tf").iterdir()
    return folder


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_arrays_are_what_was_filled_in_and_their_bytes_are_said_before(place, own_cache):
    said = []
    arrays = kept(place=place, said=said)
    assert arrays["squares"].tolist() == [0, 1, 4, 9, 16]
    assert arrays["halves"].tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert arrays["halves"].dtype == np.float16
    where = "memory" if place == "memory" else str(only_folder(own_cache))
    assert said == [f"tables: 28 bytes in {where}"]


def test_what_is_on_disk_is_made_once_for_each_description(own_cache):
    make, said = Maker(), []
    kept(make)
    np.testing.assert_array_equal(kept(make, said=said)["squares"], [0, 1, 4, 9, 16])
    assert make.times == 1 and said == [f"tables: kept in {only_folder(own_cache)}"]
    kept(make, size=3)
    assert make.times == 2
    kept(make, place="memory")
    assert make.times == 3


def test_what_is_on_disk_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        kept()["squares"][0] = 1


def test_half_written_arrays_are_never_used(own_cache):
    with pytest.raises(KeyboardInterrupt):
        kept(Maker(fails=True))
    assert not list(own_cache.iterdir())
    # As a process leaves it that is killed before the end.
    kept()
    folder = only_folder(own_cache)
    left = folder.with_name(f"{folder.name}.making") / "1"
    left.parent.mkdir()
    folder.rename(left)
    np.save(left / "squares.npy", np.zeros(5, "int32"))
    make = Maker()
    assert kept(make)["squares"].tolist() == [0, 1, 4, 9, 16]
    assert make.times == 1 and folder.is_dir() and not list(left.parent.iterdir())


def test_what_is_removed_while_it_is_made_is_never_used(own_cache):
    """Nor does a run take for its own what another is making in the same place since."""

    def removed(arrays):
        Maker()(arrays)
        (making,) = (own_cache / "harmonic-tf").iterdir()
        shutil.rmtree(own_cache / "harmonic-tf")
        (making / "1").mkdir(parents=True)
        np.save(making / "1" / "squares.npy", np.zeros(5, "int32"))

    with pytest.raises(UserError, match="squares.npy"):
        kept(removed)
    assert kept()["squares"].tolist() == [0, 1, 4, 9, 16]


def cut(folder):
    content = (folder / "halves.npy").read_bytes()
    (folder / "halves.npy").write_bytes(content[:-1])


def of_other_data(folder):
    about = json.loads((folder / cache.ABOUT_FILE).read_text())
    (folder / cache.ABOUT_FILE).write_text(json.dumps({**about, "data": "b"}))


def of_another_shape(folder):
    np.save(folder / "squares.npy", np.zeros(6, "int32"))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (cut, ""),
        (of_other_data, "made with another data"),
        (of_another_shape, r"squares is int32 \(6,\), not int32 \(5,\)"),
        (lambda folder: (folder / "halves.npy").unlink(), "halves.npy"),
        (lambda folder: (folder / cache.ABOUT_FILE).write_text("{"), ""),
        (lambda folder: (folder / cache.ABOUT_FILE).unlink(), "about.json"),
        (lambda folder: (folder / cache.ABOUT_FILE).write_text("[]"), ""),
    ],
)
def test_what_does_not_fit_is_refused_and_left(harm, reason, own_cache):
    kept()
    folder = only_folder(own_cache)
    harm(folder)
    there = sorted(folder.iterdir())
    with pytest.raises(UserError, match=f"{folder} cannot be used: .*{reason}.* Remove that"):
        kept()
    assert sorted(folder.iterdir()) == there


def test_too_little_room_is_said_before_anything_is_written(monkeypatch, own_cache):
    usage = shutil.disk_usage(own_cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=27))
    with pytest.raises(UserError, match="28 bytes are needed and 27 bytes are free"):
        kept()
    assert not list(own_cache.iterdir())


def test_more_than_the_memory_is_refused_before_it_is_asked_for(monkeypatch):
    said = []
    monkeypatch.setattr(cache, "_memory", lambda: 27)
    with pytest.raises(UserError, match="tables: 28 bytes are needed .* 27 bytes of memory; keep"):
        kept(place="memory", said=said)
    assert said == []
    monkeypatch.setattr(cache, "_memory", lambda: 28)
    assert kept(place="memory")["squares"].tolist() == [0, 1, 4, 9, 16]


def test_two_runs_at_once_make_them_once():
    begun, may_end, other, said = threading.Event(), threading.Event(), Maker(), []

    def slowly(arrays):
        begun.set()
        may_end.wait()
        Maker()(arrays)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(kept, slowly)
        begun.wait()
        second = pool.submit(kept, other, said=said)
        while not said:
            time.sleep(0.01)
        may_end.set()
        for arrays in (first.result(), second.result()):
            assert arrays["squares"].tolist() == [0, 1, 4, 9, 16]
    assert other.times == 0
    assert "tables: another run is making them in" in said[0] and "kept in" in said[1]
    assert len(said) == 2
