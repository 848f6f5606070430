import json

import layouts
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


def test_files_called_like_splits_are_read_where_there_are_no_instances(tmp_path):
    write_coco(tmp_path, IMAGES, [], CATEGORIES, "train")
    files = tmp_path / "annotations"
    (files / "instances_train.json").rename(files / "train.json")
    (files / "labels.json").write_text("{}")
    data = load_data(str(tmp_path), split="train")
    assert (data.split, data.splits, len(data)) == ("train", ("train",), 2)
    write_coco(tmp_path, IMAGES, [], CATEGORIES, "val")
    assert load_data(str(tmp_path), "eval").splits == ("val",)


def test_a_folder_with_one_json_of_another_kind_is_none(tmp_path):
    (tmp_path / "notes.json").write_text('{"categories": [{"id": 0, "name": "images"}]}')
    with pytest.raises(ValueError, match="looks like none of them"):
        load_data(str(tmp_path))
    (tmp_path / "notes.json").write_text('[{"image": "a.jpg", "annotations": []}]')
    with pytest.raises(ValueError, match="looks like none of them"):
        load_data(str(tmp_path))
    (tmp_path / "notes.json").write_text('{"images": [], "annotations": ')
    with pytest.raises(ValueError, match="malformed JSON"):
        load_data(str(tmp_path))


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
        (annotation(5, bbox=(9, 1, 1e-9, 5)), "annotation 5 of x.jpg", "box of zero area"),
        (annotation(5, bbox=(9, 1, 10**400, 5)), "annotation 5 of x.jpg", "malformed bbox"),
        (annotation(5, bbox=(9, 1, "TOO LONG", 5)), "annotation 5 of x.jpg", "box is not finite"),
        (annotation(5, category=4), "annotation 5 of x.jpg", "unknown class"),
        (annotation(5, iscrowd="perhaps"), "annotation 5 of x.jpg", "malformed iscrowd"),
        (annotation(5, image=4), "annotation 5", "unknown image"),
        (annotation(5, image=[900]), "annotation 5", "malformed id"),
        ({"id": 5, "image_id": 900, "category_id": 3}, "annotation 5 of x.jpg", "malformed bbox"),
        ({"bbox": [1, 1, 9, 9]}, "annotation number 3", "malformed JSON"),
        (7, "annotation number 3", "malformed JSON"),
    ],
)
def test_bad_annotations_are_left_out_and_named(tmp_path, entry, where, kind):
    root = write_coco(tmp_path, IMAGES, [*ANNOTATIONS, entry], CATEGORIES)
    file = root / "annotations/instances_train2017.json"
    file.write_text(file.read_text().replace('"TOO LONG"', 5000 * "9"))
    data = load_data(f"coco:{root}")
    assert [(p.object, p.kind) for p in data.problems] == [(where, kind)]
    assert len(data.records[0].objects) == 2


@pytest.mark.parametrize("name", ["nul\0.jpg", "\udcff.jpg", 300 * "n" + ".jpg"])
def test_names_that_no_file_can_have_are_missing_files(tmp_path, name):
    root = write_coco(tmp_path, IMAGES, ANNOTATIONS, CATEGORIES)
    file = root / "annotations/instances_train2017.json"
    content = json.loads(file.read_text())
    content["images"].append({"id": 8, "file_name": name})
    file.write_text(json.dumps(content))
    data = load_data(f"coco:{root}")
    assert [p.kind for p in data.problems] == ["missing image file"] and len(data) == 2


def test_areas_that_are_none_are_those_of_the_boxes(tmp_path):
    areas = (1e39, -1, "none", 7)
    annotations = [annotation(i, bbox=(1, 1, 4, 5), area=area) for i, area in enumerate(areas)]
    data = load_data(f"coco:{write_coco(tmp_path, IMAGES, annotations, CATEGORIES)}")
    assert data.records[0].objects.area.tolist() == [20, 20, 20, 7]


def test_bad_images_are_left_out_and_named(tmp_path):
    images = [
        *IMAGES,
        {"id": 7, "file_name": "z.jpg"},
        {"id": 8, "file_name": "w.jpg", "height": 80, "width": 60},
        {"id": 9, "file_name": "v.jpg"},
    ]
    root = write_coco(tmp_path, images, ANNOTATIONS, CATEGORIES)
    (root / "train2017/v.jpg").unlink()
    data = load_data(f"coco:{root}")
    assert data.image_names == ("x.jpg",)
    assert {p.kind for p in data.problems} == {
        "id listed twice",
        "ambiguous image",
        "missing image file",
        "size in the annotations is not the image's",
    }
    with pytest.raises(BadDataError, match="4 problem"):
        load_data(f"coco:{root}", on_bad_data="error")


@pytest.mark.parametrize(
    "text, reason",
    [
        ('{"images": [', "malformed JSON"),
        ('{"images": [], "annotations": []}', "no list 'categories'"),
        (
            '{"categories": [], "annotations": [], "images": [{"id": 1}]}',
            "entry 1 of 'images' has no 'file_name'",
        ),
        ("[]", "expected an object, received a list"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_unreadable_json_is_always_an_error(tmp_path, text, reason):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_train.json").write_text(text)
    with pytest.raises(BadDataError, match=reason):
        load_data(f"coco:{tmp_path}")


def objects_of(root, **more):
    return [record.objects for record in load_data(f"coco:{root}", **more).records]


@pytest.mark.parametrize(
    "segmentation, kept",
    [
        ([[]], None),
        ([1, 1, 9, 1, 9, 9], [[1, 1, 9, 1, 9, 9]]),
        ([[], [1, 1, 9, 1, 9, 9]], [[1, 1, 9, 1, 9, 9]]),
    ],
)
def test_a_mask_written_in_another_way_is_read(tmp_path, segmentation, kept):
    root = write_coco(tmp_path, IMAGES, [annotation(1, segmentation=segmentation)], CATEGORIES)
    data = load_data(f"coco:{root}", on_bad_data="error")
    assert data.records[0].objects.segmentations == (kept,)


@pytest.mark.parametrize(
    "segmentation",
    [[[1, 2, 3, 4]], [POLYGON[0], [1, 2]], {"size": [80, 60], "counts": [4800]}, "mask", 7],
)
def test_a_broken_mask_is_named_and_its_box_kept(tmp_path, segmentation):
    root = write_coco(tmp_path, IMAGES, [annotation(5, segmentation=segmentation)], CATEGORIES)
    data = load_data(f"coco:{root}")
    np.testing.assert_array_equal(data.records[0].objects.boxes, [[1, 2, 11, 22]])
    assert data.records[0].objects.segmentations == (None,)
    (problem,) = data.problems
    assert (problem.object, problem.kind) == ("annotation 5 of x.jpg", "malformed segmentation")


def test_ids_of_annotations_are_needed_for_nothing(tmp_path):
    same = [annotation(0), annotation(0, bbox=(5, 5, 9, 9)), annotation(0, image=7)]
    root = write_coco(tmp_path, IMAGES, same, CATEGORIES)
    data = load_data(f"coco:{root}", on_bad_data="error")
    assert [len(record.objects) for record in data.records] == [2, 1]


@pytest.mark.parametrize("form", [str, float, "img{}".format])
def test_ids_of_any_form_find_their_images_and_categories(tmp_path, form):
    images = [{**image, "id": form(image["id"])} for image in IMAGES]
    categories = [{**c, "id": form(c["id"])} for c in CATEGORIES]
    annotations = [
        annotation(1, image=form(7), category=form(18)),
        annotation(2, form(900), form(3)),
    ]
    annotations[1].update(image_id=form(900), category_id=form(3))
    root = write_coco(tmp_path, images, annotations, categories)
    data = load_data(f"coco:{root}", on_bad_data="error", class_names=("car", "cat", "dog"))
    numbers = {record.name: record.image_id for record in data.records}
    assert all(type(number) is int for number in (*numbers.values(), *data.category_ids))
    assert len(set(data.category_ids)) == 3
    if form is str or form is float:
        assert numbers == {"x.jpg": 900, "y.jpg": 7}
        assert data.category_ids == (3, 19, 18)
    assert [record.objects.classes.tolist() for record in data.records] == [[0], [2]]


def test_numbers_for_ids_of_text_lie_above_the_others(tmp_path):
    images = [
        {**IMAGES[0], "id": "first"},
        {**IMAGES[1], "id": 12},
        {"id": "007", "file_name": "z.jpg"},
    ]
    root = write_coco(tmp_path, images, [], CATEGORIES)
    assert [r.image_id for r in load_data(f"coco:{root}").records] == [13, 12, 14]


@pytest.mark.parametrize("value, crowd", [("0.0", False), (0.0, False), (None, False), ("1", True)])
def test_iscrowd_in_any_form(tmp_path, value, crowd):
    root = write_coco(tmp_path, IMAGES, [annotation(1, iscrowd=value)], CATEGORIES)
    assert objects_of(root, on_bad_data="error")[0].crowd.tolist() == [crowd]


@pytest.mark.parametrize(
    "value, area", [("50", 50), ("big", 200), (-1, 200), (None, 200), ([], 200)]
)
def test_an_area_that_is_none_is_that_of_the_box(tmp_path, value, area):
    root = write_coco(tmp_path, IMAGES, [annotation(1, area=value)], CATEGORIES)
    assert objects_of(root, on_bad_data="error")[0].area.tolist() == [area]


def test_sizes_and_boxes_written_as_text(tmp_path):
    images = [{**IMAGES[0], "height": "60", "width": "80.0"}, {**IMAGES[1], "height": "unknown"}]
    annotations = [annotation(1, bbox=("1", "2", "10.0", "20"))]
    root = write_coco(tmp_path, images, annotations, CATEGORIES)
    np.testing.assert_array_equal(objects_of(root, on_bad_data="error")[0].boxes, [[1, 2, 11, 22]])


def test_a_file_name_that_is_a_number_and_one_of_windows(tmp_path):
    images = [{"id": 1, "file_name": "12.jpg"}, {"id": 2, "file_name": "a.jpg"}]
    root = write_coco(tmp_path, images, [], CATEGORIES)
    (root / "train2017/12.jpg").rename(root / "train2017/12")
    (root / "train2017/sub").mkdir()
    (root / "train2017/a.jpg").rename(root / "train2017/sub/a.jpg")
    images[0]["file_name"], images[1]["file_name"] = 12, "sub\\a.jpg"
    content = {"images": images, "annotations": [], "categories": CATEGORIES}
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))
    assert len(load_data(f"coco:{root}", on_bad_data="error")) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_json_in_the_encodings_that_tools_write(tmp_path, encoding):
    root = write_coco(tmp_path, IMAGES, ANNOTATIONS, [{"id": 18, "name": "café"}, CATEGORIES[1]])
    file = root / "annotations/instances_train2017.json"
    content = json.loads(file.read_text())
    file.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    assert load_data(f"coco:{root}", on_bad_data="error").class_names == ("car", "café")


def test_broken_entries_are_named_and_leave_the_others(tmp_path):
    root = write_coco(tmp_path, IMAGES, ANNOTATIONS, CATEGORIES)
    file = root / "annotations/instances_train2017.json"
    content = json.loads(file.read_text())
    content["images"] += [{"id": 1}, {"id": {}, "file_name": "z.jpg"}, None]
    content["categories"] += [{"id": 4}, {"name": "cat"}]
    file.write_text(json.dumps(content))
    data = load_data(f"coco:{root}")
    assert len(data) == 2 and len(data.records[0].objects) == 2
    assert data.problem_counts() == {"malformed JSON": 4, "malformed id": 1}


def test_categories_of_the_same_name_are_one_class(tmp_path):
    categories = [*CATEGORIES, {"id": 40, "name": "dog"}]
    annotations = [annotation(1), annotation(2, category=40)]
    root = write_coco(tmp_path, IMAGES, annotations, categories)
    data = load_data(f"coco:{root}", on_bad_data="error")
    assert data.records[0].objects.classes.tolist() == [1, 1]


def test_file_names_that_lead_out_of_the_folder_are_refused_unless_asked_for(tmp_path):
    images = [*IMAGES, {"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]
    root = write_coco(tmp_path / "coco", images, [], CATEGORIES)
    elsewhere = tmp_path / "a.jpg"
    (root / "train2017/a.jpg").rename(elsewhere)
    images[2]["file_name"], images[3]["file_name"] = str(elsewhere), "../../a.jpg"
    content = {"images": images, "annotations": [], "categories": CATEGORIES}
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))
    data = load_data(f"coco:{root}")
    assert data.image_names == ("x.jpg", "y.jpg")
    assert [p.kind for p in data.problems] == ["file name leads out of the folder"] * 2
    assert len(load_data(f"coco:{root},images=anywhere", on_bad_data="error")) == 4


def test_left_out_classes_are_told_by_name(tmp_path):
    data = load_data(
        f"coco:{write_coco(tmp_path, IMAGES, ANNOTATIONS, CATEGORIES)}", class_names=("Dog",)
    )
    assert data.other_classes == ("dog", "car")
    assert data.problems[0].reason == "unknown class: 'dog'"


def test_left_out_classes_are_told_the_most_frequent_first(tmp_path):
    categories = [{"id": i, "name": name} for i, name in enumerate(("dog", "cat", "car"))]
    annotations = [
        {"image_id": 7, "category_id": category, "bbox": [1, 1, 4, 4]} for category in (0, 1, 1, 2)
    ]
    data = load_data(
        f"coco:{write_coco(tmp_path, IMAGES, annotations, categories)}", class_names=("car",)
    )
    assert data.other_classes == ("cat", "dog")


def test_a_category_id_listed_twice_is_named(tmp_path):
    categories = [{"id": 1, "name": "dog"}, {"id": 1, "name": "cat"}]
    categories.append({"id": 2, "name": "cow"})
    annotations = [{"image_id": 7, "category_id": i, "bbox": [1, 1, 4, 4]} for i in (1, 2)]
    data = load_data(f"coco:{write_coco(tmp_path, IMAGES, annotations, categories)}")
    assert [p.reason for p in data.problems] == [
        "id listed twice: 1, entries 1 and 2",
        "ambiguous class: several names are listed with category id 1",
    ]
    assert (data.class_names, data.category_ids) == (("dog", "cow"), (1, 2))
    objects = {record.image_id: record.objects for record in data.records}
    assert objects[7].classes.tolist() == [1]


@pytest.mark.parametrize("second, used", [("z.jpg", []), ("y.jpg", ["y.jpg"])])
def test_annotations_of_an_image_id_of_two_files_are_left_out(tmp_path, second, used):
    images = [*IMAGES, {"id": 7, "file_name": second}]
    annotations = [*ANNOTATIONS, annotation(3, image=7)]
    data = load_data(f"coco:{write_coco(tmp_path, images, annotations, CATEGORIES)}")
    assert list(data.image_names) == ["x.jpg", *used]
    assert sum(len(record.objects) for record in data.records) == 2 + len(used)
    ambiguous = [p.object for p in data.problems if p.kind == "ambiguous image"]
    assert ambiguous == ([] if used else ["annotation 3", "image 7"])


def test_the_heading_of_roboflow_is_a_class_of_all_splits_or_of_none(tmp_path):
    layouts.coco_roboflow(tmp_path)
    layouts.images(tmp_path / "valid")
    content = json.loads((tmp_path / "train/_annotations.coco.json").read_text())
    layouts.write_json(tmp_path / "valid/_annotations.coco.json", content)
    for role in ("train", "eval"):
        data = load_data(f"coco:{tmp_path}", role)
        assert data.class_names == ("cat", "dog")
        assert data.notes == ("category 0, 'pets', stands above the others: it is left out",)
    content["annotations"][0]["category_id"] = 0
    layouts.write_json(tmp_path / "valid/_annotations.coco.json", content)
    for role in ("train", "eval"):
        data = load_data(f"coco:{tmp_path}", role)
        assert data.class_names == ("pets", "cat", "dog") and data.notes == ()
