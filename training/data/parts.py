"""Two parts of a source without splits, by what is in its images: to train on and to evaluate on.

An image's side depends on the bytes of its file and on a seed alone: it is the same in every
process, other images move none, and copies of an image are on the same side.
"""

import dataclasses
import hashlib
import numbers

from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.data.formats.roles import PURPOSES

VAL_FRACTION = 0.2


def part(
    data: DetectionData, role: str, val_fraction: float = VAL_FRACTION, seed: int = 0
) -> DetectionData:
    """The part of a source that is trained on, or the one that is evaluated on.

    Neither is ever empty: the image that comes first goes to evaluation and the one that comes
    last to training, wherever the fraction lies. (So in a set of a few images, one that is added
    may take that place from another.)

    Args:
        data: DetectionData. All images; those without a digest go by their names.
        role: str. "train" or "eval".
        val_fraction: float, between 0 and 1. About so much of it is evaluated on.
        seed: int. Another seed, other parts.

    Returns:
        DetectionData.

    Raises:
        ValueError: there are not two different images, or the fraction is none.

    Example:
        >>> data = load_data("shapes:train=40")
        >>> train, val = part(data, "train"), part(data, "eval")
        >>> len(train) + len(val), len(set(train.image_names) & set(val.image_names))
        (40, 0)
    """
    if not isinstance(val_fraction, numbers.Real) or not 0 < val_fraction < 1:
        raise ValueError(
            "the part to evaluate on (--val-fraction) must be a number between 0 and 1, received "
            f"{val_fraction!r}."
        )
    places = {key: _place(key, seed) for key in map(_key, data.records)}
    if len(places) < 2:
        raise ValueError(
            f"{data.name} has no splits, and to part it takes two different images; "
            f"it has {len(places)}."
        )
    first, last = min(places, key=places.get), max(places, key=places.get)
    held_out = {key for key, place in places.items() if place < val_fraction}
    held_out = (held_out | {first}) - {last}
    records = tuple(r for r in data.records if (_key(r) in held_out) == (role == "eval"))
    note = (
        f"no split for each role: {data.split!r} is parted by its images' content, seed {seed}: "
        f"{len(records)} of {len(data)} images ({100 * len(records) / len(data):.0f} %) "
        f"to {PURPOSES[role]}"
    )
    return dataclasses.replace(
        data,
        split=f"{data.split}, to {PURPOSES[role]}",
        records=records,
        notes=(*data.notes, note),
    )


def _key(record) -> str:
    return record.digest or record.name


def _place(key: str, seed: int) -> float:
    """Where an image stands between 0 and 1."""
    digest = hashlib.blake2b(
        f"{seed} {key}".encode("utf-8", "backslashreplace"), digest_size=8
    ).digest()
    return int.from_bytes(digest, "big") / 2**64
