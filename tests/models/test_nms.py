import numpy as np
import pytest
from keras import ops

from harmonic_tf.models import nms

BOXES = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 9.9]], "float32")


def run(boxes, scores, score_threshold=0.05, iou_threshold=0.5, max_detections=6):
    detections = nms.class_wise_nms(
        ops.convert_to_tensor(np.array(boxes, "float32")),
        ops.convert_to_tensor(np.array(scores, "float32")),
        score_threshold,
        iou_threshold,
        max_detections,
    )
    return {key: np.array(value) for key, value in detections.items()}


@pytest.fixture(params=["tensorflow", "keras"])
def each_way(request, monkeypatch):
    if request.param == "keras":
        monkeypatch.setattr(nms.keras.backend, "backend", lambda: "another")


@pytest.mark.usefixtures("each_way")
class TestClassWiseNms:
    def test_the_best_of_overlapping_boxes_stays(self):
        """Boxes 0, 1 and 3 overlap with IoU above 0.8; box 2 stands alone."""
        found = run(BOXES[None], [[[0.7], [0.9], [0.3], [0.8]]])
        assert found["num_detections"].tolist() == [2]
        np.testing.assert_allclose(found["confidence"][0], [0.9, 0.3, -1, -1, -1, -1])
        np.testing.assert_allclose(found["boxes"][0, :2], BOXES[[1, 2]])
        assert (found["boxes"][0, 2:] == -1).all()
        assert found["classes"][0].tolist() == [0, 0, -1, -1, -1, -1]
        assert found["classes"].dtype == np.int32

    def test_classes_do_not_suppress_one_another(self):
        found = run(BOXES[None, :2], [[[0.7, 0.0], [0.0, 0.9]]])
        assert found["num_detections"].tolist() == [2]
        assert found["classes"][0, :2].tolist() == [1, 0]

    def test_one_box_may_be_found_as_two_classes(self):
        found = run(BOXES[None, :1], [[[0.7, 0.6]]])
        assert found["num_detections"].tolist() == [2]
        assert found["classes"][0, :2].tolist() == [0, 1]

    def test_nothing_above_the_threshold(self):
        found = run(BOXES[None], np.full((1, 4, 2), 0.05))
        assert found["num_detections"].tolist() == [0]
        assert (found["boxes"] == -1).all() and (found["confidence"] == -1).all()

    def test_a_box_dropped_by_a_dropped_box_stays(self):
        """Of three boxes in a row the middle one falls to the first, and the third stays."""
        row = [[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]]  # IoU 7/13 with the next
        found = run([row], [[[0.9], [0.8], [0.7]]])
        np.testing.assert_allclose(found["boxes"][0, :2], [row[0], row[2]])
        assert found["num_detections"].tolist() == [2]

    def test_no_more_than_asked_for(self):
        boxes = [[[20 * i, 0, 20 * i + 10, 10] for i in range(5)]]
        found = run(boxes, [[[0.1], [0.5], [0.3], [0.4], [0.2]]], max_detections=3)
        np.testing.assert_allclose(found["confidence"][0], [0.5, 0.4, 0.3])

    def test_images_are_apart(self):
        found = run(np.stack([BOXES, BOXES]), [[[0.9]] * 4, [[0.0]] * 4])
        assert found["num_detections"].tolist() == [2, 0]


def test_both_ways_agree_on_random_boxes(monkeypatch):
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (3, 80, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 40, (3, 80, 2))], axis=-1)
    scores = rng.uniform(0, 1, (3, 80, 4))
    first = run(boxes, scores, max_detections=50)
    monkeypatch.setattr(nms.keras.backend, "backend", lambda: "another")
    second = run(boxes, scores, max_detections=50)
    for key in first:
        np.testing.assert_allclose(first[key], second[key], err_msg=key)


def test_both_ways_see_every_box(monkeypatch):
    """The 2,000 best-scored boxes are one and the same; the others stand behind them."""
    boxes = np.zeros((1, 2003, 4), "float32") + [0, 0, 10, 10]
    boxes[0, 2000:] += 20 * np.arange(1, 4)[:, None]
    scores = np.linspace(0.9, 0.2, 2003)[None, :, None]
    for backend in ("tensorflow", "another"):
        monkeypatch.setattr(nms.keras.backend, "backend", lambda name=backend: name)
        found = run(boxes, scores)
        assert found["num_detections"].tolist() == [4]
        np.testing.assert_allclose(found["boxes"][0, 1:4], boxes[0, 2000:])


def test_both_ways_agree_where_each_class_has_its_boxes(monkeypatch):
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (2, 30, 3, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 40, (2, 30, 3, 2))], axis=-1)
    scores = rng.uniform(0, 1, (2, 30, 3))
    first = run(boxes, scores, max_detections=20)
    monkeypatch.setattr(nms.keras.backend, "backend", lambda: "another")
    second = run(boxes, scores, max_detections=20)
    for key in first:
        np.testing.assert_allclose(first[key], second[key], err_msg=key)
