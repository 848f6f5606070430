import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from rectangles import (
    CLASS_NAMES,
    EVEN,
    IMAGES,
    LeftHalfFinder,
    RectangleFinder,
    rectangle_data,
    with_left_halves,
)
from rich.console import Console

from harmonic_tf import models
from harmonic_tf.training.evaluation.evaluator import evaluate_model
from harmonic_tf.training.evaluation.tables import merged_table
from harmonic_tf.training.evaluation.test_time_augmentation import (
    Flipped,
    MultiScaleEvaluator,
    input_size,
    views_of,
)
from harmonic_tf.training.rle import decode


class Finder(RectangleFinder):
    decoding = {"iou_threshold": 0.5}


class LeftSideFinder(Finder):
    """Sees only the left half of an image."""

    def decode_predictions(self, raw, images):
        left = tf.range(tf.shape(images)[2]) < tf.shape(images)[2] // 2
        return super().decode_predictions(raw, tf.where(left[:, None], images, 0.0))


def evaluate(model, views, pictures=IMAGES, **settings):
    data = rectangle_data(pictures)
    return MultiScaleEvaluator(model, views, data, batch_size=2, **settings)(progress=False)


@pytest.fixture(scope="module")
def one_sided():
    """Boxes to the left and to the right of the middle, of which each view sees one."""
    model = LeftSideFinder()
    views = {"32 x 48 px": model, "32 x 48 px, mirrored": Flipped(model)}
    return evaluate(model, views, [(32, 48, {0: (2, 4, 20, 30), 1: (30, 5, 46, 20)})])


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_a_mirrored_detector_finds_the_same_boxes(resize):
    data = rectangle_data([*IMAGES, (64, 192, {0: (40, 20, 100, 60)})])
    model = RectangleFinder(resize=resize)
    expected, received = (
        evaluate_model(m, data, 2, progress=False) for m in (model, Flipped(model))
    )
    assert len(expected.detections) == 7
    for a, b in zip(expected.detections, received.detections, strict=True):
        assert a["bbox"] == pytest.approx(b["bbox"], abs=1e-4)
        assert {**a, "bbox": None} == {**b, "bbox": None}
    assert received.metrics == pytest.approx(expected.metrics)
    assert received.mean_p == pytest.approx(expected.mean_p)


def test_a_mirrored_detector_sees_the_other_side(one_sided):
    left, right = [2.0, 4.0, 18.0, 26.0], [30.0, 5.0, 16.0, 15.0]
    found = [[d["bbox"] for d in view.detections] for view in one_sided.views.values()]
    assert found == [[left], [right]]
    assert [d["bbox"] for d in one_sided.merged.detections] == [left, right]
    assert [view.metrics["AP"] for view in one_sided.views.values()] == [50.0, 50.0]
    assert one_sided.merged.metrics["AP"] == 100.0


def test_a_mirrored_detector_is_asked_for_mirrored_targets():
    """AIC of a mirrored view is that of mirrored ground truth; padding stays as it is."""
    asked = []

    class Asked(Finder):
        def encode_targets(self, objects, image_size=None, predictions=None):
            asked.append(objects["boxes"].numpy().tolist())
            return super().encode_targets(objects, image_size, predictions)

    boxes = np.array([[[2.0, 4.0, 20.0, 30.0], [-1.0] * 4]], "float32")
    objects = {"boxes": tf.constant(boxes), "classes": tf.constant([[0.0, -1.0]])}
    Flipped(Asked()).encode_targets(objects, predictions={})
    assert asked == [[[[28.0, 4.0, 46.0, 30.0], [-1.0] * 4]]]


def test_masks_are_mirrored_with_their_boxes():
    """What finds the left half of everything finds the right half of it in a mirror."""
    data = with_left_halves(rectangle_data(EVEN))
    result = evaluate_model(Flipped(LeftHalfFinder()), data, 2, progress=False)
    assert len(result.detections) == 3
    for item in result.detections:
        x, y, width, height = map(round, item["bbox"])
        mask = decode(item["segmentation"])
        expected = np.zeros_like(mask)
        expected[y : y + height, x + width // 2 : x + width] = True
        np.testing.assert_array_equal(mask, expected)
    assert result.metrics["segm_AP"] == 0.0


def test_two_scales_that_agree_find_everything_once():
    model = Finder()
    views = {"32 x 48 px": model, "64 x 96 px": Finder((64, 96))}
    result = evaluate(model, views)
    single = evaluate_model(model, rectangle_data(IMAGES), 2, progress=False)
    assert result.merged.metrics["AP"] == 100.0
    assert result.merged.metrics["AIC"] == single.metrics["AIC"]
    assert result.merged.mean_p == single.mean_p
    assert result.merged.ground_truth == single.ground_truth
    in_order = sorted(single.detections, key=lambda d: (d["image_id"], -d["score"]))
    assert result.merged.detections == in_order


def test_aic_is_unknown_without_the_model_as_it_is():
    model = Finder()
    result = evaluate(model, {"mirrored": Flipped(model)})
    assert result.own is None
    assert result.merged.metrics["AIC"] is None and result.merged.mean_p is None
    assert result.views["mirrored"].metrics["AIC"] is not None


def test_no_objects_at_all_gives_none():
    model = Finder()
    views = {"plain": model, "mirrored": Flipped(model)}
    result = evaluate(model, views, [(32, 48, {})] * 2)
    assert set(result.merged.metrics.values()) == {None}
    assert result.merged.per_class == dict.fromkeys(CLASS_NAMES)
    assert result.merged.detections == []


def test_input_sizes_differ_from_the_own_by_steps_of_32():
    assert input_size((160, 208), 160) == (160, 208)
    assert input_size((160, 208), 192) == (192, 240)
    assert input_size((208, 160), 192) == (240, 192)
    assert [input_size((800, 800), s) for s in (400, 600)] == [(416, 416), (608, 608)]
    assert [input_size((300, 300), s) for s in (32, 400)] == [(44, 44), (396, 396)]
    with pytest.raises(ValueError, match="at least 32 pixels; received 31"):
        input_size((160, 208), 31)
    assert input_size((160, 208), 640) == (640, 848)
    with pytest.raises(ValueError, match="at most 640 pixels, 4 times .*; received 641"):
        input_size((160, 208), 641)


def test_views_of_a_detector():
    model = models.from_preset("ssd_tiny", num_classes=3)
    assert views_of(model) == {"160 x 208 px": model}
    views = views_of(model, scales=(96, 160), flip=True)
    assert list(views) == [
        "96 x 112 px",
        "96 x 112 px, mirrored",
        "160 x 208 px",
        "160 x 208 px, mirrored",
    ]
    assert views["160 x 208 px"] is views["160 x 208 px, mirrored"].detector is model
    assert views["96 x 112 px"].image_size == (96, 112)
    with pytest.raises(ValueError, match="96 and 105 both come to 96 x 112 pixels"):
        views_of(model, scales=(96, 105))


def table(result):
    out = io.StringIO()
    Console(file=out, width=80).print(merged_table(result))
    return out.getvalue()


def test_table_shows_each_view_and_whose_aic_it_is(one_sided):
    text = table(one_sided)
    assert "32 x 48 px, mirrored   50.0" in text
    assert "AIC and mean p: of 32 x 48 px" in text
    assert "1 images, 2 objects" in text and "100.0" in text
    assert "not known" in table(dataclasses.replace(one_sided, own=None))
