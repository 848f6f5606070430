import json
from pathlib import Path
from xml.etree import ElementTree

import layouts
import numpy as np
import pytest
from folders import write_coco, write_voc
from layouts import WITH_SPLITS, WITHOUT_SPLITS

from harmonic_tf.training.data import load_data
from harmonic_tf.training.data.convert import WRITERS, convert


def objects_of(data):
    """What all forms can say: image -> boxes and names of classes."""
    return {
        Path(r.name).stem: [
            (data.class_names[index], np.round(box, 4).tolist())
            for index, box in zip(r.objects.classes, r.objects.boxes, strict=True)
        ]
        for r in data.records
    }


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("write", WITH_SPLITS + WITHOUT_SPLITS, ids=lambda write: write.__name__)
def test_every_layout_in_every_form_reads_as_the_same(tmp_path, write, form):
    spec = write(tmp_path / "pets")
    before = {f: f.lstat().st_mtime_ns for f in (tmp_path / "pets").rglob("*")}
    converted = convert(spec, form, tmp_path / "out")
    assert {f: f.lstat().st_mtime_ns for f in (tmp_path / "pets").rglob("*")} == before
    assert converted.lost == [] and converted.problems == []
    unread = {
        layouts.coco_roboflow: form != "coco" and ["train: supercategory of categories (2)"] or [],
        layouts.voc_cvat: ["lists of one class's images (2)"],
    }
    assert converted.unread == unread.get(write, [])
    for split, data in converted.splits.items():
        names = {"train2017": "train"} if form == "yolo" else {}
        if form == "yolo" and len(converted.splits) == 1:
            names = {split: "train"}
        again = load_data(
            f"{form}:{tmp_path}/out", split=names.get(split, split), on_bad_data="error"
        )
        assert objects_of(again) == objects_of(data)
        assert again.class_names == data.class_names
        for first, second in zip(data.records, again.records, strict=True):
            assert second.stored() == first.stored()


FINE = [(3.2500002, 4.7, 50.123456, 40.9), (0.1, 0.2, 79.99, 59.5)]


def fine_coco(root):
    """Boxes between pixels, sparse ids, a crowd, areas, and masks in all forms."""
    images = [{"id": 70, "file_name": "a.jpg"}, {"id": 9, "file_name": "b.jpg"}]
    categories = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}]
    boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in FINE]
    polygon = [10, 10, 40, 10, 40, 30]
    annotations = [
        {"image_id": 70, "category_id": 18, "bbox": boxes[0], "area": 99.5},
        {"image_id": 70, "category_id": 3, "bbox": boxes[1]},
        {"image_id": 9, "category_id": 3, "bbox": [10, 10, 30, 20], "segmentation": [polygon]},
        {"image_id": 9, "category_id": 3, "bbox": [8, 8, 40, 30], "segmentation": [polygon]},
        {"image_id": 9, "category_id": 18, "bbox": [10, 10, 30, 20], "iscrowd": 1,
         "segmentation": {"size": [60, 80], "counts": [600, 1200, 3000]}},
    ]  # fmt: skip
    return f"coco:{write_coco(root, images, annotations, categories)}"


def test_coco_loses_nothing_of_coco(tmp_path):
    spec = fine_coco(tmp_path / "fine")
    assert convert(spec, "coco", tmp_path / "out").lost == []
    first, second = load_data(spec), load_data(f"coco:{tmp_path}/out")
    assert (first.class_names, first.category_ids) == (second.class_names, second.category_ids)
    for a, b in zip(first.records, second.records, strict=True):
        assert (a.image_id, a.name) == (b.image_id, b.name)
        for column in ("boxes", "classes", "crowd", "area"):
            np.testing.assert_array_equal(getattr(a.objects, column), getattr(b.objects, column))
        assert a.objects.segmentations == b.objects.segmentations


@pytest.fixture
def talkative_coco(tmp_path):
    """A source that says more of everything, and its file."""
    spec = fine_coco(tmp_path / "fine")
    file = tmp_path / "fine/annotations/instances_train2017.json"
    content = json.loads(file.read_text())
    content |= {"info": {"year": 2026}, "licenses": []}
    content["categories"][0]["supercategory"] = "animal"
    content["images"][1] |= {"license": 3, "date_captured": 0, "flickr_url": ""}
    for number, entry in enumerate(content["annotations"]):
        entry |= {"id": 7 * number, "attributes": {"occluded": number < 2, "rotation": 0.0}}
        entry["keypoints"] = [0, 0, 0]
    layouts.write_json(file, content)
    return spec, file


def test_what_else_coco_says_is_written_as_it_stood(talkative_coco, tmp_path):
    spec, file = talkative_coco
    converted = convert(spec, "coco", tmp_path / "out")
    assert converted.unread == converted.lost == []
    before = json.loads(file.read_text())
    after = json.loads((tmp_path / "out/annotations/instances_train2017.json").read_text())
    assert after.keys() == before.keys()
    assert (after["info"], after["licenses"]) == (before["info"], before["licenses"])
    for part in ("images", "annotations", "categories"):
        found = {entry["id"]: entry for entry in after[part]}
        assert found.keys() == {entry["id"] for entry in before[part]}
        for entry in before[part]:
            kept = found[entry["id"]]
            assert entry.keys() - {"bbox"} <= kept.keys()
            assert all(kept[key] == entry[key] for key in entry.keys() - {"bbox"})


def test_what_else_coco_says_is_counted_in_other_forms(talkative_coco, tmp_path):
    spec, _ = talkative_coco
    converted = convert(spec, "yolo", tmp_path / "out")
    assert converted.unread == [
        "train2017: info of the file (1)",
        "train2017: supercategory of categories (1)",
        "train2017: license of images (1)",
        "train2017: attributes of annotations (2)",
    ]
    assert "train2017: ids of objects (5)" in converted.lost


def test_ids_of_objects_that_are_shared_are_numbered_anew(talkative_coco, tmp_path):
    spec, file = talkative_coco
    content = json.loads(file.read_text())
    content["annotations"][1]["id"] = content["annotations"][0]["id"]
    layouts.write_json(file, content)
    assert convert(spec, "coco", tmp_path / "out").lost == ["train2017: ids of objects (5)"]
    after = json.loads((tmp_path / "out/annotations/instances_train2017.json").read_text())
    assert [entry["id"] for entry in after["annotations"]] == [1, 2, 3, 4, 5]


@pytest.fixture
def talkative_voc(tmp_path):
    spec = layouts.voc_flat(tmp_path / "pets")
    for file in (tmp_path / "pets").rglob("*.xml"):
        text = file.read_text().replace("<truncated>0", "<truncated>1")
        text = text.replace("</object>", "<part><name>head</name></part></object>")
        text = text.replace("<annotation>", '<annotation verified="yes">')
        text = text.replace("<depth>3", "<depth>1").replace("<bndbox>", "<bndbox><angle>5</angle>")
        source = "<source><database>Unknown</database></source><segmented>1</segmented>"
        file.write_text(text.replace("</annotation>", f"{source}</annotation>"))
    return spec


def test_what_else_voc_says_is_written_as_it_stood(talkative_voc, tmp_path):
    converted = convert(talkative_voc, "voc", tmp_path / "out")
    assert converted.unread == []
    for file in (tmp_path / "pets").rglob("*.xml"):
        before = ElementTree.parse(file).getroot()
        after = ElementTree.parse(tmp_path / "out/Annotations" / file.name).getroot()
        assert after.findtext("source/database") == "Unknown"
        assert after.findtext("segmented") == "1" and after.attrib == {"verified": "yes"}
        assert after.findtext("size/depth") == before.findtext("size/depth", "3")
        assert len(after.findall("object")) == len(before.findall("object"))
        for a, b in zip(before.findall("object"), after.findall("object"), strict=True):
            assert sorted({c.tag for c in a} | {"pose"}) == sorted(c.tag for c in b)
            assert b.findtext("truncated") == "1" and b.findtext("part/name") == "head"
            assert b.findtext("bndbox/angle") == "5"


@pytest.mark.parametrize("split", [None, "all"])
def test_what_else_voc_says_is_counted_in_other_forms(talkative_voc, tmp_path, split):
    data = load_data(talkative_voc, split="all")
    objects = sum(len(record.objects) for record in data.records)
    assert sorted(convert(talkative_voc, "coco", tmp_path / "out", split=split).unread) == [
        f"bndbox of objects ({objects})",
        f"part of objects ({objects})",
        f"segmented of images ({len(data)})",
        f"truncated of objects ({objects})",
        f"verified of images ({len(data)})",
    ]


def test_numbers_that_json_does_not_have_are_written_as_null(talkative_coco, tmp_path):
    spec, file = talkative_coco
    text = file.read_text().replace('"occluded": true', '"score": NaN, "sum": 1e999', 1)
    file.write_text(text)
    assert convert(spec, "coco", tmp_path / "out").lost == [
        "train2017: numbers that are NaN or infinite (2)"
    ]
    after = json.loads((tmp_path / "out/annotations/instances_train2017.json").read_text())
    found = [
        entry["attributes"] for entry in after["annotations"] if "score" in entry["attributes"]
    ]
    assert found == [{"score": None, "sum": None, "rotation": 0.0}]


def coco_of(root, splits, categories):
    """A COCO folder: name of a split -> its boxes by image."""
    for split, boxes in splits.items():
        images = [{"id": 5 + n, "file_name": name} for n, name in enumerate(boxes)]
        annotations = [
            {"id": 70 + n, "image_id": 5 + n, "category_id": box[0], "bbox": box[1:]}
            for n, box in enumerate(boxes.values())
        ]
        write_coco(root, images, annotations, categories[split], split=split)
    return f"coco:{root}"


DOG, CAT = {"id": 1, "name": "dog"}, {"id": 4, "name": "cat"}


def test_one_image_with_other_objects_in_another_split_is_two_in_voc(tmp_path):
    boxes = {"train": {"a.jpg": (1, 5, 5, 20, 20)}, "val": {"a.jpg": (1, 30, 30, 20, 20)}}
    spec = coco_of(tmp_path / "pets", boxes, {"train": [DOG], "val": [DOG]})
    converted = convert(spec, "voc", tmp_path / "out")
    assert "names of images (1)" in converted.lost
    for split, box in (("train", [5, 5, 25, 25]), ("val", [30, 30, 50, 50])):
        (record,) = load_data(f"voc:{tmp_path}/out", split=split).records
        assert record.objects.boxes.tolist() == [box]


def test_splits_of_any_name_with_all_of_their_classes(tmp_path):
    """None to train on; the second split has a class that the first has not."""
    boxes = {"a": {"a.jpg": (1, 5, 5, 20, 20)}, "b": {"b.jpg": (4, 30, 30, 20, 20)}}
    spec = coco_of(tmp_path / "pets", boxes, {"a": [DOG], "b": [CAT, DOG]})
    assert convert(spec, "coco", tmp_path / "out").problems == []
    for split, label in (("a", "dog"), ("b", "cat")):
        data = load_data(f"coco:{tmp_path}/out", split=split)
        assert [data.class_names[c] for c in data.records[0].objects.classes] == [label]


def test_classes_that_voc_cannot_name_are_written_under_another(tmp_path):
    categories = [{"id": n, "name": name} for n, name in enumerate(("cat", " cat", "", "a\rb"), 1)]
    boxes = {f"{n}.jpg": (n, 5, 5, 20, 20) for n in range(1, 5)}
    spec = coco_of(tmp_path / "pets", {"train": boxes}, {"train": categories})
    lost = convert(spec, "voc", tmp_path / "out").lost
    assert "the class ' cat', which is written as 'cat_'" in lost
    data = load_data(f"voc:{tmp_path}/out", split="train", on_bad_data="error")
    found = [data.class_names[record.objects.classes[0]] for record in data.records]
    assert found == ["cat", "cat_", "_", "a_b"]


def test_names_that_lists_or_systems_cannot_hold(tmp_path):
    names = ["a .jpg", " b.jpg", "c\u2028.jpg", "._d.jpg", "e:.jpg"]
    boxes = {name: (1, 5, 5, 20, 20) for name in names}
    spec = coco_of(tmp_path / "pets", {"train": boxes}, {"train": [DOG]})
    for form in WRITERS:
        assert "names of images (5)" in convert(spec, form, tmp_path / form).lost
        data = load_data(f"{form}:{tmp_path}/{form}", split="train", on_bad_data="error")
        assert len(data) == 5


def test_boxes_are_written_as_they_stood_and_read_as_they_were(tmp_path):
    """Numbers of two decimals come back as such; float32 would say 38.650024."""
    bbox = [33.07, 2.15, 38.65, 44.67]
    images = [{"id": 1, "file_name": "a.jpg"}]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": bbox, "area": 702.1},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1 / 3, 10.123456789, 20.7, 2e-5]},
    ]
    root = write_coco(tmp_path / "pets", images, annotations, [{"id": 1, "name": "dog"}])
    assert convert(f"coco:{root}", "coco", tmp_path / "coco").unread == []
    file = tmp_path / "coco/annotations/instances_train2017.json"
    written = json.loads(file.read_text())["annotations"]
    assert (written[0]["bbox"], written[0]["area"]) == (bbox, 702.1)
    boxes = load_data(f"coco:{root}").records[0].objects.boxes
    convert(f"coco:{root}", "voc", tmp_path / "voc")
    assert "<xmin>34.07</xmin>" in (tmp_path / "voc/Annotations/a.xml").read_text()
    for spec, kept in (("coco", 2), ("voc", 1)):  # VOC says no box as thin as a pixel
        again = load_data(f"{spec}:{tmp_path}/{spec}").records[0].objects.boxes
        np.testing.assert_array_equal(again, boxes[:kept])


def test_yolo_says_what_it_loses_and_keeps_the_rest(tmp_path):
    spec = fine_coco(tmp_path / "fine")
    assert convert(spec, "yolo", tmp_path / "out").lost == [
        "train2017: ids of categories",
        "train2017: ids of images",
        "train2017: masks (2)",
        "train2017: areas other than the box's (1)",
        "train2017: crowd regions (1)",
    ]
    data = load_data(f"yolo:{tmp_path}/out", on_bad_data="error")
    np.testing.assert_array_equal(data.records[0].objects.boxes, np.float32(FINE))
    masks = data.records[1].objects.segmentations
    np.testing.assert_allclose(masks[0], [[10, 10, 40, 10, 40, 30]])
    assert masks[1] is None and len(masks) == 2


def test_voc_says_what_it_loses_and_keeps_the_rest(tmp_path):
    spec = fine_coco(tmp_path / "fine")
    content = json.loads((tmp_path / "fine/annotations/instances_train2017.json").read_text())
    content["annotations"].append({"image_id": 70, "category_id": 3, "bbox": [5, 5, 0.9, 20]})
    layouts.write_json(tmp_path / "fine/annotations/instances_train2017.json", content)
    assert convert(spec, "voc", tmp_path / "out").lost == [
        "train2017: ids of categories",
        "train2017: ids of images",
        "train2017: masks (3)",
        "train2017: areas other than the box's (1)",
        "train2017: crowd regions (1)",
        "train2017: objects no wider or higher than a pixel (1)",
    ]
    data = load_data(f"voc:{tmp_path}/out", split="train2017", on_bad_data="error")
    np.testing.assert_array_equal(data.records[0].objects.boxes, np.float32(FINE))


def test_flags_of_voc_and_the_order_of_classes(tmp_path):
    images = {
        "x/a": ([("dog", (1, 1, 30, 30), True)], None),
        "y/a": ([("cat", (2, 2, 30, 30))], None),
        "b": ([], None),
    }
    for folder in ("JPEGImages/x", "JPEGImages/y", "Annotations/x", "Annotations/y"):
        (tmp_path / "pets" / folder).mkdir(parents=True)
    lists = {"train": ["x/a"], "val": ["y/a", "b"], "trainval": list(images), "cat_val": ["b -1"]}
    spec = f"voc:{write_voc(tmp_path / 'pets', images, lists)}"
    converted = convert(spec, "voc", tmp_path / "voc")
    assert converted.lost == [] and converted.unread == ["val: lists of one class's images (1)"]
    data = load_data(f"voc:{tmp_path}/voc", on_bad_data="error")
    assert data.splits == ("train", "trainval", "val") and data.image_names == ("x/a.jpg",)
    assert data.records[0].objects.difficult.tolist() == [True]
    joined = load_data(f"voc:{tmp_path}/voc", split="trainval")
    assert joined.image_names == ("x/a.jpg", "y/a.jpg", "b.jpg")
    for form in ("coco", "yolo"):
        lost = convert(spec, form, tmp_path / form).lost
        joined = "the split trainval, whose 3 images are those of train and val"
        assert lost == [joined, "train: flags 'difficult' (1)"]
        assert objects_of(load_data(f"{form}:{tmp_path}/{form}", "eval")).keys() == {"a", "b"}


def test_a_trainval_with_images_of_its_own_is_written_in_every_form(tmp_path):
    images = {name: ([("dog", (1, 1, 30, 30))], None) for name in "abc"}
    lists = {"train": ["a"], "val": ["b"], "trainval": list(images)}
    spec = f"voc:{write_voc(tmp_path / 'pets', images, lists)}"
    for form in WRITERS:
        assert convert(spec, form, tmp_path / form).lost == []
        assert len(load_data(f"{form}:{tmp_path}/{form}", split="trainval")) == 3


@pytest.mark.parametrize("form", WRITERS)
def test_a_source_without_splits_is_written_as_the_parts_that_are_trained_on(tmp_path, form):
    spec = layouts.voc_flat(tmp_path / "pets")
    parting = {"val_fraction": 0.5, "val_seed": 1}
    assert convert(spec, form, tmp_path / "out", **parting).lost == []
    for role, split in (("train", "train"), ("eval", "val")):
        data = load_data(spec, role, **parting)
        again = load_data(f"{form}:{tmp_path}/out", role, on_bad_data="error")
        assert again.split == split and objects_of(again) == objects_of(data)
    convert(spec, form, tmp_path / "whole", split="all")
    assert len(load_data(f"{form}:{tmp_path}/whole", split=None, val_fraction=1e-9)) == 2


def test_images_are_linked_or_copied(tmp_path):
    spec = layouts.voc(tmp_path / "pets")
    convert(spec, "coco", tmp_path / "linked")
    convert(spec, "coco", tmp_path / "copied", images="copy")
    assert (tmp_path / "linked/train/a.jpg").is_symlink()
    assert not (tmp_path / "copied/train/a.jpg").is_symlink()
    assert (tmp_path / "copied/train/a.jpg").read_bytes() == layouts.jpeg("a")


def test_names_that_differ_by_case_or_suffix_stay_apart(tmp_path):
    (tmp_path / "pets").mkdir()
    for name in ("a.jpg", "A.jpg", "b.jpg"):
        (tmp_path / "pets" / name).write_bytes(layouts.jpeg(name[0]))
    (tmp_path / "pets/a.png").write_bytes(layouts.jpeg("c"))
    (tmp_path / "pets/x.csv").write_text(
        "\n".join(f"{n},1,1,9,9,dog" for n in ("a.jpg", "A.jpg", "a.png", "b.jpg"))
    )
    convert(f"csv:{tmp_path}/pets/x.csv", "yolo", tmp_path / "out", split="all")
    names = sorted(f.name for f in (tmp_path / "out/labels/all").iterdir())
    assert names == ["A_2.txt", "a.txt", "a_3.txt", "b.txt"]
    assert len(load_data(f"yolo:{tmp_path}/out", on_bad_data="error")) == 4


def test_only_a_folder_of_its_own_is_written_to(tmp_path):
    spec = layouts.voc(tmp_path / "pets")
    with pytest.raises(ValueError, match="lies in the source"):
        convert(spec, "coco", tmp_path / "pets/coco")
    (tmp_path / "full/of").mkdir(parents=True)
    with pytest.raises(ValueError, match="empty or not there"):
        convert(spec, "coco", tmp_path / "full")
    with pytest.raises(ValueError, match="form must be one of coco, voc, yolo; received 'csv'"):
        convert(spec, "csv", tmp_path / "out")
    with pytest.raises(ValueError, match="images must be one of link, copy"):
        convert(spec, "voc", tmp_path / "out", images="move")


def test_what_cannot_be_used_is_named_and_not_written(tmp_path):
    spec = layouts.voc(tmp_path / "pets")
    (tmp_path / "pets/JPEGImages/a.jpg").write_bytes(b"")
    converted = convert(spec, "yolo", tmp_path / "out", split="train")
    assert [p.kind for p in converted.problems] == ["unreadable image file"]
    assert len(load_data(f"yolo:{tmp_path}/out", on_bad_data="error")) == 2
