"""Small VOC and COCO folders for the tests."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

BOX_KEYS = ("xmin", "ymin", "xmax", "ymax")


def picture(height=60, width=80, seed=0) -> Image.Image:
    """A smooth image, different for each seed."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def voc_xml(objects, size=None) -> str:
    """An annotation; each object is (name, (xmin, ymin, xmax, ymax)) or (name, box, difficult)."""
    root = ElementTree.Element("annotation")
    if size:
        node = ElementTree.SubElement(root, "size")
        ElementTree.SubElement(node, "width").text = str(size[0])
        ElementTree.SubElement(node, "height").text = str(size[1])
    for name, box, *difficult in objects:
        node = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(node, "name").text = name
        ElementTree.SubElement(node, "pose").text = "Unspecified"
        ElementTree.SubElement(node, "truncated").text = "0"
        ElementTree.SubElement(node, "difficult").text = str(int(bool(difficult and difficult[0])))
        corners = ElementTree.SubElement(node, "bndbox")
        for key, value in zip(BOX_KEYS, box, strict=True):
            ElementTree.SubElement(corners, key).text = str(value)
    return ElementTree.tostring(root, encoding="unicode")


def write_voc(root: Path, pictures: dict, splits: dict) -> Path:
    """Writes `{name: (objects, size in the XML or None)}`, 80 x 60 px, and `{split: names}`."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for seed, (name, (objects, size)) in enumerate(pictures.items()):
        picture(seed=seed).save(root / "JPEGImages" / f"{name}.jpg")
        (root / "Annotations" / f"{name}.xml").write_text(voc_xml(objects, size))
    for split, names in splits.items():
        (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


def write_coco(root: Path, images, annotations, categories, split="train2017") -> Path:
    """Writes instances_<split>.json and an 80 x 60 px JPEG for every image entry."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir(exist_ok=True)
    for seed, image in enumerate(images):
        picture(seed=seed).save(root / split / image["file_name"])
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def mixed(tmp_path):
    """One image in each way of being decoded, turned where its kind can be."""
    kinds = {"a.jpg": "JPEG", "b.png": "PNG", "c.webp": "WEBP", "d.bmp": "BMP", "e.gif": "GIF"}
    images, annotations = [], []
    for number, name in enumerate(kinds, 1):
        images.append({"id": number, "file_name": name})
        box = {"image_id": number, "category_id": 1, "bbox": [number, 1, 9, 9]}
        annotations.append(box)
    root = write_coco(tmp_path, images, annotations, [{"id": 1, "name": "dog"}])
    shown = []
    for number, (name, kind) in enumerate(kinds.items()):
        image = picture(seed=number)
        if kind in ("BMP", "GIF"):
            image = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
            image.save(root / "train2017" / name, kind)
            shown.append(np.asarray(image.convert("RGB")))
            continue
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"lossless": True} if kind == "WEBP" else {}
        turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(root / "train2017" / name, kind, exif=exif, **options)
        shown.append(np.asarray(image))
    return root, np.stack(shown).astype(np.float32)
