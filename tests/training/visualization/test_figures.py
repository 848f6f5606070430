from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from harmonic_tf.training.visualization import figures

HISTORY = """epoch,loss,classification_loss,box_loss,beta_r,beta_c,inconsistency,mean_p,AP,AP50,AP75
1,3.0,1.5,1.0,0.1,0.2,0.5,0.1,,,
2,2.0,1.0,0.8,0.4,0.3,0.4,0.3,20,40,18
3,1.5,0.8,0.6,0.6,0.5,0.3,0.5,,,
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "history.csv").write_text(HISTORY)
    return tmp_path


def evaluation(ground_truth, detections):
    return SimpleNamespace(ground_truth=ground_truth, detections=detections)


def box(x, score=None, image=0, category=1, crowd=0):
    more = {"iscrowd": crowd} if score is None else {"score": score}
    return {"image_id": image, "category_id": category, "bbox": [x, 0, 10, 10], **more}


def drawn(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


def test_history_reads_empty_cells_as_nan(run):
    history = figures.read_history(run)
    assert history["loss"].tolist() == [3.0, 2.0, 1.5]
    np.testing.assert_array_equal(history["AP"], [np.nan, 20, np.nan])
    assert "contrastive_loss" not in history


def test_a_history_of_an_older_run_is_read_by_the_present_names(run):
    (run / "history.csv").write_text(HISTORY.replace("inconsistency", "aic"))
    assert figures.read_history(run)["inconsistency"].tolist() == [0.5, 0.4, 0.3]


def test_history_with_a_word_or_without_rows(run):
    (run / "history.csv").write_text("epoch,loss\n1,much\n")
    with pytest.raises(ValueError, match="history.csv: expected a number"):
        figures.read_history(run)
    (run / "history.csv").write_text("epoch,loss\n")
    assert figures.read_history(run) == {}
    assert figures.save_run_figures(run) == []


def test_curves_skip_epochs_without_evaluation_and_missing_columns(run):
    losses, precisions = figures.training_curves(figures.read_history(run)).axes
    assert set(drawn(losses)) == {"total", "classification", "box"}
    assert drawn(losses)["total"] == [[1, 3], [2, 2], [3, 1.5]]
    assert drawn(precisions) == {"AP": [[2, 20]], "AP50": [[2, 40]], "AP75": [[2, 18]]}


def test_curves_show_masks_where_there_are_any(run):
    text = HISTORY.replace("AP75", "AP75,segm_AP,mask_loss").replace("18", "18,15,0.4")
    (run / "history.csv").write_text(text.replace(",,,", ",,,,,"))
    losses, precisions = figures.training_curves(figures.read_history(run)).axes
    assert drawn(precisions)["AP of masks"] == [[2, 15]]
    assert drawn(losses)["masks"] == [[2, 0.4]]


def test_every_curve_has_a_colour_of_its_own():
    assert len(set(figures.COLORS)) == len(figures.COLORS) >= len(figures.LOSSES)


def test_a_loss_that_no_name_is_known_for_is_drawn_too():
    """And the eleventh has the first one's colour, dashed."""
    history = {name: np.ones(3) for name in (*figures.LOSSES, "centre_ness_loss")}
    losses, _ = figures.training_curves(history).axes
    assert list(drawn(losses))[-1] == "centre ness"
    first, *_, last = losses.lines
    assert (first.get_linestyle(), last.get_linestyle()) == ("-", "--")
    assert first.get_color() == last.get_color()


def test_factors_are_one_plus_beta(run):
    (axes,) = figures.harmonic_factors(figures.read_history(run)).axes
    of_score, of_box = drawn(axes).values()
    np.testing.assert_allclose(of_score, [[1, 1.1], [2, 1.4], [3, 1.6]])
    np.testing.assert_allclose(of_box, [[1, 1.2], [2, 1.3], [3, 1.5]])


def test_inconsistency_shows_the_mean_score_too(run):
    (axes,) = figures.inconsistency(figures.read_history(run)).axes
    assert [line[-1] for line in drawn(axes).values()] == [[3, 0.3], [3, 0.5]]


def test_pairs_by_hand():
    """Shifted by 5 of 10: IoU 50 / 150. Other images, other classes and crowds do not count."""
    truth = [
        box(0),
        box(20),
        box(100, image=1),
        box(200, category=2),
        box(300, crowd=1),
    ]
    found = [
        box(5, 0.9),
        box(20, 0.8),
        box(100, 0.7),
        box(200, 0.6),
        box(300, 0.5),
        box(0, 0.4, image=5),
        box(0, 0.3, category=9),
    ]
    scores, ious = figures.score_iou_pairs(evaluation(truth, found))
    assert dict(zip(scores.tolist(), ious.tolist(), strict=True)) == pytest.approx(
        {0.9: 1 / 3, 0.8: 1, 0.7: 0, 0.6: 0, 0.5: 0, 0.4: 0, 0.3: 0}
    )


def test_pairs_and_share_of_nothing():
    scores, ious = figures.score_iou_pairs(evaluation([], []))
    assert scores.shape == ious.shape == (0,)
    assert figures.harmonious_share(scores, ious) is None


def test_share_by_hand():
    """0.72 and 0.54 are above one half; 0.5 itself, 0.36 and 0 are not."""
    scores, ious = np.array([0.9, 0.9, 0.5, 0.9, 1.0]), np.array([0.8, 0.6, 1.0, 0.4, 0.0])
    assert figures.harmonious_share(scores, ious) == pytest.approx(0.4)
    (axes, _) = figures.consistency(scores, ious).axes
    assert "40.0 % of 5 detections" in axes.get_title(loc="left")


def test_figures_of_a_run_are_written(run):
    result = evaluation([box(0), box(20)], [box(1, 0.9), box(21, 0.8)])
    written = figures.save_run_figures(run, result)
    assert [path.name for path in written] == [
        "curves.png",
        "factors.png",
        "aic.png",
        "consistency.png",
    ]
    for path in written:
        with Image.open(path) as image:
            assert min(image.size) > 400
            assert np.asarray(image).std() > 5


@pytest.mark.parametrize("count", [0, 1])
def test_few_detections_are_drawn(tmp_path, count):
    pairs = np.full(count, 0.9), np.full(count, 0.8)
    figures.save_figure(figures.consistency(*pairs), tmp_path / "consistency.png")


def test_a_run_without_factors_has_no_such_figure(run):
    (run / "history.csv").write_text("epoch,loss,beta_r\n1,3.0,\n2,2.0,\n")
    assert [path.name for path in figures.save_run_figures(run)] == ["curves.png"]
