"""Which reference box learns which object."""

import dataclasses
import functools

import keras
from keras import ops

from harmonic_tf import boxes
from harmonic_tf.models.sampling import batched_gather
from harmonic_tf.ops import BACKGROUND, IGNORED
from harmonic_tf.ops.compilation import compiled


@dataclasses.dataclass(frozen=True)
class Matching:
    """Targets of a stage by the IoU of its reference boxes with the objects.

    Attributes:
        positive: float. IoU from which a reference box learns an object.
        negative: float. IoU below which it is background; between the two, ignored.
        force: bool. Whether each object that overlaps a reference box gets one of its own, whatever
            the IoU.
    """

    positive: float
    negative: float
    force: bool = False

    def __call__(self, row, truth):
        """The `y_true` of the contract for a `Row` of a stage and ground truth."""
        return encode_targets(
            row.reference_boxes, truth["boxes"], truth["classes"], row.stage.coder, self
        )


def match(reference_boxes, gt_boxes, matching):
    """Assigns an object to each reference box by IoU.

    Args:
        reference_boxes: `(A, 4)` or, if images have their own, `(B, A, 4)`, x1, y1, x2, y2.
        gt_boxes: `(B, M, 4)`, of the same format; a box without area stands for none.
        matching: `Matching`.

    Returns:
        `(index, label)`, int32 `(B, A)` each: the object of the reference box, and 0 for positive,
        -1 for background, -2 for ignored.
    """
    valid = boxes.has_area(gt_boxes)
    iou = keras.utils.bounding_boxes.compute_iou(reference_boxes, gt_boxes, "xyxy")
    iou = ops.where(valid[:, None], iou, -1.0)
    best = ops.max(iou, axis=2)
    index = ops.cast(ops.argmax(iou, axis=2), "int32")
    label = ops.where(best >= matching.negative, IGNORED, BACKGROUND)
    label = ops.where(best >= matching.positive, 0, label)
    if matching.force:
        own = _own_boxes(iou)
        numbers = ops.arange(ops.shape(iou)[1], dtype="int32")
        claims = ops.equal(numbers[:, None], own[:, None])
        claimed = ops.any(claims, axis=2)
        index = ops.where(claimed, ops.cast(ops.argmax(claims, axis=2), "int32"), index)
        label = ops.where(claimed, 0, label)
    return index, ops.cast(label, "int32")


def _own_boxes(iou):
    """For each object a reference box of its own, `(B, M)`, or -1 where it overlaps none.

    The stable matching (Gale & Shapley 1962): each object asks for the box that it overlaps most; a
    box takes the one that overlaps it most, and those that it refuses ask for their next best. Two
    objects with the same best box so have one each, whichever is listed first.

    Args:
        iou: `(B, A, M)`; nothing above 0 for what is no object.
    """
    boxes = ops.arange(ops.shape(iou)[1], dtype="int32")
    objects = ops.arange(ops.shape(iou)[2], dtype="int32")

    def ask(iou):
        overlap = ops.max(iou, axis=1)
        wish = ops.where(overlap > 0, ops.cast(ops.argmax(iou, axis=1), "int32"), -1)
        mine, other = overlap[:, :, None], overlap[:, None, :]
        earlier = ops.logical_and(ops.equal(mine, other), objects[:, None] > objects[None, :])
        better = ops.logical_or(other > mine, earlier)
        rivals = ops.logical_and(ops.equal(wish[:, :, None], wish[:, None, :]), better)
        return wish, ops.logical_and(wish >= 0, ops.any(rivals, axis=2))

    def ask_again(iou, wish, refused):
        refused_by = ops.where(refused, wish, -1)
        iou = ops.where(ops.equal(boxes[:, None], refused_by[:, None]), -1.0, iou)
        return iou, *ask(iou)

    _, wish, _ = ops.while_loop(
        lambda iou, wish, refused: ops.any(refused), ask_again, (iou, *ask(iou))
    )
    return wish


def encode_targets(reference_boxes, gt_boxes, gt_classes, coder, matching):
    """The `y_true` of the contract for reference boxes and padded ground truth.

    Args:
        reference_boxes: `(A, 4)` or, if images have their own, `(B, A, 4)`, x1, y1, x2, y2 in
            pixels.
        gt_boxes: `(B, M, 4)`, of the same format, padded with -1.
        gt_classes: `(B, M)`, padded with -1.
        coder: see `harmonic_tf.coders`.
        matching: `Matching`.

    Returns:
        `{"box": (B, A, 4), "classification": (B, A)}`, float32. The deltas of reference boxes
        without an object are zero.
    """
    reference_boxes = ops.convert_to_tensor(reference_boxes, "float32")
    encode = _compiled(len(reference_boxes.shape), coder, matching)
    gt_boxes, gt_classes = pad_objects(
        ops.cast(gt_boxes, "float32"), ops.cast(gt_classes, "float32")
    )
    box, classification = encode(reference_boxes, gt_boxes, gt_classes)
    return {"box": box, "classification": classification}


@functools.lru_cache(maxsize=None)
def _compiled(rank, coder, matching):
    """The compiled encoding; one for each rank of the boxes, so that it is always known."""

    def encode(reference_boxes, gt_boxes, gt_classes):
        index, label = match(reference_boxes, gt_boxes, matching)
        positive = ops.equal(label, 0)
        matched = batched_gather(gt_boxes, index)
        box = ops.where(positive[..., None], coder.encode(matched, reference_boxes), 0.0)
        classes = batched_gather(gt_classes, index)
        return box, ops.where(positive, classes, ops.cast(label, "float32"))

    return compiled(encode)


def pad_objects(gt_boxes, gt_classes, multiple=16):
    """Adds objects of no class and no area, at least one, so that every image has one to point
    at, up to a multiple, so that batches of other sizes seldom need another compilation."""
    extra = multiple - ops.shape(gt_classes)[1] % multiple
    gt_boxes = ops.where(gt_classes[..., None] >= 0, gt_boxes, -1.0)
    return (
        ops.pad(gt_boxes, [[0, 0], [0, extra], [0, 0]], constant_values=-1.0),
        ops.pad(gt_classes, [[0, 0], [0, extra]], constant_values=-1.0),
    )
