"""Files as real tools, and bad luck, write them: what is found in them, named and used.

    python tests/training/data/broken_files.py

Every set has three images of one object each, of which the first is harmed. The table shows how
many images and objects of it `load_data` and the pipeline use, and what is named.
"""

import dataclasses
import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from folders import picture, voc_xml, write_coco, write_voc
from PIL import Image
from rich.console import Console
from rich.table import Table

from harmonic_tf.training.data import BadDataError, eval_batches, load_data

OBJECT = ("dog", (11, 11, 40, 40))
BOX = {"category_id": 1, "bbox": [10, 10, 30, 30], "iscrowd": 0}


@dataclasses.dataclass(frozen=True)
class Case:
    """One way of harming a set.

    Attributes:
        name: str. What is written.
        harm: function that changes the set: of its folder, or of the JSON's content.
        images: int. How many of the three are to be used.
        objects: int. How many of the three objects are to be used.
        problems: int. How many problems are to be named.
    """

    name: str
    harm: Callable
    images: int = 3
    objects: int = 3
    problems: int = 0


def left_out(name, harm) -> Case:
    """A case in which one image is named and left out."""
    return Case(name, harm, 2, 2, 1)


def encoded(kind, mode="RGB", orientation=None, **options) -> bytes:
    exif = Image.Exif()
    image = picture().convert(mode)
    if orientation:
        exif[0x0112] = orientation
        image = image.transpose(Image.Transpose.ROTATE_90)
        options["exif"] = exif
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def image(suffix, content: bytes) -> Callable:
    """The first image becomes another file."""

    def harm(root):
        (root / "JPEGImages/a.jpg").unlink()
        (root / f"JPEGImages/a{suffix}").write_bytes(content)

    return harm


def xml(content: str | bytes, encoding="utf-8") -> Callable:
    """The first annotation becomes another text."""
    content = content if isinstance(content, bytes) else content.encode(encoding)
    return lambda root: (root / "Annotations/a.xml").write_bytes(content)


def named(content: bytes) -> Callable:
    """The list of images becomes another text."""
    return lambda root: (root / "ImageSets/Main/train.txt").write_bytes(content)


def every(part, **values) -> Callable:
    """Every entry of a list in the JSON gets other values; functions get the entry."""

    def harm(content):
        for entry in content[part]:
            for key, value in values.items():
                entry[key] = value(entry) if callable(value) else value

    return harm


def first(part, **values) -> Callable:
    """The first entry of a list in the JSON gets other values; None takes one away."""

    def harm(content):
        content[part][0].update(values)
        for key in [k for k, v in values.items() if v is None]:
            del content[part][0][key]

    return harm


def wrong_checksum() -> bytes:
    content = bytearray(encoded("PNG"))
    content[60:64] = b"\1\2\3\4"
    return bytes(content)


def large_png() -> bytes:
    content = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(content, "PNG")
    return content.getvalue()


def declared(encoding, label="dog") -> str:
    return f'<?xml version="1.0" encoding="{encoding}"?>{voc_xml([(label, OBJECT[1])])}'


def images_by_name(content):
    every("images", id=lambda e: e["file_name"])(content)
    every("annotations", image_id=lambda e: f"{e['image_id']}.jpg")(content)


def categories_by_name(content):
    every("categories", id="dog")(content)
    every("annotations", category_id="dog")(content)


IMAGES = (
    Case("JPEG, EXIF orientation 6", image(".jpg", encoded("JPEG", orientation=6))),
    Case("PNG, EXIF orientation 6", image(".png", encoded("PNG", orientation=6))),
    Case("BMP with a palette", image(".bmp", encoded("BMP", "P"))),
    Case("BMP of 1 bit", image(".bmp", encoded("BMP", "1"))),
    Case("PNG with alpha", image(".png", encoded("PNG", "RGBA"))),
    Case("GIF", image(".gif", encoded("GIF"))),
    Case("WebP", image(".webp", encoded("WEBP"))),
    Case("TIFF", image(".tif", encoded("TIFF"))),
    Case("MPO", image(".jpg", encoded("MPO"))),
    Case("CMYK JPEG", image(".Jpg", encoded("JPEG", "CMYK"))),
    left_out("PNG with a wrong checksum", image(".png", wrong_checksum())),
    left_out("JPEG without its end", image(".jpg", encoded("JPEG")[:-30])),
    left_out("text in a .jpg", image(".jpg", b"not an image")),
    left_out("144 megapixels", image(".png", large_png())),
    left_out("no file", lambda root: (root / "JPEGImages/a.jpg").unlink()),
    left_out(
        "size of the stored pixels",
        lambda root: (
            image(".jpg", encoded("JPEG", orientation=6))(root),
            xml(voc_xml([OBJECT], (60, 80)))(root),
        ),
    ),
)
VOC = (
    Case("XML in GB2312", xml(declared("gb2312", "狗"), "gb2312")),
    left_out("XML in an unknown encoding", xml(declared("utf8mb4"))),
    left_out("XML, not in its encoding", xml(declared("utf-8", "狗"), "gbk")),
    left_out("XML that is cut", xml(voc_xml([OBJECT])[:80])),
    left_out("XML with entities", xml('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>')),
    Case("object without a name", xml(voc_xml([("", (1, 1, 9, 9)), OBJECT])), 3, 3, 1),
    Case("list with a byte-order mark", named(b"\xef\xbb\xbfa\nb\nc\n")),
    Case("list of one class", named(b"a 1\nb -1\nc 0\n")),
    Case("id that leads out", named(b"../../a\nb\nc\n"), 2, 2, 1),
)
COCO = (
    Case("image ids as text", images_by_name),
    Case("category ids as text", categories_by_name),
    Case("annotation ids all 0", every("annotations", id=0)),
    Case("iscrowd as text", every("annotations", iscrowd="0")),
    Case("sizes as text", every("images", height="60", width="80")),
    Case("no bbox", first("annotations", bbox=None), 2, 2, 2),
    Case("polygon of 2 points", first("annotations", segmentation=[[1, 2, 3, 4]]), 3, 3, 1),
    Case("flat polygon", first("annotations", segmentation=[1, 1, 9, 1, 9, 9])),
    Case("file name that is a number", first("images", file_name=7), 2, 2, 1),
    Case("file name that leads out", first("images", file_name="/etc/hostname"), 2, 2, 1),
)


def voc_set(root: Path, case: Case) -> str:
    write_voc(root, dict.fromkeys("abc", ([OBJECT], None)), {"train": list("abc")})
    case.harm(root)
    return f"voc:{root}"


def coco_set(root: Path, case: Case) -> str:
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in (1, 2, 3)]
    annotations = [{**BOX, "id": n, "image_id": n} for n in (1, 2, 3)]
    write_coco(root, images, annotations, [{"id": 1, "name": "dog"}])
    file = root / "annotations/instances_train2017.json"
    content = json.loads(file.read_text())
    case.harm(content)
    file.write_text(json.dumps(content))
    return f"coco:{root}"


def outcome(spec: str) -> tuple[int, int, tuple]:
    """Images and objects that reach the network, and the problems that are named."""
    try:
        data = load_data(spec)
    except BadDataError as error:
        return 0, 0, error.problems
    batches = list(eval_batches(data, (60, 80)))
    images = sum(len(batch["images"]) for batch in batches)
    objects = sum(int((batch["classes"].numpy() >= 0).sum()) for batch in batches)
    return images, objects, (*data.problems, *data.broken)


def try_all() -> tuple[Table, list[str]]:
    """The table, and the names of the cases that did not come out as they should."""
    table = Table("written", "images", "objects", "named")
    wrong = []
    for write, cases in ((voc_set, IMAGES), (voc_set, VOC), (coco_set, COCO)):
        for case in cases:
            with tempfile.TemporaryDirectory() as folder:
                images, objects, problems = outcome(write(Path(folder), case))
            reasons = "\n".join(p.reason.replace(folder, "DIR") for p in problems) or "-"
            table.add_row(case.name, f"{images} of 3", f"{objects} of 3", reasons)
            if (images, objects, len(problems)) != (case.images, case.objects, case.problems):
                wrong.append(case.name)
        table.add_section()
    return table, wrong


if __name__ == "__main__":
    result, unexpected = try_all()
    Console().print(result)
    raise SystemExit(f"not as it should be: {unexpected}" if unexpected else 0)
