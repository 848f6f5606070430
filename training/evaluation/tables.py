"""What an evaluation came to, as tables for a terminal."""

from rich import box
from rich.console import Group
from rich.table import Table

from harmonic_tf.training.evaluation.average_precision import METRICS
from harmonic_tf.training.evaluation.evaluator import Evaluation
from harmonic_tf.training.evaluation.test_time_augmentation import MergedEvaluation


def metrics_table(evaluation: Evaluation) -> Group:
    """The tables of an evaluation, for `rich.print`.

    Args:
        evaluation: Evaluation.

    Returns:
        A renderable: the metrics, then AP of each class; of boxes, and of masks if they were
        compared.
    """
    counts = evaluation.counts
    title = f"{counts['images']} images, {counts['objects']} objects"
    ignored = [f"{counts[kind]} {kind}" for kind in ("crowd", "difficult") if counts[kind]]
    if ignored:
        title += f"; ignored: {', '.join(ignored)}"
    if not counts["objects"]:
        title += "\nno AP: there is no object that counts"
    if counts["without_mask"]:
        title += f"\nno segm AP: {counts['without_mask']} objects have no mask"
    style = {"box": box.SIMPLE_HEAD, "header_style": "bold", "padding": 0, "collapse_padding": True}
    row = [*(_percent(evaluation.metrics[name]) for name in METRICS)]
    row += [_fraction(evaluation.metrics["AIC"]), _fraction(evaluation.mean_p)]
    rows, columns = {"": row}, {"AP": evaluation.per_class}
    if evaluation.segm_per_class:
        of_masks = [_percent(evaluation.metrics[f"segm_{name}"]) for name in METRICS]
        rows, columns["segm AP"] = {"box": row, "segm": of_masks}, evaluation.segm_per_class
    summary = Table(title=title, title_justify="left", **style)
    summary.add_column("")
    for name in (*METRICS, "AIC", "mean p"):
        summary.add_column(name.replace("AP_", ""), justify="right")
    for name, row in rows.items():
        summary.add_row(name, *row)
    classes = Table(**style)
    classes.add_column("class")
    for name in columns:
        classes.add_column(name, justify="right")
    for name in evaluation.per_class:
        classes.add_row(name, *(_percent(values[name]) for values in columns.values()))
    return Group(summary, classes)


def merged_table(result: MergedEvaluation) -> Group:
    """The tables of an evaluation of several views, for `rich.print`: each alone, then merged."""
    names = [name for name in METRICS if name in ("AP", "AP50", "AP75") or "_" in name]
    known = f"of {result.own}" if result.own else "not known: no view is the model as it is"
    views = Table(
        title="each view alone",
        title_justify="left",
        caption=f"merged; AIC and mean p: {known}",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        header_style="bold",
    )
    views.add_column("view")
    for name in names:
        views.add_column(name.replace("AP_", ""), justify="right")
    for name, evaluation in result.views.items():
        values = (evaluation.metrics[metric] for metric in names)
        views.add_row(name, *("-" if value is None else f"{value:.1f}" for value in values))
    return Group(views, metrics_table(result.merged))


def _percent(value):
    return "-" if value is None else f"{value:.1f}"


def _fraction(value):
    return "-" if value is None else f"{value:.3f}"
