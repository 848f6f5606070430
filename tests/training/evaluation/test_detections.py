import numpy as np
import tensorflow as tf

from harmonic_tf.training.evaluation.detections import coco_results, to_original
from harmonic_tf.training.rle import decode


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
    found = to_original(
        decoded([[20, 10, 40, 30], [0, -5, 90, 99], [7, 7, 7, 7]], count=2),
        scale=tf.constant([[2.0, 0.5]]),
        offset=tf.constant([[0.0, 10.0]]),
        size=tf.constant([[40, 100]]),
    )
    np.testing.assert_allclose(found["boxes"][0], [[20, 5, 60, 15], [0, 0, 100, 40], [-1] * 4])
    np.testing.assert_allclose(found["scores"][0], [0.9, 0.8, -1], rtol=1e-6)
    assert found["classes"].numpy().tolist() == [[1, 0, -1]]
    assert found["num_detections"].numpy().tolist() == [2]


def test_masks_are_shown_in_the_frame_of_the_clipped_box():
    """Half of the first box is left of the image; its mask was the right half, and is now full.

    Nothing of the second is inside; the third stays as it is.
    """
    half = np.repeat([[0.0, 0.0, 1.0, 1.0]], 4, axis=0)
    found = to_original(
        {
            **decoded([[0, 10, 40, 30], [0, 0, 5, 5], [50, 5, 60, 15]], count=3),
            "masks": tf.constant([[half, half, half]], tf.float32),
        },
        scale=tf.constant([[1.0, 1.0]]),
        offset=tf.constant([[0.0, 20.0]]),
        size=tf.constant([[40, 100]]),
    )
    assert found["boxes"].numpy().tolist() == [[[0, 10, 20, 30], [0, 0, 0, 5], [30, 5, 40, 15]]]
    first, second, third = found["masks"][0].numpy()
    # Between the last cell off and the first one on: 3/4 of the way in the clipped first column.
    np.testing.assert_allclose(first, np.repeat([[0.75, 1, 1, 0.75]], 4, axis=0), atol=1e-6)
    assert (second == 0).all()
    np.testing.assert_allclose(third, half, atol=1e-6)


def test_masks_of_padding_are_minus_one():
    found = to_original(
        {**decoded([[0, 0, 4, 4]] * 2, count=1), "masks": tf.ones((1, 2, 3, 3))},
        scale=tf.ones((1, 2)),
        offset=tf.zeros((1, 2)),
        size=tf.constant([[40, 100]]),
    )
    assert found["masks"].shape == (1, 2, 3, 3)
    assert (found["masks"][0, 1].numpy() == -1).all()
    assert (found["masks"][0, 0].numpy() > 0).all()


def test_results_have_masks_in_the_images_pixels():
    left = np.repeat([[1.0, 0.0]], 2, axis=0)
    found = {
        "boxes": np.array([[[2, 1, 6, 3], [-1] * 4], [[0, 0, 2, 2], [-1] * 4]], float),
        "scores": np.array([[0.5, -1.0]] * 2),
        "classes": np.array([[1, -1]] * 2),
        "num_detections": np.array([1, 1]),
        "masks": np.array([[left, -np.ones((2, 2))]] * 2),
    }
    first, second = coco_results(found, [7, 8], (13, 90), sizes=[(4, 8), (2, 2)])
    assert first["segmentation"]["size"] == [4, 8] and second["segmentation"]["size"] == [2, 2]
    expected = np.zeros((4, 8), bool)
    expected[1:3, 2:4] = True
    np.testing.assert_array_equal(decode(first["segmentation"]), expected)
    assert decode(second["segmentation"]).tolist() == [[True, False]] * 2


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
