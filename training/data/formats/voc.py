"""Pascal VOC's XML files: in VOC folders (JPEGImages, Annotations, ImageSets/Main), with or without
lists of images, or beside their images, as labelImg leaves them."""

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from harmonic_tf.training.data.dataset import Annotation, DetectionData, Objects, Sample
from harmonic_tf.training.data.formats import values
from harmonic_tf.training.data.formats.listing import files_in, finder, name_unlabelled
from harmonic_tf.training.data.formats.roles import WHOLE, pick_split, split_folders
from harmonic_tf.training.data.headers import read_headers
from harmonic_tf.training.data.images import SUFFIXES, Header
from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.data.text import read_xml
from harmonic_tf.training.data.validation import ProblemLog, check_corners, check_size, unique
from harmonic_tf.training.files import read_text

# In the lists of one class, a last column tells whether an image shows it.
PRESENCE = ("-1", "0", "1")
XML = (".xml",)
# Folders of annotations and of images: VOC's, Label Studio's, and those of others.
FOLDERS = (("Annotations", "JPEGImages"), ("Annotations", "images"), ("annotations", "images"))

# What is read, or tells where an image lay; all else is kept as it is.
CORNERS = ("xmin", "ymin", "xmax", "ymax")
READ_OF_IMAGE = {"size": {"width": {}, "height": {}}}
READ_OF_OBJECT = {"name": {}, "difficult": {}, "bndbox": dict.fromkeys(CORNERS, {})}
# Told anew by who writes the image, and by its objects.
TOLD_ANEW = ("filename", "folder", "path", "object")
# What else VOC folders hold: lists for other tasks, and masks.
ASIDE = ("ImageSets/Layout", "ImageSets/Segmentation", "SegmentationClass", "SegmentationObject")


class Part(NamedTuple):
    """Where a split lies: annotations, images, and the list of their ids if there is one."""

    annotations: Path
    images: Path
    list_file: Path | None = None


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
    another size, the boxes belong to another version of the image, which is left out. What stands
    in the files besides is kept on the records for `write_voc`.

    Args:
        folder: str. A VOC folder, one of XML files beside their images, or one with such folders
            named train, valid and test inside of it.
        role: str. "train" takes trainval and "eval" test. Where there is no test list, as in VOC
            2012, they take train and val, which have no image in common.
        split: str or None. Name of a file in ImageSets/Main or of a folder, instead of the role's.
        class_names: tuple of str or None. None: all names in the folder's annotations, sorted, so
            that every split has the same.
        problem_log: ProblemLog. Problems are added here.

    Returns:
        DetectionData. Image ids are indices into `data.image_names`.

    Raises:
        ValueError: the folder or the split does not exist.
    """
    root = Path(folder).expanduser()
    parts = _parts(root)
    of_class = _of_one_class(parts)
    whole = [name for name in parts if name not in of_class]
    split = _pick(parts if split in of_class else whole, role, split, root)
    part = parts[split]
    if lists := [name for name in of_class if name.endswith(f"_{split}")]:
        problem_log.unread["lists of one class's images"] = len(lists)
    for folder in ASIDE:
        if files := files_in(root / folder, (".txt", ".png")):
            problem_log.unread[f"files in {folder}"] = len(files)
    if class_names is None:
        class_names = _all_class_names({p.annotations for p in parts.values()})
    annotation_of, image_of = finder(XML), finder(SUFFIXES)
    found, names = [], _image_ids(part, annotation_of)
    if part.list_file is None:
        annotated = {image_of(part.images / name) for name in names}
        images = files_in(part.images, SUFFIXES)
        name_unlabelled([image for image in images if image not in annotated], problem_log)
    for name in unique(names, problem_log, part.list_file):
        xml_file = annotation_of(part.annotations / name)
        with problem_log.naming(xml_file):
            values.check_inside(root, xml_file, "the list must name images of this folder")
            image_file = image_of(part.images / name)
            values.check_inside(part.images, image_file, f"images lie in {part.images.name}")
            found.append((xml_file, _tree(xml_file), image_file))
    records = []
    headers = read_headers([image_file for _, _, image_file in found])
    for (xml_file, tree, image_file), header in zip(found, headers, strict=True):
        with problem_log.of_image(image_file), problem_log.naming(xml_file):
            if isinstance(header, Unusable):
                raise header
            objects = _objects(xml_file, tree, header, class_names, problem_log)
            name = Path(os.path.relpath(image_file, part.images)).as_posix()
            for child in [child for child in tree if child.tag in TOLD_ANEW]:
                tree.remove(child)
            rest = _rest(tree, READ_OF_IMAGE)
            problem_log.carried.update(_said(rest, "images"))
            records.append(Sample.of(name, len(records), header, image_file, objects, rest))
    return DetectionData(
        name=root.resolve().name,
        split=split,
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        records=tuple(records),
        splits=tuple(whole),
    )


def is_voc(place: Path) -> bool:
    """Whether a path looks like one of these."""
    return any(part.list_file or files_in(part.annotations, XML) for part in _parts(place).values())


def _parts(root: Path) -> dict[str, Part]:
    """The splits of a folder."""
    pairs = [pair for pair in FOLDERS if all((root / name).is_dir() for name in pair)]
    lists = files_in(root / "ImageSets" / "Main", (".txt",), deep=False)
    if pairs or lists:
        names = (pairs or FOLDERS)[0]
        whole = Part(root / names[0], root / names[1])
        return {f.stem: whole._replace(list_file=f) for f in lists} or {WHOLE: whole}
    folders = {k: f for k, f in split_folders(root).items() if files_in(f, XML, deep=False)}
    if not folders and files_in(root, XML, deep=False):
        folders = {WHOLE: root}
    return {split: Part(folder, folder) for split, folder in folders.items()}


def _of_one_class(parts: dict[str, Part]) -> list[str]:
    """Those that tell which images of another list show one class, as dog_train of train."""
    named = [name for name in parts if "_" in name and name.rpartition("_")[2] in parts]
    return [name for name in named if _tells_presence(parts[name].list_file)]


def _tells_presence(list_file: Path | None) -> bool:
    first = read_text(list_file).strip().partition("\n")[0].split() if list_file else []
    return len(first) > 1 and first[-1] in PRESENCE


def _pick(parts: Collection[str], role: str, split: str | None, root: Path) -> str:
    """As of any format; but trainval and test, as in VOC 2007, belong together."""
    if split is None and {"trainval", "test"} <= set(parts):
        split = "trainval" if role == "train" else "test"
    return pick_split(parts, role, split, root)


def _image_ids(part: Part, annotation_of: Callable[[Path], Path]) -> list[str]:
    """The ids in a list, one a line, or all. They may hold spaces and lie in sub-folders (x/a)."""
    if part.list_file is None:
        files = files_in(part.annotations, XML)
        ids = [f.relative_to(part.annotations).with_suffix("").as_posix() for f in files]
        return list(dict.fromkeys(ids))
    lines = [line.strip() for line in read_text(part.list_file).splitlines()]
    return [_image_id(part, line, annotation_of) for line in lines if line]


def _image_id(part: Part, line: str, annotation_of: Callable[[Path], Path]) -> str:
    """The line; or without a last column, or an image's suffix, that the annotation has not."""
    *words, last = line.split()
    stem, suffix = os.path.splitext(line)
    shorter = [line.removesuffix(last).strip()] if words and last in PRESENCE else []
    shorter += [stem] if suffix.lower() in SUFFIXES else []
    forms = [line, *shorter]
    there = (form for form in forms if os.path.isfile(annotation_of(part.annotations / form)))
    return next(there, (shorter or forms)[0])


def _tree(file: Path) -> Element:
    tree = read_xml(file)
    if tree.tag != "annotation":
        raise Unusable(f"malformed XML: expected <annotation>, received <{tree.tag}>")
    return tree


def _all_class_names(folders: set[Path]) -> tuple[str, ...]:
    """Every class name in the folders, sorted. Files that do not parse are reported later."""
    names = set()
    for file in (file for folder in folders for file in files_in(folder, XML)):
        try:
            names.update(_label(node) for node in _tree(file).iterfind("object"))
        except Unusable:
            continue
    return tuple(sorted(names - {""}))


def _objects(
    xml_file: Path, tree: Element, header: Header, class_names, problem_log: ProblemLog
) -> Objects:
    check_size(header, *(values.whole(tree.findtext(f"size/{k}")) for k in ("height", "width")))
    annotations = []
    for number, node in enumerate(tree.iterfind("object"), 1):
        label = _label(node)
        with problem_log.naming(xml_file, f"object {number} ({label or 'no name'})"):
            annotations.append(_annotation(node, label, header, class_names, problem_log))
            problem_log.carried.update(_said(annotations[-1].further, "objects"))
    return problem_log.objects(annotations)


def _rest(node: Element, read: dict) -> Element | None:
    """What is not read of a node, if anything: attributes and further children, under its tag."""
    inner = (_rest(child, read[child.tag]) if child.tag in read else child for child in node)
    kept = [child for child in inner if child is not None]
    if not kept and not node.attrib:
        return None
    rest = Element(node.tag, node.attrib)
    rest.extend(kept)
    return rest


def _said(rest: Element | None, what: str) -> Iterator[str]:
    """What the rest of a node says, for people."""
    said = {} if rest is None else dict(rest.attrib)
    said |= {child.tag: "".join(child.itertext()) for child in (() if rest is None else rest)}
    return values.further(said, (), what)


def _label(node: Element) -> str:
    return (node.findtext("name") or "").strip()


def _annotation(
    node: Element, label: str, header: Header, class_names, problem_log: ProblemLog
) -> Annotation:
    if not label:
        raise Unusable("malformed XML: object without a name")
    try:
        corners = [float(node.findtext(f"bndbox/{k}")) for k in CORNERS]
    except (TypeError, ValueError):
        raise Unusable("malformed XML: bndbox needs the numbers xmin, ymin, xmax, ymax") from None
    class_index = problem_log.class_index(label, class_names)
    check_corners(corners)
    xmin, ymin, xmax, ymax = corners
    return Annotation(
        box=problem_log.checked_box((xmin - 1, ymin - 1, xmax, ymax), header),
        class_index=class_index,
        difficult=values.FLAGS.get((node.findtext("difficult") or "").strip().lower(), False),
        further=_rest(node, READ_OF_OBJECT),
    )
