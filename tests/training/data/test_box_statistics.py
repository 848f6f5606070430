import numpy as np
from folders import write_coco, write_voc

from harmonic_tf.training.data import load_data
from harmonic_tf.training.data.box_statistics import (
    aspect_ratios,
    centres,
    input_sizes,
    share_by_place,
)


def two_boxes(tmp_path):
    """In 80 x 60 px: 40 x 15 px at the upper left, 8 x 6 px at the lower right."""
    objects = [("dog", (1, 1, 40, 15)), ("cat", (73, 55, 80, 60))]
    return load_data(f"voc:{write_voc(tmp_path, {'a': (objects, None)}, {'train': ['a']})}")


def test_numbers_by_hand(tmp_path):
    data = two_boxes(tmp_path)
    # Scaled by 2 and 4: 80 x 60 and 16 x 24 px.
    np.testing.assert_allclose(input_sizes(data, (240, 160)), [np.sqrt(4800), np.sqrt(384)])
    np.testing.assert_allclose(centres(data), [[0.25, 0.125], [0.95, 0.95]])
    np.testing.assert_allclose(aspect_ratios(data), [40 / 15, 8 / 6])
    np.testing.assert_array_equal(share_by_place(data), [[0.5, 0, 0], [0, 0, 0], [0, 0, 0.5]])


def test_nothing_to_count(tmp_path):
    root = write_coco(
        tmp_path,
        [{"id": 1, "file_name": "a.jpg"}],
        [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "iscrowd": 1}],
        [{"id": 1, "name": "dog"}],
    )
    data = load_data(f"coco:{root}")
    assert input_sizes(data, (300, 300)).shape == aspect_ratios(data).shape == (0,)
    assert centres(data).shape == (0, 2) and not share_by_place(data).any()
