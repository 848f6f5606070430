"""What a person wants to know about a data set before training on it."""

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harmonic_tf.training.console import plain_console
from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.data.problems import problem_report
from harmonic_tf.training.data.small import small_objects

# COCO's limits: objects below 32 x 32 px are small, from 96 x 96 px on large.
SIZE_LIMITS = (32.0**2, 96.0**2)
NAMED_PROBLEMS = 20
# Inputs of the detectors' presets, height and width.
INPUTS = ((160, 208), (300, 300), (512, 512), (800, 800))


def print_summary(data: DetectionData, console: Console | None = None):
    """Prints how many images and objects there are, of which classes and sizes, and what is wrong.

    Args:
        data: DetectionData.
        console: rich Console. Defaults to standard output, names as they are.

    Example:
        >>> print_summary(load_data("shapes:train=20"))
    """
    console = console or plain_console()
    for part in (_overview(data), _classes(data), _problems(data)):
        if part is not None:
            console.print(part)


def _quantiles(values) -> str:
    """Smallest, quartiles and largest, as text."""
    if not len(values):
        return "-"
    return " / ".join(f"{value:.0f}" for value in np.quantile(values, (0, 0.25, 0.5, 0.75, 1)))


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


def _problems(data: DetectionData) -> Text | None:
    if not data.problems:
        return None
    return Text(f"Left out, by reason:\n{problem_report(data.problems, NAMED_PROBLEMS)}")
