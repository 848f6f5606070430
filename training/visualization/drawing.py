"""Images with boxes, masks, class names and scores on them."""

import math

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from harmonic_tf.training.console import printable

# Okabe and Ito's colours, which colour-blind people tell apart, and three more for many classes.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
    (240, 228, 66),
    (136, 34, 85),
    (153, 153, 51),
    (51, 34, 136),
)
# Detections with a lower score are not drawn.
DISPLAY_THRESHOLD = 0.4
READABLE_SIDE = 480
MASK_OPACITY = 0.45


def class_color(index):
    """The colour of a class, as (red, green, blue) of 0 to 255; the palette repeats."""
    return PALETTE[int(index) % len(PALETTE)]


def draw_boxes(image, boxes, classes, class_names, scores=None, ground_truth=None, masks=None):
    """Draws boxes with their names, scores and masks; the best-scored lie on top.

    A small image is enlarged by a whole factor first, so that names stay readable.

    Args:
        image: uint8 array (H, W, 3).
        boxes: array (N, 4). xyxy in pixels.
        classes: int array (N,). Class index.
        class_names: sequence of str. Class index -> name.
        scores: array (N,) or None. From 0 to 1. Defaults to `None`: names only.
        ground_truth: array (M, 4) or None. True boxes, drawn as thin dashed outlines.
        masks: sequence of N bool arrays (H, W), or None. The objects' pixels. Defaults to `None`.

    Returns:
        PIL.Image.Image, RGB.

    Raises:
        ValueError: If `image` is no uint8 array (H, W, 3).

    Example:

    >>> image = draw_boxes(np.zeros((300, 600, 3), "uint8"), [[10, 40, 99, 99]], [0], ["cat"])
    >>> image.size
    (1200, 600)
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"expected a uint8 image (H, W, 3); received {image.dtype} {image.shape}")
    factor = max(1, math.ceil(READABLE_SIDE / min(image.shape[:2])))
    canvas = Image.fromarray(image)
    canvas = canvas.resize((canvas.width * factor, canvas.height * factor), Image.BICUBIC)
    width = max(2, round(min(canvas.size) / 220))
    font = ImageFont.load_default(max(11, round(min(canvas.size) / 36)))
    draw = ImageDraw.Draw(canvas)

    order = range(len(boxes)) if scores is None else np.argsort(scores, kind="stable").tolist()
    if masks is not None:
        for index in order:
            _fill(canvas, masks[index], class_color(classes[index]))
    for box in factor * np.reshape(ground_truth if ground_truth is not None else [], (-1, 4)):
        _dashed(draw, box.tolist(), width)
    boxes = (factor * np.reshape(boxes, (-1, 4))).tolist()
    for index in order:
        draw.rectangle(_ordered(boxes[index]), outline=class_color(classes[index]), width=width)
    for index in order:
        text = printable(" ".join(class_names[int(classes[index])].split()))
        if scores is not None:
            text += f" {float(scores[index]):.2f}"
        _label(draw, canvas.size, boxes[index], text, class_color(classes[index]), font, width)
    return canvas


def grid(images, columns=4, width=320, gap=8, captions=None):
    """Lays images of any sizes out in rows on white.

    Args:
        images: list of PIL.Image.Image, at least one.
        columns: int. Images a row. Defaults to `4`.
        width: int. Width of each in pixels; heights follow. Defaults to `320`.
        gap: int. Pixels between them. Defaults to `8`.
        captions: list of str or None. One for each image, of as many lines in each, written above
            it and cut at its width.

    Returns:
        PIL.Image.Image, RGB.
    """
    columns = min(columns, len(images))
    thumbs = [p.resize((width, round(p.height * width / p.width)), Image.LANCZOS) for p in images]
    rows = [thumbs[i : i + columns] for i in range(0, len(thumbs), columns)]
    font = ImageFont.load_default(max(12, width // 20))
    lines = 0 if captions is None else 1 + captions[0].count("\n")
    caption_height = round(1.6 * lines * font.size)
    heights = [max(p.height for p in row) + caption_height for row in rows]
    sheet = Image.new(
        "RGB",
        (columns * (width + gap) + gap, sum(heights) + gap * (len(rows) + 1)),
        "white",
    )
    for index, canvas in enumerate(thumbs):
        row, column = divmod(index, columns)
        left = gap + column * (width + gap)
        top = gap + sum(heights[:row]) + row * gap
        if captions is not None:
            caption = Image.new("RGB", (width, caption_height), "white")
            ImageDraw.Draw(caption).text((0, 0), captions[index], fill=(40, 40, 40), font=font)
            sheet.paste(caption, (left, top))
        sheet.paste(canvas, (left, top + caption_height))
    return sheet


def _ordered(box):
    x1, y1, x2, y2 = box
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


def _fill(canvas, mask, color):
    """The object's pixels in a colour that they are seen through, with an outline."""
    mask = Image.fromarray(np.asarray(mask, bool)).convert("L").resize(canvas.size, Image.BILINEAR)
    extent = mask.getbbox()
    if extent is None:
        return
    # With room around, so that the outline is closed.
    x1, y1, x2, y2 = extent
    mask = mask.crop((x1 - 1, y1 - 1, x2 + 1, y2 + 1)).point(lambda value: 255 * (value >= 128))
    inside = mask.filter(ImageFilter.MinFilter(3))
    canvas.paste(color, (x1 - 1, y1 - 1), mask.point(lambda value: MASK_OPACITY * value))
    canvas.paste(color, (x1 - 1, y1 - 1), ImageChops.subtract(mask, inside))


def _label(draw, size, box, text, color, font, width):
    """Above the box, inside it where there is no room above; always inside the image."""
    x1, y1, _, _ = _ordered(box)
    pad = width
    ascent, descent = font.getmetrics()
    length, height = draw.textlength(text, font=font) + 2 * pad, ascent + descent
    left = min(max(0, x1), max(0, size[0] - length))
    top = y1 - height if y1 >= height else y1
    top = min(max(0, top), max(0, size[1] - height))
    draw.rectangle([left, top, left + length - 1, top + height - 1], fill=color)
    bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    draw.text((left + pad, top), text, fill="black" if bright > 120 else "white", font=font)


def _dashed(draw, box, width):
    """White dashes on a dark line: seen on any image."""
    x1, y1, x2, y2 = _ordered(box)
    thin, dash = max(1, width // 2), 5 * width
    draw.rectangle([x1, y1, x2, y2], outline=(30, 30, 30), width=thin)
    for start in np.arange(x1, x2, 2 * dash).tolist():
        for y in (y1, y2):
            draw.line([start, y, min(start + dash, x2), y], fill="white", width=thin)
    for start in np.arange(y1, y2, 2 * dash).tolist():
        for x in (x1, x2):
            draw.line([x, start, x, min(start + dash, y2)], fill="white", width=thin)
