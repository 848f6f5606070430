"""Detection data sets of tensorflow-datasets: voc/2007, voc/2007+2012, coco/2017 and their like."""

import functools
from collections.abc import Sequence

from harmonic_tf.training.data.dataset import Annotation, DetectionData, Sample
from harmonic_tf.training.data.headers import in_parallel, shown, try_header
from harmonic_tf.training.data.images import Header
from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.data.validation import ProblemLog


def load_tfds(
    argument: str,
    role: str,
    split: str | None,
    class_names: tuple[str, ...] | None,
    problem_log: ProblemLog,
) -> DetectionData:
    """Reads a split of a TFDS data set, which is downloaded and prepared if it is not there.

    Images are fetched one by one in any order, so the data set is prepared in TFDS's
    `array_record` format. They stay encoded until a batch needs them.

    Args:
        argument: str. NAME, NAME/CONFIG, or NAME/CONFIG+CONFIG for a union; then optionally
            ",data_dir=DIR" (default: TFDS's own, `~/tensorflow_datasets` or `$TFDS_DATA_DIR`).
        role: str. For voc, "train" takes train + validation (the "trainval" of the literature) of
            all years and "eval" the test split of the years that have its annotations. The
            paper's voc/2007+2012 thus trains on both years and is evaluated on 2007's test. For
            others, train, and validation or else test.
        split: str or None. A TFDS split such as "train[:10%]", instead of the role's.
        class_names: tuple of str or None. None: all labels in TFDS's order.
        problem_log: ProblemLog. Problems are added here.

    Returns:
        DetectionData. Image ids are the data set's own where it has some (COCO), else 0..n-1.

    Raises:
        ImportError: tensorflow-datasets is not installed.
        ValueError: the data set is not one for detection.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise ImportError(
            "tfds:NAME needs tensorflow-datasets; install it with `pip install harmonic-tf[tfds]`."
        ) from None
    name, _, option = argument.partition(",")
    key, _, data_dir = option.partition("=")
    if option and not (key == "data_dir" and data_dir):
        raise ValueError(f"tfds:NAME takes the option data_dir=DIR only, received {option!r}.")
    base, _, configs = name.partition("/")
    builders = [
        tfds.builder(
            f"{base}/{config}" if config else base,
            data_dir=data_dir or None,
            file_format=tfds.core.FileFormat.ARRAY_RECORD,
        )
        for config in configs.split("+")
    ]
    for builder in builders:
        builder.download_and_prepare()
    parts = _parts(builders, role, split)
    labels = _labels(name, builders[0])
    class_names = class_names or tuple(labels)
    records: list[Sample] = []
    for builder, part in parts:
        source = builder.as_data_source(part, decoders={"image": tfds.decode.SkipDecoding()})
        records += _records(source, base, labels, class_names, len(records), problem_log)
    return DetectionData(
        name=name.replace("/", "_"),
        split=", ".join(f"{builder.info.full_name} {part}" for builder, part in parts),
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        records=tuple(records),
    )


def _parts(builders: Sequence, role: str, split: str | None) -> list[tuple]:
    """Which split of which builder to read."""
    if split:
        return [(builder, split) for builder in builders]
    if builders[0].name == "voc":
        annotated = [b for b in builders if b.builder_config.has_test_annotations]
        if role == "train":
            return [(b, "train+validation" if annotated else "train") for b in builders]
        return [(b, "test") for b in annotated] or [(b, "validation") for b in builders]
    if role == "train":
        return [(builder, "train") for builder in builders]
    return [(b, "validation" if "validation" in b.info.splits else "test") for b in builders]


def _labels(name: str, builder) -> list[str]:
    try:
        return builder.info.features["objects"]["label"].names
    except (KeyError, AttributeError, TypeError):
        raise ValueError(
            f"tfds:{name} is not a detection data set: expected the features image and "
            "objects {bbox, label}."
        ) from None


def _records(source, base: str, labels, class_names, first_id: int, problem_log: ProblemLog):
    records: list[Sample] = []
    examples = (source[place] for place in range(len(source)))
    checked = in_parallel(lambda e: (e, try_header(e["image"])), examples)
    for place, (example, header) in enumerate(shown(checked, len(source))):
        image_id = int(example.get("image/id", first_id + len(records)))
        file_name = example.get("image/filename", b"").decode() or f"{base}_{image_id}"
        read = functools.partial(_read, source, place)
        with problem_log.of_image(read), problem_log.naming(file_name):
            if isinstance(header, Unusable):
                raise header
            annotations = []
            for number, entry in enumerate(_entries(example["objects"]), 1):
                with problem_log.naming(file_name, f"object {number}"):
                    label = labels[entry["label"]]
                    box = _pixels(entry["bbox"], header, one_based=base == "voc")
                    annotations.append(
                        _annotation(entry, label, box, header, class_names, problem_log)
                    )
            objects = problem_log.objects(annotations)
            records.append(Sample.of(file_name, image_id, header, read, objects))
    return records


def _read(source, place: int) -> bytes:
    return source[place]["image"]


def _entries(objects: dict) -> list[dict]:
    """TFDS's dictionary of arrays as one dictionary an object."""
    return [
        dict(zip(objects, values, strict=True)) for values in zip(*objects.values(), strict=True)
    ]


def _pixels(bbox, header: Header, one_based: bool) -> tuple[float, ...]:
    """TFDS's (y1, x1, y2, x2) in 0..1 as (x1, y1, x2, y2) in pixels.

    TFDS divides VOC's 1-based corners by the size as they are; the first pixel is taken off here.
    """
    y1, x1, y2, x2 = (float(value) for value in bbox)
    shift = 1 if one_based else 0
    # To a thousandth of a pixel: what float32 fractions keep of whole pixels.
    pixels = (
        x1 * header.width - shift,
        y1 * header.height - shift,
        x2 * header.width,
        y2 * header.height,
    )
    return tuple(round(value, 3) for value in pixels)


def _annotation(
    entry, label: str, box, header: Header, class_names, problem_log: ProblemLog
) -> Annotation:
    class_index = problem_log.class_index(label, class_names)
    return Annotation(
        box=problem_log.checked_box(box, header),
        class_index=class_index,
        difficult=bool(entry.get("is_difficult", False)),
        crowd=bool(entry.get("is_crowd", False)),
        area=float(entry["area"]) if "area" in entry else None,
    )
