"""Training on feature maps that are computed once: an epoch then costs the heads only.

The backbone is frozen, and each image is seen in a few fixed augmentations. What is kept of each is
the maps that the detector's heads read, as float16, and its boxes.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from harmonic_tf.models.heads import feature_network
from harmonic_tf.training.data.cache import kept_arrays
from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.data.pipeline import (
    PREFETCHED_BATCHES,
    TrainBatches,
    train_batches,
    whole_batches,
)
from harmonic_tf.training.data.reading import PARALLEL, fixed_pipeline
from harmonic_tf.training.data.resized import content_of
from harmonic_tf.training.data.transforms.augmentation import Augmentation
from harmonic_tf.training.interrupts import interruptible
from harmonic_tf.training.progress import progress_bar

# Draws are made for a batch at once: these two decide what is seen, whatever a run's own are.
SEED = 1
BATCH_SIZE = 16
# What a backbone's config says of how it is trained, which features do not depend on.
OF_TRAINING = ("freeze_batch_norm", "frozen_level", "trainable")


def kept_features(
    data: DetectionData,
    model,
    augmentation: Augmentation,
    views: int,
    place: str,
    say: Callable = print,
) -> dict[str, np.ndarray]:
    """The backbone's feature maps of all images, in several augmentations.

    Args:
        data: DetectionData.
        model: detector of harmonic_tf.models. Its backbone computes as in evaluation.
        augmentation: Augmentation.
        views: int N. How often each image is augmented.
        place: str. "memory" or "disk", as for `kept_arrays`.
        say: callable, as for `kept_arrays`.

    Returns:
        dict. Level, such as "P3" -> float16 `(N, I, h, w, C)` for I images; "boxes" -> float32
        `(N, I, M, 4)`, xyxy pixels of the network's input, and "classes" -> float32 `(N, I, M)`,
        padded with -1.

    Raises:
        UserError: see `kept_arrays`.
        ValueError: a detector of masks; a feature that float16 does not hold; an image that can
            no longer be read.
    """
    if model.has_masks:
        raise ValueError(
            f"{type(model).__name__} learns masks, which are not kept with features: train it "
            "without cache_features, or on images that cache keeps"
        )
    network = feature_network(model)
    batch_size = min(BATCH_SIZE, len(data))
    size, resize = model.image_size, model.resize
    batches = train_batches(data, size, batch_size, resize, augmentation, SEED)
    targets = batches.in_order(0).element_spec[1]
    shapes = {
        **{level: (tuple(maps.shape[1:]), "float16") for level, maps in network.output.items()},
        **{name: (tuple(spec.shape[1:]), "float32") for name, spec in targets.items()},
    }
    specs = {name: ((views, len(data), *shape), dtype) for name, (shape, dtype) in shapes.items()}
    about = {
        "content": content_of(data),
        "objects": _objects_of(data),
        "image_size": list(size),
        "resize": resize,
        "augmentation": dataclasses.asdict(augmentation),
        "views": views,
        "levels": list(network.output),
        "backbone": _backbone_of(model),
        "precision": model.dtype_policy.name,
    }

    look = tf.function(lambda images: network(images, training=False), autograph=False)

    def fill(arrays):
        with progress_bar(True) as bar:
            task = bar.add_task("features", total=views * len(data))
            for view in range(views):
                for start, rows in interruptible(_computed(look, batches, view, len(data))):
                    stop = start + len(rows["classes"])
                    for name, values in rows.items():
                        _put(values, arrays[name][view, start:stop], name)
                    bar.update(task, completed=view * len(data) + stop)
        if data.broken:
            raise ValueError(f"{data.broken[0]}; features are kept of whole data only")

    return kept_arrays("features", about, specs, fill, place, say)


class FeatureBatches:
    """Batches of kept features, one epoch at a time, in the place of `TrainBatches`.

    In an epoch each image is seen once, in the augmentation whose turn it is: in N epochs in all N.

    Args:
        arrays: dict, from `kept_features`.
        batch_size: int.
        seed: int. With the epoch, it decides the order.

    Attributes:
        steps_per_epoch: int. The images that do not fill a batch are left out (others in every
            epoch).

    Raises:
        ValueError: fewer images than a batch.
    """

    def __init__(self, arrays, batch_size, seed):
        self._targets = {name: arrays[name] for name in ("boxes", "classes")}
        self._maps = {name: maps for name, maps in arrays.items() if name not in self._targets}
        self._views, self._count = arrays["classes"].shape[:2]
        self._batch_size, self._seed = batch_size, seed
        self.steps_per_epoch = whole_batches("features", self._count, batch_size)

    def __call__(self, epoch: int) -> tf.data.Dataset:
        """One epoch of `(maps, targets)`: a tuple of float32 `(B, h, w, C)`, finest first, and
        {"boxes": `(B, M, 4)`, "classes": `(B, M)`} as of `TrainBatches`."""
        order = np.random.default_rng([self._seed, epoch]).permutation(self._count)
        views = (order + epoch) % self._views
        return (
            tf.data.Dataset.from_tensor_slices((views, order))
            .batch(self._batch_size, drop_remainder=True)
            .map(self._look_up, **PARALLEL)
            .prefetch(PREFETCHED_BATCHES)
            .with_options(fixed_pipeline())
        )

    def _look_up(self, views, indices):
        sources = [*self._maps.values(), *self._targets.values()]
        found = tf.numpy_function(
            lambda *rows: [source[rows].astype(np.float32) for source in sources],
            [views, indices],
            len(sources) * [tf.float32],
        )
        *maps, boxes, classes = (
            tf.ensure_shape(rows, (self._batch_size, *source.shape[2:]))
            for rows, source in zip(found, sources, strict=True)
        )
        return tuple(maps), {"boxes": boxes, "classes": classes}


def _computed(look, batches: TrainBatches, view: int, count: int):
    """What is kept of each batch of a view, and the index of its first image."""
    start = 0
    for images, targets in batches.in_order(view):
        rows = {**look(images), **targets}
        yield start, {name: values.numpy()[: count - start] for name, values in rows.items()}
        start += len(images)


def _put(values, there, name):
    with np.errstate(over="ignore"):
        there[:] = values
    if not np.isfinite(there).all():
        raise ValueError(f"a feature of {name} is too large for float16, or not finite")


def _objects_of(data: DetectionData) -> str:
    """Hash of what is to be found in the images."""
    content = hashlib.sha256()
    for record in data.records:
        objects = record.objects
        content.update(f"{len(objects)}\n".encode())
        for field in (objects.boxes, objects.classes, objects.crowd):
            content.update(field.tobytes())
    return content.hexdigest()


def _backbone_of(model) -> str:
    """Hash of a backbone: how it is built, and its weights."""
    config = {**model.backbone.get_config(), "name": type(model.backbone).__name__}
    config = {key: value for key, value in config.items() if key not in OF_TRAINING}
    content = hashlib.sha256(json.dumps(config, default=str, sort_keys=True).encode())
    for values in model.backbone.get_weights():
        content.update(values.tobytes())
    return content.hexdigest()
