import numpy as np
import pytest
from folders import write_coco

from harmonic_tf.training.data import BadDataError, load_data

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}]
IMAGES = [
    {"id": 900, "file_name": "x.jpg", "height": 60, "width": 80},
    {"id": 7, "file_name": "y.jpg"},
]
POLYGON = [[1.0, 1.0, 9.0, 1.0, 9.0, 9.0]]
RLE = {"size": [60, 80], "counts": [0, 60, 4740]}


def annotation(number, image=900, category=18, bbox=(1, 2, 10, 20), **more):
    entry = {"id": number, "image_id": image, "category_id": category, "bbox": list(bbox)}
    return {**entry, "iscrowd": 0, **more}


ANNOTATIONS = [
    annotation(1, area=120.5, segmentation=POLYGON),
    annotation(2, category=3, bbox=(0, 0, 80, 60), iscrowd=1, segmentation=RLE),
]


def test_ids_crowd_area_and_masks_are_kept(tmp_path):
    data = load_data(f"coco:{write_coco(tmp_path, IMAGES, ANNOTATIONS, CATEGORIES)}")
    assert (data.class_names, data.category_ids) == (("car", "dog"), (3, 18))
    assert [record.image_id for record in data.records] == [900, 7]
    assert data.image_name(7) == "y.jpg"
    objects = data.records[0].objects
    np.testing.assert_array_equal(objects.boxes, [[1, 2, 11, 22], [0, 0, 80, 60]])
    np.testing.assert_array_equal(objects.classes, [1, 0])
    np.testing.assert_array_equal(objects.crowd, [False, True])
    np.testing.assert_array_equal(objects.area, [120.5, 4800])
    assert objects.segmentations == (POLYGON, RLE)
    assert len(data.records[1].objects) == 0
    assert data.problems == ()


def test_an_empty_segmentation_is_no_mask(tmp_path):
    annotations = [annotation(1), annotation(2, segmentation=[]), annotation(3, segmentation=None)]
    data = load_data(f"coco:{write_coco(tmp_path, IMAGES, annotations, CATEGORIES)}")
    assert data.records[0].objects.segmentations == (None, None, None)
    assert data.problems == ()


def test_given_class_names_set_the_order(tmp_path):
    root = write_coco(tmp_path, IMAGES, ANNOTATIONS, CATEGORIES)
    data = load_data(f"coco:{root}", class_names=("dog", "cat", "car"))
    assert data.category_ids == (18, 19, 3)  # "cat" is not in the file: an id that is free
    np.testing.assert_array_equal(data.records[0].objects.classes, [0, 2])


def test_splits(tmp_path):
    for split in ("train2017", "val2017", "val2014"):
        write_coco(tmp_path, IMAGES, ANNOTATIONS, CATEGORIES, split)
    assert load_data(f"coco:{tmp_path}").split == "train2017"
    assert load_data(f"coco:{tmp_path}", role="eval", split="val2014").split == "val2014"
    with pytest.raises(ValueError, match="received 2; name one of the splits there: train2017"):
        load_data(f"coco:{tmp_path}", role="eval")


def test_images_may_lie_in_images(tmp_path):
    root = write_coco(tmp_path, IMAGES, ANNOTATIONS, CATEGORIES)
    (root / "images").mkdir()
    (root / "train2017").rename(root / "images/train2017")
    assert load_data(f"coco:{root}", on_bad_data="error").image_names == ("x.jpg", "y.jpg")


@pytest.mark.parametrize(
    "entry, where, kind",
    [
        (annotation(5, bbox=(1, 1, 0, 5)), "annotation 5 of x.jpg", "box of zero area"),
        (annotation(5, bbox=(9, 1, -4, 5)), "annotation 5 of x.jpg", "inverted box"),
        (annotation(5, bbox=(90, 1, 4, 5)), "annotation 5 of x.jpg", "box outside the image"),
        (annotation(5, bbox=(9, 1)), "annotation 5 of x.jpg", "malformed bbox"),
        (annotation(5, category=4), "annotation 5 of x.jpg", "unknown class"),
        (
            annotation(5, segmentation=[[1, 2, 3, 4]]),
            "annotation 5 of x.jpg",
            "malformed segmentation",
        ),
        (
            annotation(5, segmentation={"size": [80, 60], "counts": [4800]}),
            "annotation 5 of x.jpg",
            "malformed segmentation",
        ),
        (annotation(5, image=4), "annotation 5", "unknown image"),
        (annotation(1), None, "id listed twice"),
    ],
)
def test_bad_annotations_are_left_out_and_named(tmp_path, entry, where, kind):
    root = write_coco(tmp_path, IMAGES, [*ANNOTATIONS, entry], CATEGORIES)
    data = load_data(f"coco:{root}")
    assert [(p.object, p.kind) for p in data.problems] == [(where, kind)]
    assert len(data.records[0].objects) == 2


def test_bad_images_are_left_out_and_named(tmp_path):
    images = [
        *IMAGES,
        {"id": 7, "file_name": "z.jpg"},
        {"id": 8, "file_name": "w.jpg", "height": 80, "width": 60},
    ]
    root = write_coco(tmp_path, images, ANNOTATIONS, CATEGORIES)
    (root / "train2017/y.jpg").unlink()
    data = load_data(f"coco:{root}")
    assert data.image_names == ("x.jpg",)
    assert {p.kind for p in data.problems} == {
        "id listed twice",
        "missing image file",
        "size in the annotations is not the image's",
    }
    with pytest.raises(BadDataError, match="3 problem"):
        load_data(f"coco:{root}", on_bad_data="error")


@pytest.mark.parametrize(
    "text, reason",
    [
        ('{"images": [', "malformed JSON"),
        ('{"images": [], "annotations": []}', "no key 'categories'"),
        (
            '{"categories": [], "annotations": [], "images": [{"id": 1}]}',
            "entry 1 of 'images' has no 'file_name'",
        ),
    ],
)
def test_unreadable_json_is_always_an_error(tmp_path, text, reason):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_train.json").write_text(text)
    with pytest.raises(BadDataError, match=reason):
        load_data(f"coco:{tmp_path}")
