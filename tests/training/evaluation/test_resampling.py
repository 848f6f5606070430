"""The bootstrap over images, against evaluating every draw anew."""

from types import SimpleNamespace

import numpy as np
import pytest

from harmonic_tf.training.evaluation.average_precision import OVER_THRESHOLDS, coco_metrics
from harmonic_tf.training.evaluation.resampling import resampled_metrics
from harmonic_tf.training.labels import Labels

CATEGORY_IDS = (7, 0, 3)


def random_evaluation(seed, images=15):
    """Boxes and noisy detections of them, some crowds and difficult ones; ids are not in order."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.arange(100, 100 + images)).tolist()
    truth, found = [], []
    for image in ids:
        for _ in range(rng.integers(0, 5)):
            box = [*rng.uniform(0, 200, 2), *rng.uniform(20, 90, 2)]
            item = {"image_id": image, "category_id": int(rng.choice(CATEGORY_IDS)), "bbox": box}
            flags = {"iscrowd": int(rng.random() < 0.1), "difficult": bool(rng.random() < 0.1)}
            truth.append({**item, **flags, "area": box[2] * box[3]})
            for _ in range(rng.integers(0, 3)):
                noisy = (np.array(box) + rng.normal(0, 5, 4)).tolist()
                found.append({**item, "bbox": noisy, "score": float(rng.random())})
    labels = Labels("abc", CATEGORY_IDS)
    return SimpleNamespace(image_ids=ids, ground_truth=truth, detections=found, labels=labels)


def evaluated_anew(evaluation, draw):
    """COCO's metrics of the images of a draw, each under an id of its own."""
    ids = sorted(evaluation.image_ids)
    copies = {"ground_truth": [], "detections": []}
    for number, index in enumerate(draw):
        for name, items in copies.items():
            own = [x for x in getattr(evaluation, name) if x["image_id"] == ids[index]]
            items += [{**item, "image_id": number} for item in own]
    metrics, _ = coco_metrics(range(len(draw)), *copies.values(), "abc", CATEGORY_IDS)
    return {name: metrics[name] for name in OVER_THRESHOLDS}


@pytest.mark.parametrize("seed", range(2))
def test_every_draw_is_what_evaluating_its_images_gives(seed):
    evaluation = random_evaluation(seed)
    count = len(evaluation.image_ids)
    found = resampled_metrics(evaluation, count=4)
    draws = np.random.default_rng(0).integers(count, size=(4, count))
    for number, draw in enumerate(draws):
        expected = evaluated_anew(evaluation, draw)
        assert {name: values[number] for name, values in found.items()} == pytest.approx(expected)
    assert len(set(found["AP"])) == 4


def test_equal_detectors_meet_equal_draws():
    assert resampled_metrics(random_evaluation(3), 5) == resampled_metrics(random_evaluation(3), 5)


def test_nothing_to_find_is_none():
    evaluation = random_evaluation(0)
    evaluation.ground_truth = []
    assert resampled_metrics(evaluation, 2) == dict.fromkeys(OVER_THRESHOLDS, [None, None])
