"""Pascal VOC folders: JPEGImages, Annotations, ImageSets/Main."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import Element

from harmonic_tf.training.data.dataset import Annotation, DetectionData, Objects, Sample
from harmonic_tf.training.data.formats import values
from harmonic_tf.training.data.headers import read_headers
from harmonic_tf.training.data.images import SUFFIXES, Header
from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.data.text import read_xml
from harmonic_tf.training.data.validation import ProblemLog, check_corners, check_size, unique
from harmonic_tf.training.files import read_text

# In the lists of one class, a last column tells whether an image shows it.
PRESENCE = ("-1", "0", "1")


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
        role: str. "train" takes trainval and "eval" test. Where there is no test list, as in VOC
            2012, they take train and val, which have no image in common.
        split: str or None. Name of a file in ImageSets/Main, instead of the role's.
        class_names: tuple of str or None. None: all names in the folder's annotations, sorted, so
            that every split has the same.
        problem_log: ProblemLog. Problems are added here.

    Returns:
        DetectionData. Image ids are indices into `data.image_names`.

    Raises:
        ValueError: the folder or the split does not exist.
    """
    root = Path(folder).expanduser()
    list_file = _split_file(root, role, split)
    if class_names is None:
        class_names = _all_class_names(root)
    image_of = _image_finder(root / "JPEGImages")
    found = []
    for name in unique(_image_ids(root, list_file), problem_log, list_file):
        xml_file = root / "Annotations" / f"{name}.xml"
        with problem_log.naming(xml_file):
            values.check_inside(root, xml_file, "the list must name images of this folder")
            found.append((xml_file, read_xml(xml_file), image_of(name)))
    records = []
    headers = read_headers([image_file for _, _, image_file in found])
    for (xml_file, tree, image_file), header in zip(found, headers, strict=True):
        with problem_log.naming(xml_file):
            if isinstance(header, Unusable):
                raise header
            objects = _objects(xml_file, tree, header, class_names, problem_log)
            name = image_file.relative_to(root / "JPEGImages").as_posix()
            records.append(Sample.of(name, len(records), header, image_file, objects))
    return DetectionData(
        name=root.resolve().name,
        split=list_file.stem,
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        records=tuple(records),
    )


def _split_file(root: Path, role: str, split: str | None) -> Path:
    folder = root / "ImageSets" / "Main"
    wanted = _wanted(folder, role) if split is None else (split,)
    for name in wanted:
        if (folder / f"{name}.txt").is_file():
            return folder / f"{name}.txt"
    found = sorted(path.stem for path in folder.glob("*.txt"))
    raise ValueError(
        f"Expected a VOC folder with {folder}/{' or '.join(wanted)}.txt; "
        f"splits found there: {', '.join(found) or 'none'}."
    )


def _wanted(folder: Path, role: str) -> tuple[str, ...]:
    """The splits that fit a role, the best first; those of both roles are to lie apart."""
    there = {path.stem for path in folder.glob("*.txt")}
    if role == "eval":
        return "test", "val"
    return ("trainval", "train") if "test" in there or "val" not in there else ("train", "trainval")


def _image_ids(root: Path, list_file: Path) -> list[str]:
    """The ids in a list, one a line. They may hold spaces and lie in sub-folders (x/a)."""
    lines = [line.strip() for line in read_text(list_file).splitlines()]
    return [_image_id(root, line) for line in lines if line]


def _image_id(root: Path, line: str) -> str:
    *words, last = line.split()
    whole = root / "Annotations" / f"{line}.xml"
    if not words or last not in PRESENCE or os.path.isfile(whole):
        return line
    return line.removesuffix(last).strip()


def _all_class_names(root: Path) -> tuple[str, ...]:
    """Every class name in the folder, sorted. Files that do not parse are reported later."""
    names = set()
    for file in (root / "Annotations").rglob("*.xml"):
        try:
            names.update(_label(node) for node in read_xml(file).iterfind("object"))
        except Unusable:
            continue
    return tuple(sorted(names - {""}))


def _image_finder(folder: Path) -> Callable[[str], Path]:
    """A function: id -> its image, of any kind; the path where one was expected, if none is there.

    Folders are listed once, as the case of a suffix may be any (`.Jpg`).
    """

    @functools.cache
    def listed(place: Path) -> dict[str, Path]:
        files = list(place.iterdir()) if place.is_dir() else []
        known = {suffix: rank for rank, suffix in enumerate(SUFFIXES)}
        images = [file for file in files if file.suffix.lower() in known]
        # Of several the kind that stands first in SUFFIXES.
        images.sort(key=lambda file: known[file.suffix.lower()], reverse=True)
        return {file.name.removesuffix(file.suffix): file for file in images}

    def find(name: str) -> Path:
        expected = folder / f"{name}{SUFFIXES[0]}"
        return listed(expected.parent).get(expected.name.removesuffix(SUFFIXES[0]), expected)

    return find


def _objects(
    xml_file: Path, tree: Element, header: Header, class_names, problem_log: ProblemLog
) -> Objects:
    check_size(header, *(values.whole(tree.findtext(f"size/{k}")) for k in ("height", "width")))
    annotations = []
    for number, node in enumerate(tree.iterfind("object"), 1):
        label = _label(node)
        with problem_log.naming(xml_file, f"object {number} ({label or 'no name'})"):
            annotations.append(_annotation(node, label, header, class_names, problem_log))
    return Objects.of(annotations)


def _label(node: Element) -> str:
    return (node.findtext("name") or "").strip()


def _annotation(
    node: Element, label: str, header: Header, class_names, problem_log: ProblemLog
) -> Annotation:
    if not label:
        raise Unusable("malformed XML: object without a name")
    try:
        corners = [float(node.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")]
    except (TypeError, ValueError):
        raise Unusable("malformed XML: bndbox needs the numbers xmin, ymin, xmax, ymax") from None
    class_index = problem_log.class_index(label, class_names)
    check_corners(corners)
    xmin, ymin, xmax, ymax = corners
    return Annotation(
        box=problem_log.checked_box((xmin - 1, ymin - 1, xmax, ymax), header),
        class_index=class_index,
        difficult=values.FLAGS.get((node.findtext("difficult") or "").strip().lower(), False),
    )
