"""CSV files: one row an object, as keras-retinanet and its descendants read them."""

import csv
import io
from pathlib import Path

from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.data.formats import values
from harmonic_tf.training.data.formats.assembly import Picture, Region, numbers, samples
from harmonic_tf.training.data.formats.listing import files_in
from harmonic_tf.training.data.formats.roles import WHOLE, pick_split, roles_of, split_folders
from harmonic_tf.training.data.images import Header
from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.data.validation import ProblemLog
from harmonic_tf.training.files import read_text

CLASSES_FILE, UNNAMED, ROBOFLOW_FILE = "classes.csv", "annotations", "_annotations.csv"
SEPARATORS = (",", ";", "\t")
# What tells the columns apart is found in so many rows, and letters: the first may be bad.
ROWS_TRIED, BEGINNING = 10, 2**16
COLUMNS = ("image", "x1", "y1", "x2", "y2", "label")
# Names of columns in a first row, where there is one.
HEADINGS = {
    "image": ("image", "filename", "file", "path", "img", "image_path", "img_file", "image_id"),
    "x1": ("x1", "xmin", "x_min"),
    "y1": ("y1", "ymin", "y_min"),
    "x2": ("x2", "xmax", "x_max"),
    "y2": ("y2", "ymax", "y_max"),
    "label": ("label", "class", "class_name", "name"),
}


def load_csv(
    argument: str,
    role: str,
    split: str | None,
    class_names: tuple[str, ...] | None,
    problem_log: ProblemLog,
) -> DetectionData:
    """Reads rows of `image,x1,y1,x2,y2,class`; `image,,,,,` is an image without objects.

    Coordinates are pixels, x2 and y2 exclusive. A first row may name the columns, in any order, as
    in `filename,width,height,class,xmin,ymin,xmax,ymax`. Spreadsheets also write semicolons or tabs
    between the columns. Paths of images are relative to the file. The classes stand in classes.csv
    beside it (`name,number`), else they are those that occur.

    Args:
        argument: str. The file, or a folder with one file a split, of which annotations.csv may be
            the one to train on, or with train/_annotations.csv (valid, test) beside the images, as
            Roboflow writes them; with ",images=anywhere" images may lie elsewhere.
        role: str. Of a folder, picks the file whose name begins as a split's.
        split: str or None. A file's name in the folder without ".csv".
        class_names: tuple of str or None. None: in the order of their numbers, else sorted.
        problem_log: ProblemLog. Problems are added here.

    Returns:
        DetectionData. Image ids are indices into `data.image_names`.

    Raises:
        ValueError: the file or the split does not exist.
    """
    place, anywhere = values.split_anywhere(argument)
    files = _files(place)
    split = pick_split(files, role, split, place)
    folder = files[split].parent
    rows = {name: _rows(file) for name, file in files.items()}
    if class_names is None:
        class_names = _class_names(folder / CLASSES_FILE, rows, problem_log)
    pictures = []
    for image, entries in _by_image(rows[split], files[split], problem_log).items():
        with problem_log.naming(files[split], image):
            file = folder / image.replace("\\", "/")
            if not anywhere:
                values.check_inside(folder, file, values.WAY_OUT)
            pictures.append(Picture(image, file, files[split], image, entries))
    return DetectionData(
        name=place.resolve().stem,
        split=split,
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        records=samples(pictures, _region, class_names, problem_log),
        splits=tuple(files),
    )


def is_csv(place: Path) -> bool:
    """Whether a path looks like one of these."""
    if place.is_dir():
        files = _files(place)
        unnamed = files.get(UNNAMED)
        return bool(roles_of(files) or (unnamed and _separator(_text(unnamed))))
    return place.suffix.lower() == ".csv"


def _files(place: Path) -> dict[str, Path]:
    if place.is_file():
        return {WHOLE: place}
    files = files_in(place, (".csv",), deep=False)
    named = {file.stem: file for file in files if file.name.lower() != CLASSES_FILE}
    if roles_of(named) == ["eval"] and UNNAMED in named:
        named["train"] = named.pop(UNNAMED)
    parts = {split: folder / ROBOFLOW_FILE for split, folder in split_folders(place).items()}
    return named or {split: file for split, file in parts.items() if file.is_file()}


def _rows(file: Path) -> list[dict[str, str]]:
    """The rows with the names of their columns, and the numbers of their lines."""
    text = _text(file)
    separator = _separator(text) or ","
    columns, rows = COLUMNS, []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            cells = _cells(line, separator)
        except csv.Error as error:
            rows.append({"line": str(number), "fault": str(error)})
            continue
        if not rows and columns is COLUMNS and (named := _named_columns(cells)):
            columns = named
        elif any(cells):
            rows.append({**dict(zip(columns, cells, strict=False)), "line": str(number)})
    return rows


def _text(file: Path) -> str:
    """A file's text; Python 3.10 reads no rows with zeros in them."""
    return read_text(file).replace("\0", "")


def _cells(line: str, separator: str) -> list[str]:
    """The cells of one line: a quotation mark that is never closed harms no other."""
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), ())]


def _separator(text: str) -> str | None:
    """What stands between the columns: that by which a first row is one; None if none does."""
    first = text.lstrip()[:BEGINNING].splitlines()[:ROWS_TRIED]
    for separator in SEPARATORS:
        for cells in (_cells(line, separator) for line in first):
            if len(cells) == len(COLUMNS) or _named_columns(cells):
                return separator
    return None


def _named_columns(cells: list[str]) -> tuple[str, ...] | None:
    """What a first row calls its columns; None if it is a row like the others."""
    known = {word: column for column, words in HEADINGS.items() for word in words}
    columns = tuple(known.get(cell.lower(), cell.lower()) for cell in cells)
    return columns if set(COLUMNS) <= set(columns) else None


def _class_names(file: Path, rows: dict, log: ProblemLog) -> tuple[str, ...]:
    if not file.is_file():
        labels = {row.get("label", "") for part in rows.values() for row in part}
        return tuple(sorted(labels - {""}))
    numbered = {}
    text = _text(file)
    separator = max(SEPARATORS, key=text.count)
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
        with log.naming(file, ",".join(row)):
            number = values.whole(row[1]) if len(row) > 1 else None
            if number is None:
                raise Unusable("malformed class: expected a name and a number")
            numbered[row[0].strip()] = number
    return tuple(sorted(numbered, key=numbered.get))


def _by_image(rows: list[dict], file: Path, log: ProblemLog) -> dict[str, list[dict]]:
    by_image: dict[str, list[dict]] = {}
    for row in rows:
        with log.naming(file, f"line {row['line']}"):
            if "fault" in row or not row.get("image"):
                raise Unusable(f"malformed row: {row.get('fault', 'no image')}")
            entries = by_image.setdefault(row["image"], [])
            if any(row.get(column) for column in COLUMNS[1:]):
                entries.append(row)
    return by_image


def _region(row: dict[str, str], header: Header) -> Region:
    if not row.get("label"):
        raise Unusable(f"malformed row: no class, line {row['line']}")
    return Region(row["label"], tuple(numbers([row.get(column, "") for column in COLUMNS[1:5]])))
