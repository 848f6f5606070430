"""Pascal VOC folders: JPEGImages, Annotations, ImageSets/Main."""

from pathlib import Path
from xml.etree import ElementTree

from harmonic_tf.training.data.dataset import Annotation, DetectionData, Objects, Sample
from harmonic_tf.training.data.validation import (
    Header,
    ProblemLog,
    Unusable,
    check_corners,
    check_size,
    read_header,
    unique,
)

ROLE_SPLITS = {"train": ("trainval", "train"), "eval": ("test", "val")}
SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


def load_voc(
    folder: str,
    role: str,
    split: str | None,
    class_names: tuple[str, ...] | None,
    problem_log: ProblemLog,
) -> DetectionData:
    """Reads one split of a VOC folder.

    Boxes are written as 1-based inclusive pixels; pixel k covers [k - 1, k], so a box becomes
    (xmin - 1, ymin - 1, xmax, ymax). A box whose corners coincide is bad data all the same: it is
    a stray click, not an object of one pixel. An image counts as it is: where its XML gives
    another size, the boxes belong to another version of the image, which is left out.

    Args:
        folder: str.
        role: str. "train" takes trainval, else train; "eval" takes test, else val.
        split: str or None. Name of a file in ImageSets/Main, instead of the role's.
        class_names: tuple of str or None. None: all names in the folder's annotations, sorted, so
            that every split has the same.
        problem_log: ProblemLog. Problems are added here.

    Returns:
        DetectionData. Image ids are indices into `data.image_names`.

    Raises:
        ValueError: the folder or the split does not exist.
    """
    root = Path(folder)
    list_file = _split_file(root, role, split)
    if class_names is None:
        class_names = _all_class_names(root)
    entries = [line.split()[0] for line in list_file.read_text().splitlines() if line.strip()]
    records = []
    for name in unique(entries, problem_log, list_file):
        with problem_log.naming(root / "Annotations" / f"{name}.xml"):
            records.append(_record(root, name, len(records), class_names, problem_log))
    return DetectionData(
        name=root.resolve().name,
        split=list_file.stem,
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        records=tuple(records),
        problems=tuple(problem_log.problems),
        clipped=problem_log.clipped,
    )


def _split_file(root: Path, role: str, split: str | None) -> Path:
    folder = root / "ImageSets" / "Main"
    wanted = ROLE_SPLITS[role] if split is None else (split,)
    for name in wanted:
        if (folder / f"{name}.txt").is_file():
            return folder / f"{name}.txt"
    found = sorted(path.stem for path in folder.glob("*.txt"))
    raise ValueError(
        f"Expected a VOC folder with {folder}/{' or '.join(wanted)}.txt; "
        f"splits found there: {', '.join(found) or 'none'}."
    )


def _all_class_names(root: Path) -> tuple[str, ...]:
    """Every class name in the folder, sorted. Files that do not parse are reported later."""
    names = set()
    for file in (root / "Annotations").glob("*.xml"):
        try:
            nodes = ElementTree.parse(file).iterfind("object/name")
            names.update(node.text.strip() for node in nodes)
        except (ElementTree.ParseError, AttributeError):
            continue
    return tuple(sorted(names))


def _record(root: Path, name: str, image_id: int, class_names, problem_log: ProblemLog) -> Sample:
    xml_file = root / "Annotations" / f"{name}.xml"
    try:
        tree = ElementTree.parse(xml_file).getroot()
    except FileNotFoundError:
        raise Unusable("missing annotation file") from None
    except ElementTree.ParseError as error:
        raise Unusable(f"malformed XML: {error}") from None
    image_file = _image_file(root, name)
    header = read_header(image_file)
    check_size(header, *_noted_size(tree))
    annotations = []
    for number, node in enumerate(tree.iterfind("object"), 1):
        label = (node.findtext("name") or "").strip()
        with problem_log.naming(xml_file, f"object {number} ({label or 'no name'})"):
            annotations.append(_annotation(node, label, header, class_names, problem_log))
    return Sample(image_file.name, image_id, *header, image_file, Objects.of(annotations))


def _image_file(root: Path, name: str) -> Path:
    """The image of an entry; where there is none, the path where it was expected."""
    candidates = [root / "JPEGImages" / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _noted_size(tree: ElementTree.Element) -> tuple[int | None, int | None]:
    """Height and width as the XML gives them, or None."""
    texts = tree.findtext("size/height", ""), tree.findtext("size/width", "")
    return tuple(int(text) if text.strip().isdecimal() else None for text in texts)


def _annotation(
    node, label: str, header: Header, class_names, problem_log: ProblemLog
) -> Annotation:
    try:
        corners = [float(node.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")]
    except (TypeError, ValueError):
        raise Unusable("malformed XML: bndbox needs the numbers xmin, ymin, xmax, ymax") from None
    if label not in class_names:
        raise Unusable(f"unknown class: {label!r}")
    check_corners(corners)
    xmin, ymin, xmax, ymax = corners
    return Annotation(
        box=problem_log.checked_box((xmin - 1, ymin - 1, xmax, ymax), header),
        class_index=class_names.index(label),
        difficult=(node.findtext("difficult") or "0").strip() == "1",
    )
