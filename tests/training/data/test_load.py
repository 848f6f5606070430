import subprocess
import sys

import numpy as np
import pytest
from folders import picture

from harmonic_tf.training.data import Problem, load_data, problem_report
from harmonic_tf.training.data.dataset import Annotation, Objects
from harmonic_tf.training.data.validation import Unusable, read_header


@pytest.mark.parametrize("spec", ["voc", "voc:", "imagenet:x", ""])
def test_unknown_sources(spec):
    with pytest.raises(ValueError, match="received"):
        load_data(spec)


def test_unknown_role_and_policy():
    with pytest.raises(ValueError, match="role must be one of"):
        load_data("shapes", role="test")
    with pytest.raises(ValueError, match="on_bad_data must be one of"):
        load_data("shapes", on_bad_data="ignore")


def test_loading_needs_no_tensorflow():
    code = (
        "import sys, harmonic_tf.training.data as d; d.load_data('shapes:train=1'); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_objects_make_arrays_of_their_shape():
    objects = Objects.of([])
    assert objects.boxes.shape == (0, 4) and objects.classes.shape == (0,)
    assert objects.boxes.dtype == np.float32 and objects.crowd.dtype == bool


def test_area_is_the_annotated_one_or_that_of_the_box():
    annotations = [Annotation((0, 0, 4, 5), 0), Annotation((0, 0, 4, 5), 0, area=0.0)]
    np.testing.assert_array_equal(Objects.of(annotations).area, [20, 0])


def jpeg(tmp_path, **options):
    file = tmp_path / "a.jpg"
    picture(50, 70).save(file, **options)
    return file


@pytest.mark.parametrize("progressive", [False, True])
def test_header_of_whole_images(tmp_path, progressive):
    assert read_header(jpeg(tmp_path, progressive=progressive)) == (50, 70, True)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path):
    assert read_header(jpeg(tmp_path).read_bytes() + bytes(500)) == (50, 70, True)


def test_a_thumbnail_does_not_hide_that_a_jpeg_is_cut(tmp_path):
    thumbnail = jpeg(tmp_path).read_bytes()
    exif = b"Exif\x00\x00" + thumbnail
    content = jpeg(tmp_path, exif=exif).read_bytes()
    assert content.count(b"\xff\xd9") == 2
    assert read_header(content) == (50, 70, True)
    with pytest.raises(Unusable, match="truncated"):
        read_header(content[:-20])


def test_truncated_png(tmp_path):
    file = tmp_path / "a.png"
    picture(50, 70).save(file)
    assert read_header(file) == (50, 70, False)
    with pytest.raises(Unusable, match="truncated"):
        read_header(file.read_bytes()[:-20])


def test_formats_that_tensorflow_does_not_decode(tmp_path):
    picture().save(tmp_path / "a.tiff")
    with pytest.raises(Unusable, match="TIFF"):
        read_header(tmp_path / "a.tiff")


def test_report_groups_counts_and_limits():
    problems = [
        Problem("a.xml", "object 1 (dog)", "inverted box: (2, 1, 1, 2)"),
        Problem("b.jpg", None, "missing image file"),
        Problem("c.jpg", None, "missing image file"),
    ]
    assert problem_report(problems, limit=2) == (
        "missing image file (2)\n"
        "  b.jpg: missing image file\n"
        "  c.jpg: missing image file\n"
        "inverted box (1)\n"
        "  ... and 1 more"
    )
    assert problem_report([]) == ""
