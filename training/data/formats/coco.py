"""COCO folders: annotations/instances_*.json beside the images."""

import json
from pathlib import Path

from harmonic_tf.training.data.dataset import (
    Annotation,
    BadDataError,
    DetectionData,
    Objects,
    Problem,
    Sample,
)
from harmonic_tf.training.data.segmentation import check_segmentation
from harmonic_tf.training.data.validation import (
    Header,
    ProblemLog,
    Unusable,
    check_size,
    read_header,
    unique,
)

ROLE_PREFIXES = {"train": "train", "eval": "val"}


def load_coco(
    folder: str,
    role: str,
    split: str | None,
    class_names: tuple[str, ...] | None,
    problem_log: ProblemLog,
) -> DetectionData:
    """Reads one split of a COCO folder.

    Boxes (x, y, width, height) are continuous; crowd boxes and masks (polygons, RLE) are kept on
    the records. A segmentation that is missing or empty is no mask; one that cannot be drawn is bad
    data. Images lie in DIR/SPLIT, DIR/images/SPLIT, DIR/images or DIR.

    Args:
        folder: str.
        role: str. Picks the one annotations file whose split starts with "train" or "val".
        split: str or None. "val2017" for annotations/instances_val2017.json.
        class_names: tuple of str or None. None: all categories in the order of their ids.
        problem_log: ProblemLog. Problems are added here.

    Returns:
        DetectionData. Image and category ids are COCO's.

    Raises:
        ValueError: the folder or the split does not exist, or the role fits several splits.
        BadDataError: the JSON cannot be read.
    """
    root = Path(folder)
    file = _annotation_file(root, role, split)
    split = file.stem.removeprefix("instances_")
    content = _read(file)
    categories = unique(content["categories"], problem_log, file, key=lambda c: c["id"])
    class_names, category_ids = _classes(categories, class_names)
    class_of = {category_id: index for index, category_id in enumerate(category_ids)}
    annotations_of = _annotations_by_image(content, problem_log, file)
    records = []
    for image in unique(content["images"], problem_log, file, key=lambda i: i["id"]):
        with problem_log.naming(file, f"image {image['id']}"):
            image_file = _image_file(root, split, image)
            header = read_header(image_file)
            check_size(header, image.get("height"), image.get("width"))
            annotations = []
            for entry in annotations_of.get(image["id"], []):
                with problem_log.naming(file, f"annotation {entry.get('id')} of {image_file.name}"):
                    annotations.append(_annotation(entry, header, class_of, problem_log))
            objects = Objects.of(annotations)
            record = Sample(image_file.name, image["id"], *header, image_file, objects)
            records.append(record)
    return DetectionData(
        name=root.resolve().name,
        split=split,
        class_names=class_names,
        category_ids=category_ids,
        records=tuple(records),
        problems=tuple(problem_log.problems),
        clipped=problem_log.clipped,
    )


def _annotation_file(root: Path, role: str, split: str | None) -> Path:
    folder = root / "annotations"
    found = {f.stem.removeprefix("instances_"): f for f in folder.glob("instances_*.json")}
    fits = [s for s in found if (s == split if split else s.startswith(ROLE_PREFIXES[role]))]
    if len(fits) != 1:
        wanted = split or f"{ROLE_PREFIXES[role]}*"
        raise ValueError(
            f"Expected one file {folder}/instances_{wanted}.json, received {len(fits)}; "
            f"name one of the splits there: {', '.join(sorted(found)) or 'none'}."
        )
    return found[fits[0]]


def _read(file: Path) -> dict:
    """The content of an annotations file, with the parts that all else rests on in place."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        for part, keys in (
            ("categories", ("id", "name")),
            ("images", ("id", "file_name")),
            ("annotations", ("image_id", "category_id", "bbox")),
        ):
            for place, entry in enumerate(content[part], 1):
                missing = [key for key in keys if key not in entry]
                if missing:
                    raise ValueError(f"entry {place} of {part!r} has no {missing[0]!r}")
    except (ValueError, KeyError, TypeError) as error:
        reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise BadDataError([Problem(str(file), None, f"malformed JSON: {reason}")]) from None
    return content


def _classes(categories: list[dict], class_names: tuple[str, ...] | None):
    """Names and category ids by class index; names the file does not know get unused ids."""
    id_of = {c["name"]: c["id"] for c in sorted(categories, key=lambda c: c["id"])}
    for name in class_names or ():
        id_of.setdefault(name, max(id_of.values(), default=0) + 1)
    names = class_names or tuple(id_of)
    return names, tuple(id_of[name] for name in names)


def _annotations_by_image(content: dict, problem_log: ProblemLog, file: Path) -> dict[int, list]:
    known = {image["id"] for image in content["images"]}
    by_image: dict[int, list] = {}
    with_id = [a for a in content["annotations"] if "id" in a]
    without_id = [a for a in content["annotations"] if "id" not in a]
    for entry in unique(with_id, problem_log, file, key=lambda a: a["id"]) + without_id:
        if entry["image_id"] in known:
            by_image.setdefault(entry["image_id"], []).append(entry)
        else:
            reason = f"unknown image: id {entry['image_id']}"
            problem_log.add(file, f"annotation {entry.get('id')}", reason)
    return by_image


def _image_file(root: Path, split: str, image: dict) -> Path:
    """The image's file; where there is none, the path where it was expected."""
    folders = (root / split, root / "images" / split, root / "images", root)
    candidates = [folder / image["file_name"] for folder in folders]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _annotation(entry: dict, header: Header, class_of: dict, problem_log: ProblemLog) -> Annotation:
    if entry["category_id"] not in class_of:
        raise Unusable(f"unknown class: category id {entry['category_id']}")
    try:
        x, y, box_width, box_height = (float(value) for value in entry["bbox"])
    except (TypeError, ValueError):
        raise Unusable(f"malformed bbox: expected 4 numbers, received {entry['bbox']!r}") from None
    segmentation = entry.get("segmentation") or None
    if segmentation is not None:
        check_segmentation(segmentation, header)
    return Annotation(
        box=problem_log.checked_box((x, y, x + box_width, y + box_height), header),
        class_index=class_of[entry["category_id"]],
        crowd=bool(entry.get("iscrowd", 0)),
        area=entry.get("area"),
        segmentation=segmentation,
    )
