import subprocess
import sys

import numpy as np
import pytest
from folders import write_coco

from harmonic_tf.training.data import Problem, absolute_spec, load_data, problem_report
from harmonic_tf.training.data.dataset import Annotation, Objects
from harmonic_tf.training.data.load import require_outside


@pytest.mark.parametrize("spec", ["voc", "voc:", "imagenet:x", ""])
def test_unknown_sources(spec):
    with pytest.raises(ValueError, match="received"):
        load_data(spec)


def test_unknown_role_and_policy():
    with pytest.raises(ValueError, match="role must be one of"):
        load_data("shapes", role="test")
    with pytest.raises(ValueError, match="on_bad_data must be one of"):
        load_data("shapes", on_bad_data="ignore")


@pytest.mark.parametrize("label, asked", [("\ud83d", None), ("dog", ("dog", "dog"))])
def test_classes_that_are_no_text_or_asked_for_twice_are_refused(tmp_path, label, asked):
    root = write_coco(tmp_path, [{"id": 1, "file_name": "x.jpg"}], [], [{"id": 1, "name": label}])
    with pytest.raises(
        ValueError, match=r"'dog' is named twice" if asked else r"'\\ud83d' is no t"
    ):
        load_data(f"coco:{root}", class_names=asked)


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


def test_a_source_of_a_folder_means_the_same_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert absolute_spec("voc:cells") == f"voc:{tmp_path}/cells"
    expected = f"coco:{tmp_path}/user/cells,images=anywhere"
    assert absolute_spec("coco:~/cells,images=anywhere") == expected
    for spec in ("shapes:train=20", "tfds:voc/2007", "voc:/cells"):
        assert absolute_spec(spec) == spec


@pytest.mark.parametrize(
    ("spec", "output", "is_inside"),
    [
        (".", ".", True),
        ("voc:cells", "cells/figures", True),
        ("csv:cells/train.csv", "cells", True),
        ("csv:cells/train.csv", "cells/figures", False),
        ("tfrecord:cells/*.record", "cells", True),
        ("coco:a.json,images=cells", "cells/x", True),
        ("coco:a.json,images=anywhere", "cells", False),
        ("voc:cells", ".", False),
        ("voc:nowhere", ".", False),
        ("voc:cells", "cells2", False),
        ("shapes:train=4", ".", False),
    ],
)
def test_nothing_is_written_into_a_source(tmp_path, monkeypatch, spec, output, is_inside):
    monkeypatch.chdir(tmp_path)
    for folder in ("cells", "annotations"):
        (tmp_path / folder).mkdir()
    for file in ("annotations/instances_train.json", "cells/train.csv"):
        (tmp_path / file).write_text("")
    if not is_inside:
        require_outside(spec, output)
        return
    with pytest.raises(ValueError, match="lies in the source, .* another folder by --output"):
        require_outside(spec, output)
