import os
import sqlite3
import threading

import pytest
from folders import picture

from harmonic_tf.training.data import headers
from harmonic_tf.training.data.headers import cache_file, in_parallel, read_headers
from harmonic_tf.training.data.images import Header
from harmonic_tf.training.data.problems import Unusable


@pytest.fixture
def files(tmp_path):
    files = [tmp_path / f"{index}.jpg" for index in range(3)]
    for index, file in enumerate(files):
        picture(20 + index, 30).save(file)
    return files


@pytest.fixture
def opened(monkeypatch):
    """Names of the files that are looked into."""
    names, read_header = [], headers.read_header

    def read(file):
        names.append(file.name)
        return read_header(file)

    monkeypatch.setattr(headers, "read_header", read)
    return names


def test_headers_come_in_order_and_broken_files_with_their_reason(files):
    files[1].write_bytes(b"no image")
    files.append(files[0].with_name("none.jpg"))
    first, second, third, fourth = read_headers(files)
    assert (first.height, third.height) == (20, 22)
    assert isinstance(second, Unusable) and second.file == files[1]
    assert isinstance(fourth, Unusable) and str(fourth) == "missing image file"


def test_files_are_looked_into_once_and_again_when_they_change(files, opened, own_cache):
    before = read_headers(files)
    assert sorted(opened) == ["0.jpg", "1.jpg", "2.jpg"]
    opened.clear()
    assert read_headers(files) == before and opened == []
    assert all(isinstance(header, Header) for header in before)
    picture(40, 50).save(files[0])
    stamp = os.stat(files[1])
    os.utime(files[1], ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    after = read_headers(files)
    assert sorted(opened) == ["0.jpg", "1.jpg"]
    assert (after[0].height, after[1:]) == (40, before[1:])
    assert cache_file().is_relative_to(own_cache)


def test_a_name_in_no_encoding_is_remembered_too(tmp_path, opened):
    file = tmp_path / os.fsdecode(b"\xff.jpg")
    picture().save(file, "JPEG")
    first, again = read_headers([file]), read_headers([file])
    assert again == first and len(opened) == 1


def test_nothing_is_written_beside_the_images(files):
    read_headers(files)
    assert sorted(files[0].parent.iterdir()) == files


@pytest.mark.parametrize("harm", ["garbage", "no folder", "locked"])
def test_a_cache_that_cannot_be_used_does_no_harm(files, opened, harm, monkeypatch, tmp_path):
    read_headers(files)
    if harm == "garbage":
        cache_file().write_bytes(b"garbage" * 1000)
    elif harm == "no folder":
        monkeypatch.setenv("XDG_CACHE_HOME", str(files[0]))
    else:
        monkeypatch.setattr(headers, "LOCK_SECONDS", 0.01)
        other = sqlite3.connect(cache_file())
        other.execute("begin exclusive")
    opened.clear()
    assert [header.height for header in read_headers(files)] == [20, 21, 22]
    assert len(opened) == 3


def test_the_oldest_headers_are_forgotten(files, opened, monkeypatch):
    monkeypatch.setattr(headers, "MOST_ROWS", 2)
    read_headers(files)
    opened.clear()
    read_headers(files)
    assert opened == ["0.jpg"]


def test_results_keep_their_order_and_errors_come_through():
    assert list(in_parallel(str, range(500))) == [str(i) for i in range(500)]
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(lambda i: 1 // (i - 300), range(500)))


def test_small_images_are_looked_into_by_this_thread_and_large_ones_by_others(files, monkeypatch):
    threads, look = [], headers.try_header

    def watched(file):
        threads.append(threading.current_thread())
        return look(file)

    monkeypatch.setattr(headers, "try_header", watched)
    found = read_headers(files)
    assert threads == 3 * [threading.main_thread()]
    cache_file().unlink()
    monkeypatch.setattr(headers, "SMALL", 1)
    assert read_headers(files) == found
    assert len(threads) == 6 and threading.main_thread() not in threads[3:]
