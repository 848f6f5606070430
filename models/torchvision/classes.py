"""Which outputs of torchvision's detectors are classes, and what these are called."""

from typing import NamedTuple

# By COCO's ids, from 1 on; "-" where an id has no class. torchvision has an output for each id,
# and one for the background before them.
_COCO = """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light,
fire hydrant, -, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear,
zebra, giraffe, -, backpack, umbrella, -, -, handbag, tie, suitcase, frisbee, skis, snowboard,
sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, -,
wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
hot dog, pizza, donut, cake, chair, couch, potted plant, bed, -, dining table, -, -, toilet, -, tv,
laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, -, book,
clock, vase, scissors, teddy bear, hair drier, toothbrush"""
COCO = {
    index: name.strip() for index, name in enumerate(_COCO.split(","), 1) if name.strip() != "-"
}
COCO_OUTPUTS = 91


class Classes(NamedTuple):
    """The classes among the outputs of a detector.

    Attributes:
        count: int. Its outputs.
        kept: tuple of ints. For each class its output, which is also its id in results.
        names: tuple of strings.
    """

    count: int
    kept: tuple[int, ...]
    names: tuple[str, ...]


def classes_of(count, softmax):
    """The classes of a detector with so many outputs.

    91 outputs are COCO's: 80 are classes, the others the background and ids without a class. Of
    another count all are classes, "class 1" and so on, but for the background of a softmax.

    Args:
        count: int.
        softmax: bool. Whether its first output is the background.

    Example:

    >>> classes_of(3, softmax=True)
    Classes(count=3, kept=(1, 2), names=('class 1', 'class 2'))
    >>> classes_of(91, softmax=False).names[79]
    'toothbrush'
    """
    if count == COCO_OUTPUTS:
        return Classes(count, tuple(COCO), tuple(COCO.values()))
    kept = tuple(range(int(softmax), count))
    return Classes(count, kept, tuple(f"class {i}" for i in kept))
