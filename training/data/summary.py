"""What a person wants to know about a data set before training on it."""

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harmonic_tf.training.console import plain_console
from harmonic_tf.training.data.box_statistics import (
    INPUTS,
    aspect_ratios,
    input_sizes,
    share_by_place,
)
from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.data.near_duplicates import near_duplicates
from harmonic_tf.training.data.problems import problem_report
from harmonic_tf.training.data.small import small_objects
from harmonic_tf.training.data.splits import overlap

# COCO's limits: objects below 32 x 32 px are small, from 96 x 96 px on large.
SIZE_LIMITS = (32.0**2, 96.0**2)
NAMED_PROBLEMS = 20
NAMED_PAIRS = 10


def print_summary(data: DetectionData, console: Console | None = None):
    """Prints how many images and objects there are, of which classes and sizes, and what is wrong.

    Args:
        data: DetectionData.
        console: rich Console. Defaults to standard output, names as they are.

    Example:
        >>> print_summary(load_data("shapes:train=20"))
    """
    console = console or plain_console()
    for note in data.notes:
        console.print(note, soft_wrap=True)
    for part in (_overview(data), _classes(data), _inputs(data), _places(data), _problems(data)):
        if part is not None:
            console.print(part, soft_wrap=isinstance(part, Text))


def print_common(train_data: DetectionData, eval_data: DetectionData, console: Console):
    """Prints how many images are in both splits, and which look the same.

    Args:
        train_data: DetectionData.
        eval_data: DetectionData.
        console: rich Console.
    """
    console.print(f"{train_data.split} and {eval_data.split}: {overlap(train_data, eval_data)}")
    pairs = near_duplicates(train_data, eval_data)
    alike = [pair for pair in pairs if pair.evaluated.digest != pair.trained.digest]
    console.print(f"{len(alike)} more look like one to train on")
    for evaluated, trained in alike[:NAMED_PAIRS]:
        console.print(f"  {evaluated.name} looks like {trained.name}")
    if len(alike) > NAMED_PAIRS:
        console.print(f"  ... and {len(alike) - NAMED_PAIRS} more")


def _quantiles(values, form="{:.0f}") -> str:
    """Smallest, quartiles and largest, as text."""
    if not len(values):
        return "-"
    return " / ".join(form.format(v) for v in np.quantile(values, (0, 0.25, 0.5, 0.75, 1)))


def _overview(data: DetectionData) -> Table:
    objects = [record.objects for record in data.records]
    counts = np.array([len(o) for o in objects])
    with_mask = sum(mask is not None for o in objects for mask in o.segmentations)
    boxes = np.concatenate([o.boxes for o in objects])
    areas = np.concatenate([o.area for o in objects])
    small, medium = (int((areas < limit).sum()) for limit in SIZE_LIMITS)
    total = max(1, len(areas))
    sizes = {
        "small": small,
        "medium": medium - small,
        "large": len(areas) - medium,
    }
    table = Table(title=f"{data.name}, {data.split}", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    rows = {
        "images": f"{len(data)}, {int((counts == 0).sum())} of them without objects",
        "image width": _quantiles([record.width for record in data.records]) + " px",
        "image height": _quantiles([record.height for record in data.records]) + " px",
        "objects": f"{counts.sum()} of {len(data.class_names)} classes",
        "objects an image": _quantiles(counts),
        "box width": _quantiles(boxes[:, 2] - boxes[:, 0]) + " px",
        "box height": _quantiles(boxes[:, 3] - boxes[:, 1]) + " px",
        "box width : height": _quantiles(aspect_ratios(data), "{:.2f}"),
        "object sizes": ", ".join(
            f"{n} {name} ({100 * n / total:.0f} %)" for name, n in sizes.items()
        ),
        "below a pixel": _small(data),
        "masks": f"{with_mask} of {counts.sum()} objects",
        "difficult, crowd": ", ".join(
            str(int(sum(flags.sum() for flags in column)))
            for column in ([o.difficult for o in objects], [o.crowd for o in objects])
        ),
        "boxes cut at the border": str(data.clipped),
        "problems": str(len(data.problems)),
    }
    for name, text in rows.items():
        table.add_row(name, text)
    table.caption = "a / b / c / d / e: smallest, quartiles, largest"
    return table


def _small(data: DetectionData) -> str:
    """How many objects vanish in inputs of usual sizes, and which size keeps them all."""
    counts = [(size, small_objects(data, size)) for size in INPUTS]
    gone = [f"{found.count} in an input of {h} x {w}" for (h, w), found in counts if found.count]
    if not gone:
        return "0"
    height, width = small_objects(data, (1, 1)).keeping
    return f"{', '.join(gone)}; all are kept by {height} x {width}"


def _classes(data: DetectionData) -> Table:
    table = Table("class", title="boxes a class", title_justify="left")
    for heading in ("boxes", "share", "images", "width", "height"):
        table.add_column(heading, justify="right")
    classes = np.concatenate([record.objects.classes for record in data.records])
    boxes = np.concatenate([record.objects.boxes for record in data.records])
    shown = np.concatenate([np.unique(record.objects.classes) for record in data.records])
    for index, name in enumerate(data.class_names):
        own = boxes[classes == index]
        median = np.median(own[:, 2:] - own[:, :2], axis=0) if len(own) else (np.nan, np.nan)
        table.add_row(
            name,
            str(len(own)),
            f"{100 * len(own) / max(1, len(boxes)):.1f} %",
            str(np.count_nonzero(shown == index)),
            *("-" if np.isnan(m) else f"{m:.0f} px" for m in median),
        )
    table.caption = "width and height: medians"
    return table


def _inputs(data: DetectionData) -> Table:
    table = Table("input", title="sizes as the network sees them", title_justify="left")
    table.add_column("smallest / quartiles / largest", justify="right")
    for height, width in INPUTS:
        sizes = _quantiles(input_sizes(data, (height, width)))
        table.add_row(f"{height} x {width}", f"{sizes} px")
    table.caption = "square root of the box's area"
    return table


def _places(data: DetectionData) -> Table:
    table = Table("", title="where the boxes' middles lie", title_justify="left")
    for heading in ("left", "centre", "right"):
        table.add_column(heading, justify="right")
    for name, row in zip(("top", "centre", "bottom"), share_by_place(data), strict=True):
        table.add_row(name, *(f"{100 * share:.0f} %" for share in row))
    return table


def _problems(data: DetectionData) -> Text | None:
    if not data.problems:
        return None
    return Text(f"Left out, by reason:\n{problem_report(data.problems, NAMED_PROBLEMS)}")
