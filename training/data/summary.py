"""What a person wants to know about a data set before training on it."""

import colorsys
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harmonic_tf.training.data.checks import problem_report
from harmonic_tf.training.data.masks import frame_mask
from harmonic_tf.training.data.samples import DetectionData, Record

# COCO's limits: objects below 32 x 32 px are small, from 96 x 96 px on large.
SIZE_LIMITS = (32.0**2, 96.0**2)
NAMED_PROBLEMS = 20
SHEET_PICTURES = 16
SHEET_COLUMNS = 4
CELL = (400, 300)
MARGIN = 12
CAPTION = 24
TINT = 0.5


def describe(data: DetectionData, output_dir: str | Path, console: Console | None = None) -> Path:
    """Prints a summary of the data and draws a contact sheet of pictures with boxes and masks.

    Args:
        data: DetectionData.
        output_dir: str or Path. Is made if it does not exist; contact_sheet.png goes there.
        console: rich Console. Defaults to standard output.

    Returns:
        Path of the contact sheet.

    Example:
        >>> describe(load_data("shapes:train=20"), "runs/shapes")
    """
    console = console or Console()
    for part in (_overview(data), _classes(data), _problems(data)):
        if part is not None:
            console.print(part)
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "contact_sheet.png"
    contact_sheet(data).save(file)
    console.print(f"Contact sheet: {file}", highlight=False, soft_wrap=True)
    return file


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
        "pictures": f"{len(data)}, {int((counts == 0).sum())} of them without objects",
        "picture width": _quantiles([record.width for record in data.records]) + " px",
        "picture height": _quantiles([record.height for record in data.records]) + " px",
        "objects": f"{counts.sum()} of {len(data.class_names)} classes",
        "objects a picture": _quantiles(counts),
        "box width": _quantiles(boxes[:, 2] - boxes[:, 0]) + " px",
        "box height": _quantiles(boxes[:, 3] - boxes[:, 1]) + " px",
        "object sizes": ", ".join(
            f"{n} {name} ({100 * n / total:.0f} %)" for name, n in sizes.items()
        ),
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


def _classes(data: DetectionData) -> Table:
    table = Table("class", title="boxes a class", title_justify="left")
    for heading in ("boxes", "share", "pictures", "width", "height"):
        table.add_column(heading, justify="right")
    classes = np.concatenate([record.objects.classes for record in data.records])
    boxes = np.concatenate([record.objects.boxes for record in data.records])
    for index, name in enumerate(data.class_names):
        own = boxes[classes == index]
        pictures = sum(index in record.objects.classes for record in data.records)
        median = np.median(own[:, 2:] - own[:, :2], axis=0) if len(own) else (np.nan, np.nan)
        table.add_row(
            name,
            str(len(own)),
            f"{100 * len(own) / max(1, len(boxes)):.1f} %",
            str(pictures),
            *("-" if np.isnan(m) else f"{m:.0f} px" for m in median),
        )
    table.caption = "width and height: medians"
    return table


def _problems(data: DetectionData) -> Text | None:
    if not data.problems:
        return None
    return Text(f"Left out, by reason:\n{problem_report(data.problems, NAMED_PROBLEMS)}")


def contact_sheet(data: DetectionData) -> Image.Image:
    """Some pictures, spread over the data, with their boxes, masks and class names."""
    chosen = np.linspace(0, len(data) - 1, min(SHEET_PICTURES, len(data))).round().astype(int)
    rows = -(-len(chosen) // SHEET_COLUMNS)
    columns = min(SHEET_COLUMNS, len(chosen))
    size = (
        MARGIN + columns * (CELL[0] + MARGIN),
        MARGIN + rows * (CELL[1] + CAPTION + MARGIN),
    )
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for place, index in enumerate(chosen):
        row, column = divmod(place, SHEET_COLUMNS)
        left = MARGIN + column * (CELL[0] + MARGIN)
        top = MARGIN + row * (CELL[1] + CAPTION + MARGIN)
        record = data.records[index]
        picture = _picture(record, data.class_names)
        sheet.paste(picture, (left + (CELL[0] - picture.width) // 2, top))
        count = f"{len(record.objects)} object{'s' * (len(record.objects) != 1)}"
        caption = (left, top + picture.height + 4)
        pen.text(caption, f"{record.name}   {count}", fill="#444444", font=_font(14))
    return sheet


def _picture(record: Record, class_names: tuple[str, ...]) -> Image.Image:
    """One picture, scaled to its cell, with its boxes and masks."""
    with Image.open(io.BytesIO(record.read())) as encoded:
        picture = encoded.convert("RGB")
    scale = min(CELL[0] / picture.width, CELL[1] / picture.height)
    size = (round(picture.width * scale), round(picture.height * scale))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    colours = [_colour(int(index), len(class_names)) for index in record.objects.classes]
    boxes = record.objects.boxes * scale
    for index, segmentation in enumerate(record.objects.segmentations):
        if segmentation is not None:
            mask = frame_mask(segmentation, record.objects.boxes[index])
            _tint(picture, mask, boxes[index], colours[index])
    pen = ImageDraw.Draw(picture)
    for box, colour in zip(boxes, colours, strict=True):
        pen.rectangle(tuple(box.tolist()), outline=colour, width=2)
    for box, index, colour in zip(boxes, record.objects.classes, colours, strict=True):
        _label(pen, class_names[index], box[:2], colour, size)
    return picture


def _tint(picture: Image.Image, mask: np.ndarray, box, colour: tuple[int, int, int]):
    """Mixes a colour into the pixels of a mask `(S, S)`, 0..255, that fills a box."""
    left, top, right, bottom = (round(float(edge)) for edge in box)
    share = Image.fromarray(mask).resize((max(1, right - left), max(1, bottom - top)))
    picture.paste(colour, (left, top), share.point(lambda value: TINT * value))


def _label(pen: ImageDraw.ImageDraw, text: str, corner, colour, size: tuple[int, int]):
    """A class name on its colour, above the box's corner or, at the picture's top, inside it."""
    font = _font(11)
    width, height = font.getbbox(text)[2] + 4, 14
    left = min(max(0.0, float(corner[0])), size[0] - width)
    top = float(corner[1]) - height if corner[1] >= height else float(corner[1])
    pen.rectangle((left, top, left + width, top + height), fill=colour)
    pen.text((left + 2, top), text, fill=_ink(colour), font=font)


def _colour(index: int, count: int) -> tuple[int, int, int]:
    """Colours as far apart as their number allows."""
    red, green, blue = colorsys.hsv_to_rgb((0.02 + index / max(1, count)) % 1, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _ink(colour: tuple[int, int, int]) -> str:
    """Black or white, whichever reads better on a colour."""
    red, green, blue = colour
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _font(size: int):
    return ImageFont.load_default(size=size)
