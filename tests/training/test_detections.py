import numpy as np
import tensorflow as tf

from harmonic_tf.training.detections import coco_results, restore


def decoded(boxes, count):
    rows = len(boxes)
    return {
        "boxes": tf.constant([boxes], tf.float32),
        "confidence": tf.constant([[0.9, 0.8, 0.7][:rows]]),
        "classes": tf.constant([[1, 0, 1][:rows]]),
        "num_detections": tf.constant([count]),
    }


def test_restore_by_hand():
    """x: (network - 10) / 0.5, y: (network - 0) / 2, clipped to 100 wide and 40 high."""
    found = restore(
        decoded([[20, 10, 40, 30], [0, -5, 90, 99], [7, 7, 7, 7]], count=2),
        scale=tf.constant([[2.0, 0.5]]),
        offset=tf.constant([[0.0, 10.0]]),
        size=tf.constant([[40, 100]]),
    )
    np.testing.assert_allclose(found["boxes"][0], [[20, 5, 60, 15], [0, 0, 100, 40], [-1] * 4])
    np.testing.assert_allclose(found["scores"][0], [0.9, 0.8, -1], rtol=1e-6)
    assert found["classes"].numpy().tolist() == [[1, 0, -1]]
    assert found["num_detections"].numpy().tolist() == [2]


def test_results_leave_out_padding_empty_boxes_and_nan():
    found = {
        "boxes": np.array([[[1, 2, 4, 6], [5, 5, 5, 9], [0, 0, 9, 9], [-1] * 4]] * 2, float),
        "scores": np.array([[0.5, 0.4, np.nan, -1.0]] * 2),
        "classes": np.array([[1, 0, 0, -1]] * 2),
        "num_detections": np.array([3, 3]),
    }
    expected = {"image_id": 7, "category_id": 90, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}
    assert coco_results(found, [7], category_ids=(13, 90)) == [expected]
    assert coco_results({}, [], category_ids=(13, 90)) == []
