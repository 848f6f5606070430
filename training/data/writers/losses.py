"""What a form cannot say of a data set, counted, in words for people."""

from collections.abc import Callable, Iterator

import numpy as np

from harmonic_tf.training.data.dataset import DetectionData, Objects


def each(data: DetectionData) -> Iterator[tuple[Objects, int]]:
    """Every object, as the objects of its image and its place among them."""
    return ((r.objects, place) for r in data.records for place in range(len(r.objects)))


def has_own_area(objects: Objects, place: int) -> bool:
    """Whether an object has another area than its box."""
    x1, y1, x2, y2 = objects.boxes[place]
    return not np.isclose(objects.area[place], (x2 - x1) * (y2 - y1), rtol=1e-5)


def counted(data: DetectionData, what: str, is_lost: Callable[[Objects, int], bool]) -> list[str]:
    """One line with the number of objects for which this is lost; none if it is lost for none."""
    count = sum(bool(is_lost(objects, place)) for objects, place in each(data))
    return [f"{data.split}: {what} ({count})"] if count else []


def identifiers(data: DetectionData) -> list[int | float | str | None]:
    """The ids of all objects."""
    return [identifier for record in data.records for identifier in record.objects.identifiers]


def ids_of_objects(data: DetectionData) -> list[str]:
    """One line on the objects' ids, if they are not simply numbered."""
    found = identifiers(data)
    simple = found in ([*range(len(found))], [*range(1, len(found) + 1)])
    count = 0 if simple else sum(identifier is not None for identifier in found)
    return [f"{data.split}: ids of objects ({count})"] if count else []


def ids(data: DetectionData) -> list[str]:
    """Ids of categories, images and objects, if they are not simply numbered."""
    lost = []
    if data.category_ids != tuple(range(1, len(data.class_names) + 1)):
        lost.append("ids of categories")
    if [record.image_id for record in data.records] != list(range(len(data))):
        lost.append("ids of images")
    return [f"{data.split}: {what}" for what in lost] + ids_of_objects(data)
