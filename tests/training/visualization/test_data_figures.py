import dataclasses

import numpy as np
from PIL import Image

from harmonic_tf.training.data import load_data
from harmonic_tf.training.data.dataset import Objects
from harmonic_tf.training.visualization.data_figures import (
    box_shapes,
    class_counts,
    save_data_figures,
)


def test_bars_are_the_counts_and_the_most_frequent_come_first():
    data = load_data("shapes:train=20")
    (axes,) = class_counts(data).axes
    classes = np.concatenate([r.objects.classes for r in data.records])
    expected = sorted(np.bincount(classes).tolist(), reverse=True)
    objects, images = (bars.datavalues.tolist() for bars in axes.containers)
    assert objects == expected and max(images) <= 20
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == data.class_names[np.bincount(classes).argmax()]


def test_every_object_is_drawn_once():
    data = load_data("shapes:train=20")
    total = sum(len(r.objects) for r in data.records)
    sizes, shapes, places = box_shapes(data).axes
    assert sum(patch.get_height() for patch in shapes.patches) == total
    assert places.images[0].get_array().sum() == total


def test_figures_of_any_data(tmp_path):
    data = load_data("shapes:train=2")
    empty = [dataclasses.replace(r, objects=Objects.of([])) for r in data.records]
    for number, change in enumerate(
        (
            {"class_names": ("$\\a$", "狗", "[/x]")},
            {"records": tuple(empty)},
            {"records": (), "class_names": ()},
        )
    ):
        files = save_data_figures(dataclasses.replace(data, **change), tmp_path / str(number))
        assert [file.name for file in files] == ["classes.png", "boxes.png"]
        for file in files:
            with Image.open(file) as image:
                assert min(image.size) > 100
