import dataclasses
import shutil

import pytest
from folders import write_voc

from harmonic_tf.training.build import load_both
from harmonic_tf.training.data import load_data
from harmonic_tf.training.data.splits import check_trainable, empty_classes, overlap
from harmonic_tf.training.recipe import Recipe

OBJECTS = ([("dog", (1, 1, 30, 30)), ("cat", (5, 5, 40, 40))], None)


def voc(tmp_path, **splits):
    names = [name for part in splits.values() for name in part]
    return write_voc(tmp_path / "pets", dict.fromkeys(names, OBJECTS), splits)


def test_a_folder_without_a_test_list_trains_on_train_and_evaluates_on_val(tmp_path, caplog):
    root = voc(tmp_path, train=["a", "b"], val=["c"], trainval=["a", "b", "c"])
    train, val = load_both(Recipe(data=f"voc:{root}"))
    assert (train.split, val.split) == ("train", "val")
    assert not overlap(train, val) and not caplog.records
    (root / "ImageSets/Main/test.txt").write_text("c\n")
    assert load_data(f"voc:{root}").split == "trainval"
    assert load_data(f"voc:{root}", role="eval").split == "test"


def test_splits_that_overlap_are_said_by_file_and_by_content(tmp_path, caplog):
    root = voc(tmp_path, train=["a", "b"], val=["b", "c", "d"])
    shutil.copy(root / "JPEGImages/a.jpg", root / "JPEGImages/c.jpg")
    train, val = load_both(Recipe(data=f"voc:{root}"))
    assert overlap(train, val) == (1, 1, 3)
    (said,) = caplog.records
    assert "2 of 3 images are in both splits: 1 by file, 1 more by content" in said.getMessage()
    caplog.clear()
    load_both(Recipe(data=f"voc:{root}", eval_split="train"))
    assert "2 of 2 images" in caplog.text


def test_a_split_without_objects_is_refused_and_the_spelling_named(tmp_path):
    root = voc(tmp_path, train=["a"], val=["b"])
    with pytest.raises(ValueError) as error:
        load_both(Recipe(data=f"voc:{root}", class_names=("Dog", "bird")))
    assert "no object to train on" in str(error.value)
    assert "'Dog' (did you mean 'dog'?), 'bird'" in str(error.value)
    assert "its objects are of the classes 'dog', 'cat'" in str(error.value)


def test_a_class_that_leaves_nothing_is_said(tmp_path, caplog):
    root = voc(tmp_path, train=["a"], val=["b"])
    load_both(Recipe(data=f"voc:{root}", class_names=("cat", "dgo")))
    assert "no object to train on of the classes 'dgo' (did you mean 'dog'?)" in caplog.text


def test_crowds_are_nothing_to_train_on():
    data = load_data("shapes:train=3")
    assert empty_classes(data) == []
    crowds = tuple(
        dataclasses.replace(r, objects=dataclasses.replace(r.objects, crowd=r.objects.classes >= 0))
        for r in data.records
    )
    with pytest.raises(ValueError, match="no object to train on"):
        check_trainable(dataclasses.replace(data, records=crowds))


def test_data_without_classes_has_nothing_to_train_on():
    data = dataclasses.replace(load_data("shapes:train=1"), class_names=())
    with pytest.raises(ValueError, match=r"has no object to train on\.$"):
        check_trainable(data)
