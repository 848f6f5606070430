"""The real VOC builder on a miniature archive, and a builder with COCO's features; no downloads."""

import sys

import numpy as np
import pytest
from folders import picture, write_voc

from harmonic_tf.training.data import eval_batches, load_data

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """What TFDS would have downloaded and extracted: VOCdevkit/VOC2007 and VOC2012."""
    for year in ("2007", "2012"):
        pictures = {
            f"{year}_1": ([("dog", (1, 1, 80, 60)), ("cat", (11, 21, 30, 40), True)], (80, 60)),
            f"{year}_2": ([("person", (5, 6, 7, 8))], (80, 60)),
            f"{year}_3": ([("cat", (2, 2, 40, 40))], (80, 60)),
        }
        splits = {"train": [f"{year}_1"], "val": [f"{year}_2"], "test": [f"{year}_3"]}
        write_voc(tmp_path / "VOCdevkit" / f"VOC{year}", pictures, splits)
    monkeypatch.setattr(
        tfds.download.DownloadManager,
        "download_and_extract",
        lambda self, urls: dict.fromkeys(urls, str(tmp_path)),
    )
    return f"data_dir={tmp_path / 'prepared'}"


def test_voc_union_trains_on_both_years_and_tests_on_2007(archives):
    train = load_data(f"tfds:voc/2007+2012,{archives}", on_bad_data="error")
    assert sorted(train.image_names) == ["2007_1.jpg", "2007_2.jpg", "2012_1.jpg", "2012_2.jpg"]
    assert [record.image_id for record in train.records] == [0, 1, 2, 3]
    assert len(train.class_names) == 20 and train.category_ids == tuple(range(1, 21))
    assert train.name == "voc_2007+2012"
    test = load_data(f"tfds:voc/2007+2012,{archives}", role="eval")
    assert test.image_names == ("2007_3.jpg",)
    validation = load_data(f"tfds:voc/2012,{archives}", role="eval")
    assert validation.image_names == ("2012_2.jpg",)


def test_voc_boxes_are_those_of_the_folder(archives):
    data = load_data(f"tfds:voc/2007,{archives}", split="train")
    objects = data.records[0].objects
    np.testing.assert_allclose(objects.boxes, [[0, 0, 80, 60], [10, 20, 30, 40]], atol=1e-3)
    assert [data.class_names[index] for index in objects.classes] == ["dog", "cat"]
    np.testing.assert_array_equal(objects.difficult, [False, True])


def test_given_class_names_leave_others_out(archives):
    data = load_data(f"tfds:voc/2007,{archives}", split="train", class_names=["cat"])
    assert [(p.file, p.object, p.kind) for p in data.problems] == [
        ("2007_1.jpg", "object 1", "unknown class")
    ]
    np.testing.assert_array_equal(data.records[0].objects.classes, [0])


class MiniCoco(tfds.core.GeneratorBasedBuilder):
    """COCO's features, three images."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "image/filename": tfds.features.Text(),
                "image/id": np.int64,
                "objects": tfds.features.Sequence(
                    {
                        "area": np.int64,
                        "bbox": tfds.features.BBoxFeature(),
                        "id": np.int64,
                        "is_crowd": np.bool_,
                        "label": tfds.features.ClassLabel(names=["car", "dog"]),
                    }
                ),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples([70, 5]),
            "validation": self._generate_examples([9]),
        }

    def _generate_examples(self, ids):
        for image_id in ids:
            box = tfds.features.BBox(ymin=0.1, xmin=0.25, ymax=0.5, xmax=1.0)
            entry = {"area": 33, "bbox": box, "id": 1, "is_crowd": image_id == 5, "label": 1}
            yield (
                image_id,
                {
                    "image": np.asarray(picture(seed=image_id)),
                    "image/filename": f"{image_id}.jpg",
                    "image/id": image_id,
                    "objects": [entry] if image_id != 9 else [],
                },
            )


def test_coco_features(tmp_path):
    data = load_data(f"tfds:mini_coco,data_dir={tmp_path}")
    assert {r.image_id: r.name for r in data.records} == {70: "70.jpg", 5: "5.jpg"}
    record = next(record for record in data.records if record.image_id == 5)
    # No shift by a pixel here: (0.25 * 80, 0.1 * 60, 80, 30).
    np.testing.assert_allclose(record.objects.boxes, [[20, 6, 80, 30]], atol=1e-3)
    assert record.objects.crowd.all() and record.objects.area == 33
    evaluation = load_data(f"tfds:mini_coco,data_dir={tmp_path}", role="eval")
    assert len(evaluation.records[0].objects) == 0
    batch = next(iter(eval_batches(evaluation, (60, 80))))
    np.testing.assert_allclose(batch["images"][0], picture(seed=9), atol=40)


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="takes the option data_dir=DIR only"):
        load_data("tfds:mini_coco,split=train")


def test_not_a_detection_data_set(tmp_path):
    class Numbers(tfds.testing.DummyDataset):
        pass

    with pytest.raises(ValueError, match="not a detection data set"):
        load_data(f"tfds:numbers,data_dir={tmp_path}")


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install harmonic-tf\[tfds\]"):
        load_data("tfds:voc/2007")
