import numpy as np
import pytest

from harmonic_tf.training.evaluation.average_precision import METRICS, box_ious, coco_metrics
from harmonic_tf.training.rle import as_rle, decode, encode


def truth(bbox, image=0, category=1, **more):
    return {
        "image_id": image,
        "category_id": category,
        "bbox": list(bbox),
        "area": bbox[2] * bbox[3],
        **more,
    }


def found(bbox, score, image=0, category=1):
    return {"image_id": image, "category_id": category, "bbox": list(bbox), "score": score}


def one_class(ground_truth, detections, images=(0,)):
    return coco_metrics(images, ground_truth, detections, ["thing"], [1])[0]


def random_case(seed, images=12, category_ids=(0, 7, 3)):
    """Boxes and noisy detections of them; the last images stay empty, one way or the other."""
    rng = np.random.default_rng(seed)
    ground_truth, detections = [], []
    for image in range(images):
        for _ in range(0 if image == images - 1 else rng.integers(0, 7)):
            category = int(rng.choice(category_ids))
            box = np.concatenate([rng.uniform(0, 300, 2), np.exp(rng.uniform(2, 5.3, 2))])
            kind = rng.choice(["plain", "crowd", "difficult"], p=[0.7, 0.15, 0.15])
            area = box[2] * box[3] * rng.uniform(0.4, 1)
            ground_truth.append(
                {
                    **truth(box.tolist(), image, category),
                    "area": float(area),
                    "iscrowd": int(kind == "crowd"),
                    "difficult": bool(kind == "difficult"),
                }
            )
            for _ in range(0 if image == images - 2 else rng.integers(0, 4)):
                noisy = box + rng.normal(0, 0.1, 4) * box[[2, 3, 2, 3]]
                noisy[2:] = np.maximum(noisy[2:], 1)
                guess = category if rng.random() < 0.8 else int(rng.choice(category_ids))
                score = float(np.round(rng.random(), 1))  # ties, on purpose
                detections.append(found(noisy.tolist(), score, image, guess))
    return range(images), ground_truth, detections, ["a", "b", "c"], category_ids


SIZE = (300, 400)


def ellipse(bbox, rng):
    """The polygon of an ellipse in a box, a little askew."""
    x, y, width, height = bbox
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points = np.stack([np.cos(angles), np.sin(angles)], -1) * rng.uniform(0.8, 1, (12, 1))
    points = (points + 1) / 2 * (width, height) + (x, y)
    return points.ravel().tolist()


def random_case_of_masks(seed):
    """As `random_case`, with masks as COCO has them: polygons, and for crowds runs as numbers."""
    rng = np.random.default_rng(seed)
    image_ids, ground_truth, detections, *classes = random_case(seed)
    for item in ground_truth:
        item["segmentation"] = [ellipse(item["bbox"], rng)]
        if item["iscrowd"]:
            flat = decode(as_rle(item["segmentation"], SIZE)).ravel(order="F")
            edges = np.flatnonzero(np.diff(flat)) + 1
            counts = np.diff(edges, prepend=0, append=flat.size).tolist()
            item["segmentation"] = {"size": SIZE, "counts": [0] * int(flat[0]) + counts}
    for item in detections:
        item["segmentation"] = as_rle([ellipse(item["bbox"], rng)], SIZE)
    nothing = {"segmentation": encode(np.zeros(SIZE, bool)), "score": 0.9}
    detections += [{**ground_truth[0], **nothing}, {**ground_truth[-1], **nothing}]
    return image_ids, ground_truth, detections, *classes


def by_pycocotools(image_ids, ground_truth, detections, class_names, category_ids, iou_type="bbox"):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in image_ids],
        "categories": [{"id": i} for i in category_ids],
        "annotations": [
            {**item, "id": i, "area": 1e11 if item["difficult"] else item["area"]}
            for i, item in enumerate(ground_truth, start=1)
        ],
    }
    coco.createIndex()

    # With a box beside the mask, pycocotools would take the area from the box.
    other = {"bbox": "segmentation", "segm": "bbox"}[iou_type]

    def run(chosen):
        results = [{k: v for k, v in item.items() if k != other} for item in detections]
        evaluation = COCOeval(coco, coco.loadRes(results), iou_type)
        evaluation.params.catIds = list(chosen)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation

    whole = run(category_ids)
    metrics = dict(zip(("AP", "AP50", "AP75"), whole.stats[:3], strict=True))
    metrics |= dict(zip(("AP_small", "AP_medium", "AP_large"), whole.stats[3:6], strict=True))
    for percent in (60, 70, 80, 90):
        at = [round(t * 100) for t in whole.params.iouThrs].index(percent)
        precision = whole.eval["precision"][at, :, :, 0, -1]
        metrics[f"AP{percent}"] = precision[precision > -1].mean()
    per_class = {
        name: run([category]).stats[0]
        for name, category in zip(class_names, category_ids, strict=True)
    }
    return metrics, per_class


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools(seed, capsys):
    case = random_case(seed)
    expected, expected_per_class = by_pycocotools(*case)
    capsys.readouterr()
    metrics, per_class = coco_metrics(*case)
    assert capsys.readouterr().out == ""
    assert set(metrics) == set(METRICS) == set(expected)
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(100 * value, abs=1e-7), name
    for name, value in expected_per_class.items():
        assert per_class[name] == pytest.approx(100 * value, abs=1e-7), name
    assert 5 < metrics["AP"] < 95


@pytest.mark.parametrize("seed", range(3))
def test_masks_equal_pycocotools(seed, capsys):
    case = random_case_of_masks(seed)
    image_ids, ground_truth, detections, *classes = case
    expected, expected_per_class = by_pycocotools(*case, iou_type="segm")
    of_boxes, _ = by_pycocotools(*case)
    capsys.readouterr()
    in_runs = [{**i, "segmentation": as_rle(i["segmentation"], SIZE)} for i in ground_truth]
    everything = (image_ids, in_runs, detections, *classes)
    metrics, per_class = coco_metrics(*everything, iou_type="segm")
    assert capsys.readouterr().out == ""
    assert {k: v / 100 for k, v in metrics.items()} == pytest.approx(expected, abs=1e-9)
    assert {k: v / 100 for k, v in per_class.items()} == pytest.approx(expected_per_class, abs=1e-9)
    again, _ = coco_metrics(*everything)
    assert {k: v / 100 for k, v in again.items()} == pytest.approx(of_boxes, abs=1e-9)
    assert 5 < metrics["AP"] < 95 and abs(metrics["AP"] - again["AP"]) > 0.1


def test_masks_by_hand():
    """The same box, 16 x 16. Found is the left half: IoU 1/2 with all, 1/3 with the right 3/4."""
    box = (0, 0, 16, 16)

    def of_columns(first, last):
        picture = np.zeros((20, 20), bool)
        picture[:16, first:last] = True
        return {"segmentation": encode(picture)}

    def ap(mask, flags=None):
        return coco_metrics(
            [0],
            [truth(box, **mask, **(flags or {})), truth((18, 18, 2, 2), **of_columns(18, 19))],
            [{**found(box, 0.9), **of_columns(0, 8)}, {**HIT, **of_columns(18, 19)}],
            ["thing"],
            [1],
            iou_type="segm",
        )[0]

    assert ap(of_columns(0, 8))["AP"] == pytest.approx(100)
    assert ap(of_columns(0, 16))["AP50"] == pytest.approx(100)
    assert ap(of_columns(0, 16))["AP60"] == pytest.approx(100 * 51 / 101 / 2)
    assert ap(of_columns(4, 16))["AP50"] == pytest.approx(100 * 51 / 101 / 2)
    # Half a crowd: all of what was found lies in it. A quarter outside: 3/4 do.
    assert ap(of_columns(0, 16), {"iscrowd": 1})["AP"] == pytest.approx(100)
    quarter_outside = ap(of_columns(2, 16), {"iscrowd": 1})
    assert (quarter_outside["AP75"], quarter_outside["AP80"]) == pytest.approx((100, 50))


def test_perfect_predictions_score_100_in_every_class():
    ids = (0, 5, 2)
    boxes = [(0, 0, 20, 20), (30, 10, 50, 50), (5, 5, 200, 120)]
    ground_truth = [truth(box, image, i) for image in range(2) for i in ids for box in boxes]
    detections = [
        found(item["bbox"], 0.5, item["image_id"], item["category_id"]) for item in ground_truth
    ]
    metrics, per_class = coco_metrics(range(2), ground_truth, detections, "abc", ids)
    assert metrics == dict.fromkeys(METRICS, 100.0)
    assert per_class == {"a": 100.0, "b": 100.0, "c": 100.0}


def test_nothing_found_is_zero_and_nothing_to_find_is_none():
    ground_truth = [truth((0, 0, 20, 20))]
    metrics = one_class(ground_truth, [])
    assert metrics["AP"] == metrics["AP50"] == metrics["AP_small"] == 0.0
    assert metrics["AP_medium"] is metrics["AP_large"] is None
    nothing = dict.fromkeys(METRICS)
    assert one_class([], []) == nothing
    assert one_class([], [found((0, 0, 9, 9), 0.9)]) == nothing
    assert one_class([truth((0, 0, 20, 20), iscrowd=1)], []) == nothing
    assert one_class([truth((0, 0, 20, 20), difficult=True)], []) == nothing


def test_class_without_objects_does_not_count():
    metrics, per_class = coco_metrics(
        [0],
        [truth((0, 0, 40, 40))],
        [found((0, 0, 40, 40), 0.9), found((0, 0, 40, 40), 0.9, category=2)],
        ["thing", "absent"],
        [1, 2],
    )
    assert metrics["AP"] == 100.0
    assert per_class == {"thing": 100.0, "absent": None}


def test_thresholds_by_hand():
    """A 10 x 10 object, found 7.2 wide: IoU 0.72 passes 0.50, 0.55, 0.60, 0.65 and 0.70."""
    metrics = one_class([truth((0, 0, 10, 10))], [found((0, 0, 7.2, 10), 0.9)])
    assert metrics["AP"] == pytest.approx(50)
    assert [metrics[f"AP{t}"] for t in (50, 60, 70, 75, 80, 90)] == [100, 100, 100, 0, 0, 0]


def test_a_false_alarm_with_the_better_score_halves_precision():
    detections = [found((50, 50, 9, 9), 0.9), found((0, 0, 10, 10), 0.8)]
    assert one_class([truth((0, 0, 10, 10))], detections)["AP"] == pytest.approx(50)


DIFFICULT, PLAIN = (0, 0, 10, 10), (50, 50, 10, 10)
HIT = found(PLAIN, 0.5)


@pytest.mark.parametrize(
    ("flags", "detections", "expected"),
    [
        # Neither a miss when it is not found, nor a false alarm when it is.
        ({"difficult": True}, [], 100),
        ({"difficult": True}, [found(DIFFICULT, 0.9)], 100),
        # A second box on it is a false alarm: precision 1/2. A crowd takes any number.
        ({"difficult": True}, [found(DIFFICULT, 0.9), found(DIFFICULT, 0.8)], 50),
        ({"iscrowd": 1}, [found(DIFFICULT, 0.9), found(DIFFICULT, 0.8)], 100),
        # A quarter of it: IoU 0.25, no match. In a crowd the box's own area is the measure.
        ({"difficult": True}, [found((0, 0, 5, 5), 0.9)], 50),
        ({"iscrowd": 1}, [found((0, 0, 5, 5), 0.9)], 100),
        # An ordinary object: recall stops at 51 of 101 points when it is missed; with a duplicate
        # in between, the second half of recall has precision 2/3.
        ({}, [], 100 * 51 / 101),
        ({}, [found(DIFFICULT, 0.9), found(DIFFICULT, 0.8)], 100 * (51 + 50 * 2 / 3) / 101),
    ],
)
def test_difficult_and_crowd_by_hand(flags, detections, expected):
    metrics = one_class([truth(DIFFICULT, **flags), truth(PLAIN)], [*detections, HIT])
    assert metrics["AP"] == pytest.approx(expected)
    assert metrics["AP_small"] == pytest.approx(expected)


def test_size_is_the_annotated_area():
    metrics = one_class([{**truth((0, 0, 200, 200)), "area": 1000}], [found((0, 0, 200, 200), 0.9)])
    assert metrics["AP_small"] == 100
    assert metrics["AP_medium"] is metrics["AP_large"] is None


def test_arguments_are_left_as_they_were():
    ground_truth, detections = [truth(PLAIN)], [found(PLAIN, 0.5)]
    one_class(ground_truth, detections)
    assert ground_truth == [truth(PLAIN)] and detections == [found(PLAIN, 0.5)]
    mask = {"segmentation": encode(np.ones((60, 60), bool))}
    ground_truth, detections = [truth(PLAIN, **mask)], [{**found(PLAIN, 0.5), **mask}]
    coco_metrics([0], ground_truth, detections, ["thing"], [1], iou_type="segm")
    assert ground_truth == [truth(PLAIN, **mask)] and detections == [{**found(PLAIN, 0.5), **mask}]


def test_ious_of_boxes_by_hand():
    """Of 10 x 10 px: shifted by half, apart, a quarter within, and no area."""
    box, empty = [0, 0, 10, 10], [0, 0, 0, 0]
    others = [box, [5, 0, 10, 10], [30, 0, 10, 10], [2.5, 2.5, 5, 5], empty]
    assert box_ious([box], others)[0].tolist() == pytest.approx([1, 1 / 3, 0, 0.25, 0])
    assert box_ious([empty], [empty]).tolist() == [[0]]
    assert box_ious([], others).shape == (0, 5) and box_ious(others, []).shape == (5, 0)
