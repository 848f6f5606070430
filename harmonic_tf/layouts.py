"""How other people's models write targets and predictions: read into the contract of the losses.

A layout says where boxes, classes and further columns stand, and what the numbers in them mean.
How boxes are coded is a coder's matter (`harmonic_tf.coders`).
"""

import dataclasses

import numpy as np
from keras import ops

from harmonic_tf.coders import CODERS
from harmonic_tf.ops import BACKGROUND, IGNORED
from harmonic_tf.ops.one_hot import one_hot_classes

# A one-hot row whose class cannot be told.
MIXED = -3

_WIDTHS = {"box": 4, "class": 1, "state": 1, "object": 1}
_CONTRACT = ("box", "classification")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a model's boxes, classes and further columns stand, and what they mean.

    `HarmonicDetLoss(layout=Layout(...))` reads packed tensors `(B, A, columns)` by `targets` and
    `predictions`. A dictionary holds a tensor with the box's columns and one with the classes',
    each with the further columns that follow them, less those that are not read; a value may be a
    dictionary of feature levels, `(B, H, W, anchors * width)` each.

    Attributes:
        targets: columns of `y_true`, in their order: `"box"` (4); `"class"` (an index, -1
            background, -2 ignored) or `"classes"` (one-hot; read by its largest entry, which must
            be over 0.5); `"state"` (1 an object, 0 background, -1 ignored); `"object"` (1 an
            object, 0 none); an int for so many columns that are not read.
        predictions: columns of `y_pred`: `"box"`, `"classes"` (scores) and ints.
        box_coding: `"center_size"`, `"corners"`, `"distances"` (left, top, right, bottom, in
            strides) or `"boxes"` (plain boxes: smooth L1 is then that of the corners in units of
            the target's size); see `harmonic_tf.coders`.
        box_variance: 4 floats, or one for all, that deltas were divided by. It replaces the loss's;
            None: the loss's own for deltas, 1 for distances and boxes.
        bounding_box_format: Keras's name of the format, for `box_coding="boxes"`.
        background: `"last"` or `"first"`: the classes' column that the softmax form has for it.
            None: there is none, which is the focal form.
        from_logits: bool. False: softmax or sigmoid has been applied. The gradient then goes
            through the logarithm of the probability, held at 1e-15.
        empty_row: what a one-hot row of zeros is: `"ignored"` or `"background"`.
        target_keys: keys of a dictionary `y_true`: of the boxes and of the classes.
        prediction_keys: the same of `y_pred`.
        weight_key: key in `y_true` of weights `(B, A)`: a row of weight 0 is ignored.

    Raises:
        ValueError: if columns are not as described, or a setting has no such value.

    Example:

    >>> layout = Layout(predictions=("classes", "box"), background="first", box_variance=1.0)
    >>> y_true = np.array([[[0.0, 0, 0, 0, 0], [0, 0, 0, 0, -1]]])
    >>> y_pred = np.zeros((1, 2, 2 + 4))  # background, one class, deltas
    >>> round(float(HarmonicDetLoss(layout=layout)(y_true, y_pred)), 4)
    2.1794
    """

    targets: tuple = ("box", "class")
    predictions: tuple = ("box", "classes")
    box_coding: str = "center_size"
    box_variance: tuple[float, float, float, float] | float | None = None
    bounding_box_format: str = "xyxy"
    background: str | None = "last"
    from_logits: bool = True
    empty_row: str = "ignored"
    target_keys: tuple[str, str] = _CONTRACT
    prediction_keys: tuple[str, str] = _CONTRACT
    weight_key: str | None = None

    def __post_init__(self):
        for name in ("targets", "predictions", "target_keys", "prediction_keys"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if isinstance(self.box_variance, int | float):
            object.__setattr__(self, "box_variance", (float(self.box_variance),) * 4)
        elif self.box_variance is not None:
            object.__setattr__(self, "box_variance", tuple(float(v) for v in self.box_variance))
        _require(self, "box_coding", tuple(CODERS))
        _require(self, "background", ("last", "first", None))
        _require(self, "empty_row", ("ignored", "background"))
        if self.box_coding == "distances" and self.box_variance is not None:
            raise ValueError(
                "`box_variance` must be None for distances, which are in strides. "
                f"Received: {self.box_variance}"
            )
        _check_columns("targets", self.targets, ("class", "classes"), ("state", "object"))
        _check_columns("predictions", self.predictions, ("classes",), ())
        self.coder(self.box_variance)

    @property
    def classification(self):
        """The form of the losses that the scores are for."""
        return "focal" if self.background is None else "softmax"

    def coder(self, box_variance):
        """The coder of the boxes; `box_variance` counts where the layout has none of its own."""
        if self.box_coding == "distances":
            return CODERS["distances"]()
        settings = {}
        if self.box_coding == "boxes":
            settings["bounding_box_format"] = self.bounding_box_format
        elif box_variance is not None:
            settings["variance"] = box_variance
        if self.box_variance is not None:
            settings["variance"] = self.box_variance
        return CODERS[self.box_coding](**settings)

    def read(self, y_true, y_pred, coder):
        """Targets and predictions as the fused objective takes them.

        Args:
            y_true: packed tensor or dictionary.
            y_pred: packed tensor or dictionary.
            coder: as `coder` returned it.

        Returns:
            `(scores, box_pred, classes, box_true)`: `(B, A, K)`, `(B, A, 4)`, `(B, A)`,
            `(B, A, 4)`. A one-hot row whose class cannot be told has the class -3.

        Raises:
            ValueError: if the columns do not fit.
        """
        weights = y_true[self.weight_key] if self.weight_key in _keys(y_true) else None
        found = self._columns(y_pred, self.predictions, self.prediction_keys, "y_pred", None)
        scores, box_pred = found["classes"], found["box"]
        count = scores.shape[-1]
        found = self._columns(y_true, self.targets, self.target_keys, "y_true", count)
        classes = found["class"] if "class" in found else found["classes"]
        if "state" in found:
            state = found["state"]
            classes = ops.where(state > 0.5, classes, ops.where(state < -0.5, IGNORED, BACKGROUND))
        if "object" in found:
            nothing = ops.logical_and(found["object"] < 0.5, ops.not_equal(classes, IGNORED))
            classes = ops.where(nothing, BACKGROUND, classes)
        if weights is not None:
            classes = ops.where(ops.equal(weights, 0), IGNORED, classes)
        box_pred, box_true = coder.for_loss(box_pred, found["box"])
        return scores, box_pred, classes, box_true

    def keep(self, y, keys):
        """A dictionary without what this layout does not read."""
        if not isinstance(y, dict):
            return y
        wanted = {*keys, self.weight_key}
        return {key: value for key, value in y.items() if key in wanted}

    def _columns(self, y, columns, keys, name, classes):
        """The named columns of a packed tensor or a dictionary.

        `classes` is None for predictions, and how many columns these have for targets.
        """
        cut = self._split if classes is None else self._slices
        if not isinstance(y, dict):
            return cut(y, columns, name, classes)
        missing = set(keys) - set(y)
        if missing:
            raise ValueError(
                f"`{name}` must have the keys {list(keys)}, by its layout. Received a dictionary "
                f"with the keys {sorted(y)}."
            )
        of_box, of_classes = _groups(columns)
        box, scores = _joined_levels(y[keys[0]], y[keys[1]])
        if of_classes == ("class",) and len(scores.shape) == 2:
            scores = scores[..., None]
        return {
            **cut(box, of_box, f'{name}["{keys[0]}"]', classes),
            **cut(scores, of_classes, f'{name}["{keys[1]}"]', classes),
        }

    def _split(self, tensor, columns, name, classes):
        """The named columns of predictions. The gradient of a split is one concatenation."""
        ends = np.cumsum(self._widths(tensor, columns, name, classes))[:-1].tolist()
        parts = ops.split(tensor, ends, axis=-1) if ends else [tensor]
        return dict(zip(columns, parts, strict=True))

    def _slices(self, tensor, columns, name, classes):
        """The named columns of targets; those of width 1 without the axis, classes as indices."""
        found, start = {}, 0
        for column, width in zip(
            columns, self._widths(tensor, columns, name, classes), strict=True
        ):
            if column == "classes":
                found[column] = self._indices(tensor, start, width)
            elif column == "box":
                found[column] = tensor[..., start : start + width]
            elif not isinstance(column, int):
                found[column] = tensor[..., start]
            start += width
        return found

    def _widths(self, tensor, columns, name, classes):
        """How many columns each takes of a tensor's last axis; refuses one that does not fit."""
        shape, fixed = tuple(tensor.shape), _fixed(columns)
        rest = None if shape[-1] is None else shape[-1] - fixed
        if "classes" in columns:
            least = 1 if self.background is None else 2
            fits = rest is not None and (rest == classes if classes else rest >= least)
        else:
            fits = rest == 0
        if len(shape) != 3 or not fits:
            expected = " + ".join(
                str(column) if isinstance(column, int) else _column_name(column, classes)
                for column in columns
            )
            raise ValueError(
                f"`{name}` must have the shape (B, A, columns), columns = {expected} by its "
                f"layout. Received the shape {shape}."
            )
        return [_width(column, rest) for column in columns]

    def _indices(self, tensor, start, columns):
        """Class indices `(B, A)` of one-hot columns: by the entry over 0.5."""
        classes = {
            "first": (BACKGROUND, *range(columns - 1)),
            "last": (*range(columns - 1), BACKGROUND),
            None: tuple(range(columns)),
        }[self.background]
        empty = IGNORED if self.empty_row == "ignored" else BACKGROUND
        return one_hot_classes(tensor, start, classes, empty, MIXED)


def layout_of(layout):
    """A `Layout` from itself, its name, its config, or None.

    Raises:
        ValueError: if no layout has that name.

    Example:

    >>> layout_of("keras_retinanet").box_coding
    'corners'
    """
    if layout is None or isinstance(layout, Layout):
        return layout
    if isinstance(layout, dict):
        return Layout(**layout)
    if layout not in LAYOUTS:
        raise ValueError(
            f"`layout` must be a harmonic_tf.Layout or one of {sorted(LAYOUTS)}. "
            f"Received: {layout!r}"
        )
    return LAYOUTS[layout]


def config_of(layout):
    """What `layout_of` makes the layout from again: a name, a plain dictionary, or None."""
    for name, known in LAYOUTS.items():
        if layout == known:
            return name
    if layout is None:
        return None
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(layout).items()
    }


def fitting_layouts(target_columns, prediction_columns):
    """Known layouts of packed tensors that have so many columns, each with how they add up.

    Example:

    >>> fitting_layouts(13, 12)
    {'ssd_tf2': '13 = 4 + 8 + 1 columns in `y_true`, 12 = 4 + 8 in `y_pred`'}
    """
    found = {}
    for name, layout in LAYOUTS.items():
        classes = prediction_columns - _fixed(layout.predictions)
        targets = _fixed(layout.targets) + classes * ("classes" in layout.targets)
        if classes > (layout.background is not None) and targets == target_columns:
            sums = [
                " + ".join(str(_width(column, classes)) for column in columns)
                for columns in (layout.targets, layout.predictions)
            ]
            found[name] = (
                f"{target_columns} = {sums[0]} columns in `y_true`, "
                f"{prediction_columns} = {sums[1]} in `y_pred`"
            )
    return found


def _require(layout, name, choices):
    value = getattr(layout, name)
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {value!r}")


def _check_columns(name, columns, classes, others):
    named = [column for column in columns if not isinstance(column, int)]
    if (
        named.count("box") != 1
        or sum(named.count(column) for column in classes) != 1
        or set(named) - {"box", *classes, *others}
    ):
        further = f", and at will {', '.join(map(repr, others))}" if others else ""
        raise ValueError(
            f'`{name}` must hold "box" once, one of {classes}{further}, and ints for columns that '
            f"are not read. Received: {columns}"
        )


def _width(column, classes):
    return column if isinstance(column, int) else _WIDTHS.get(column, classes)


def _fixed(columns):
    return sum(_width(column, 0) for column in columns)


def _keys(y):
    return y if isinstance(y, dict) else ()


def _groups(columns):
    """The columns of the boxes' tensor and of the classes', without those that are not read."""
    groups, last = {"box": [], "classes": []}, None
    for column in columns:
        if isinstance(column, int):
            continue
        last = {"box": "box", "class": "classes", "classes": "classes"}.get(column, last)
        groups[last or "box"].append(column)
    return tuple(groups["box"]), tuple(groups["classes"])


def _joined_levels(box, scores):
    """Tensors of all anchors, also from dictionaries of levels `(B, H, W, anchors * width)`."""
    if not isinstance(box, dict):
        return box, scores
    levels = sorted(box, key=int)
    anchors = box[levels[0]].shape[-1] // 4
    classes = scores[levels[0]].shape[-1] // anchors

    def joined(of, width):
        flat = [ops.reshape(of[key], (ops.shape(of[key])[0], -1, width)) for key in levels]
        return ops.concatenate(flat, axis=1)

    return joined(box, 4), joined(scores, classes)


def _column_name(column, classes):
    width = _WIDTHS.get(column, classes)
    return column if width is None else f"{width} ({column})"


_KERAS_CV = (0.1, 0.1, 0.2, 0.2)
_ONES = (1.0, 1.0, 1.0, 1.0)

LAYOUTS = {
    # keras-team/keras-io, examples/vision/retinanet.py: LabelEncoder and RetinaNetLoss.
    "keras_io_retinanet": Layout(background=None, box_variance=_KERAS_CV),
    # pierluigiferrari/ssd_keras, keras_loss_function/keras_ssd_loss.py; the last 8 numbers are the
    # anchor's and the variances.
    "ssd_keras": Layout(
        targets=("classes", "box", 8),
        predictions=("classes", "box", 8),
        box_variance=_KERAS_CV,
        background="first",
        from_logits=False,
    ),
    # bubbliiiing/ssd-tf2 and ssd-keras, utils/dataloader.py: assign_boxes.
    "ssd_tf2": Layout(
        targets=("box", "classes", "object"),
        box_variance=_KERAS_CV,
        background="first",
        from_logits=False,
    ),
    # fizyr/keras-retinanet, keras_retinanet/utils/anchors.py: anchor_targets_bbox, bbox_transform;
    # and bubbliiiing/retinanet-keras. The two outputs and their targets side by side.
    "keras_retinanet": Layout(
        targets=("box", "state", "classes", "state"),
        box_coding="corners",
        box_variance=0.2,
        background=None,
        from_logits=False,
        empty_row="background",
    ),
    # xuannianz/EfficientDet, utils/anchors.py: bbox_transform, without scale_factors; and
    # bubbliiiing/efficientdet-tf2. The two outputs and their targets side by side.
    "efficientdet": Layout(
        targets=("box", "state", "classes", "state"),
        box_variance=_ONES,
        background=None,
        from_logits=False,
        empty_row="background",
    ),
    # tensorflow/models, official/vision/tasks/retinanet.py: build_losses; and
    # official/vision/ops/anchor.py: AnchorLabeler.
    "model_garden": Layout(
        box_variance=_ONES,
        background=None,
        target_keys=("box_targets", "cls_targets"),
        prediction_keys=("box_outputs", "cls_outputs"),
        weight_key="cls_weights",
    ),
}
