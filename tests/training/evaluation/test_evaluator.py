import dataclasses
import io
import json

import numpy as np
import pytest
from rectangles import (
    CATEGORY_IDS,
    CLASS_NAMES,
    EVEN,
    IMAGES,
    LeftHalfFinder,
    RectangleFinder,
    rectangle_data,
    with_left_halves,
)
from rich.console import Console

from harmonic_tf.training.errors import UserError
from harmonic_tf.training.evaluation.average_precision import METRICS
from harmonic_tf.training.evaluation.evaluator import Evaluator, evaluate_model, write_metrics
from harmonic_tf.training.evaluation.tables import metrics_table

KEYS = "AP AP50 AP60 AP70 AP75 AP80 AP90 AP_small AP_medium AP_large AIC".split()


@pytest.fixture(scope="module")
def result():
    return evaluate_model(RectangleFinder(), rectangle_data(IMAGES), 2, progress=False)


def test_a_detector_that_is_right_scores_100_in_original_pixels(result):
    assert list(result.metrics) == KEYS == [*METRICS, "AIC"]
    assert result.metrics["AP"] == result.metrics["AP90"] == 100.0
    assert result.per_class == {"red": 100.0, "green": 100.0, "blue": 100.0}
    found = {(d["image_id"], d["category_id"]): d["bbox"] for d in result.detections}
    expected = {
        (10 + index, CATEGORY_IDS[c]): [x1, y1, x2 - x1, y2 - y1]
        for index, (_, _, boxes) in enumerate(IMAGES)
        for c, (x1, y1, x2, y2) in boxes.items()
    }
    assert found == expected
    assert result.counts == {
        "images": 5,
        "objects": 6,
        "crowd": 0,
        "difficult": 0,
        "detections": 6,
        "without_mask": 0,
    }


def test_aic_and_mean_score_by_hand(result):
    """Every box is right (IoU 1) and two objects each have p = 0.9, 0.8 and 0.7."""
    assert result.metrics["AIC"] == pytest.approx((0.1 + 0.2 + 0.3) / 3, abs=1e-6)
    assert result.mean_p == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 5, 8])
def test_batch_size_changes_nothing_and_the_graph_is_traced_once(result, batch_size):
    model = RectangleFinder()
    other = evaluate_model(model, rectangle_data(IMAGES), batch_size, progress=False)
    # Scores may differ in the last bit, as vectors of a batch's length are taken apart.
    for ours, theirs in zip(other.detections, result.detections, strict=True):
        assert ours == {**theirs, "score": pytest.approx(theirs["score"])}
    assert other.ground_truth == result.ground_truth
    assert other.metrics == pytest.approx(result.metrics)
    assert model.traced == 1


def test_letterbox_maps_back():
    """64 x 192 in a 32 x 48 input: scale 1/4, whatever the side the bars are on."""
    data = rectangle_data([(64, 192, {0: (40, 20, 100, 60)})])
    result = evaluate_model(RectangleFinder(resize="letterbox"), data, 4, progress=False)
    np.testing.assert_allclose(result.detections[0]["bbox"], [40, 20, 60, 40], atol=1e-4)


def with_flags(data, **flags):
    """The same data with every object of its first image difficult, or crowd."""
    first, *rest = data.records
    flags = {key: np.full(len(first.objects), value) for key, value in flags.items()}
    objects = dataclasses.replace(first.objects, **flags)
    return dataclasses.replace(data, records=(dataclasses.replace(first, objects=objects), *rest))


def test_difficult_is_counted_apart_and_crowd_is_not_encoded():
    data = rectangle_data([(64, 96, {0: (10, 20, 40, 60)}), (64, 96, {1: (10, 20, 40, 60)})])
    difficult = evaluate_model(RectangleFinder(), with_flags(data, difficult=True), progress=False)
    assert difficult.per_class == {"red": None, "green": 100.0, "blue": None}
    assert (difficult.counts["objects"], difficult.counts["difficult"]) == (1, 1)
    crowd = evaluate_model(RectangleFinder(), with_flags(data, crowd=True), progress=False)
    assert crowd.per_class["red"] is None
    assert crowd.mean_p == pytest.approx(0.8, abs=1e-6)


def masked_result(shift=0.0):
    return evaluate_model(
        LeftHalfFinder(), with_left_halves(rectangle_data(EVEN), shift), 2, progress=False
    )


def test_masks_that_are_right_score_100_too(tmp_path):
    result = masked_result()
    segm_keys = [f"segm_{name}" for name in METRICS]
    assert list(result.metrics) == [*METRICS, *segm_keys, "AIC"]
    assert result.metrics["AP"] == result.metrics["segm_AP"] == result.metrics["segm_AP90"] == 100.0
    assert result.per_class == result.segm_per_class == dict.fromkeys(CLASS_NAMES, 100.0)
    content = write_metrics(result, tmp_path / "metrics.json").read_text()
    assert set(json.loads(content)) == set(result.metrics)
    for item, found in zip(result.ground_truth, result.detections, strict=True):
        assert item["segmentation"] == found["segmentation"]


def test_masks_are_compared_apart_from_boxes():
    """Halves 15, 8 and 12 px wide, 3 px apart: IoU 12/18, 5/11 and 9/15."""
    result = masked_result(shift=3)
    assert result.metrics["AP"] == 100.0
    # 12/18 passes 0.50 ... 0.65; 9/15 passes 0.50, 0.55 and, with its 0.6 sharp, 0.60.
    assert result.segm_per_class == pytest.approx({"red": 40.0, "green": 0.0, "blue": 30.0})
    assert result.metrics["segm_AP"] == pytest.approx(70 / 3)
    assert result.metrics["segm_AP50"] == pytest.approx(200 / 3)
    lines = table_of(result).splitlines()
    assert any(line.split()[:3] == ["box", "100.0", "100.0"] for line in lines)
    assert any(line.split()[:3] == ["segm", "23.3", "66.7"] for line in lines)
    assert any(line.split() == ["red", "100.0", "40.0"] for line in lines)


def test_where_an_object_has_no_mask_they_are_not_compared():
    data = with_left_halves(rectangle_data(EVEN))
    first, second = data.records
    objects = dataclasses.replace(second.objects, segmentations=(None, None))
    data = dataclasses.replace(data, records=(first, dataclasses.replace(second, objects=objects)))
    result = evaluate_model(LeftHalfFinder(), data, progress=False)
    assert list(result.metrics) == KEYS and result.metrics["AP"] == 100.0
    assert result.segm_per_class == {}
    assert "no segm AP: 2 objects have no mask" in table_of(result)


def test_no_objects_at_all_gives_none():
    result = evaluate_model(RectangleFinder(), rectangle_data([(32, 48, {})] * 2), progress=False)
    assert result.metrics == dict.fromkeys(KEYS)
    assert result.mean_p is None and result.detections == []
    assert result.per_class == dict.fromkeys(CLASS_NAMES)


def test_evaluator_starts_afresh_and_sees_new_weights():
    model = RectangleFinder()
    evaluator = Evaluator(model, rectangle_data(IMAGES), batch_size=2)
    first, again = evaluator(progress=False), evaluator(progress=False)
    assert first == again
    model.gain.assign(0.0)
    assert evaluator(progress=False).mean_p == pytest.approx(0.25)
    assert model.traced == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("image_size", (None, None), "one size of images"),
        ("bounding_box_format", "xywh", "'xyxy'; received 'xywh'"),
    ],
)
def test_models_for_other_pipelines_are_refused(name, value, message):
    model = RectangleFinder()
    setattr(model, name, value)
    with pytest.raises(ValueError, match=message):
        Evaluator(model, rectangle_data(IMAGES))


def test_number_of_classes_must_agree():
    model = RectangleFinder()
    model.num_classes = 2
    with pytest.raises(ValueError, match="knows 2 classes; rectangles has 3.*'red'"):
        Evaluator(model, rectangle_data(IMAGES))


def test_metrics_file_has_the_keys_and_replaces_an_older_one(result, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("older")
    write_metrics(result, path)
    assert list(json.loads(path.read_text())) == KEYS
    assert [child.name for child in tmp_path.iterdir()] == ["metrics.json"]


def table_of(result):
    out = io.StringIO()
    Console(file=out, width=80).print(metrics_table(result))
    return out.getvalue()


def test_table_shows_each_number(result):
    result = dataclasses.replace(result, counts={**result.counts, "objects": 5, "difficult": 1})
    text = table_of(result)
    assert "5 images, 5 objects; ignored: 1 difficult" in text
    assert "no AP" not in text
    for word in ("AP75", "small", "mean p", "green", "100.0", f"{result.mean_p:.3f}"):
        assert word in text


def test_table_says_why_there_is_no_ap(result):
    result = dataclasses.replace(result, counts={**result.counts, "objects": 0, "crowd": 5})
    text = table_of(result)
    assert "0 objects; ignored: 5 crowd" in text and "no AP: there is no object" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_of_finite_weights_whose_outputs_are_not_is_refused(value):
    class Broken(RectangleFinder):
        def call(self, images, training=False):
            return {**super().call(images), "more": value * images}

    with pytest.raises(UserError, match="what the model returns is NaN or infinite"):
        evaluate_model(Broken(), rectangle_data(IMAGES), 2, progress=False)
