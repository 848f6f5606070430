"""Reading encoded images inside `tf.data`, in parallel and in an order that never changes."""

import os
from collections.abc import Callable

import tensorflow as tf

from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.data.images import blank

# A fixed number, as AUTOTUNE starts each epoch from 1 and many an epoch is over before it settles.
PARALLEL = {"num_parallel_calls": max(2, os.cpu_count() or 1), "deterministic": True}


def fixed_pipeline() -> tf.data.Options:
    """No tuning, and of all rewriting the useful one: the rest costs a tenth of a short epoch."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    options.experimental_optimization.map_and_batch_fusion = True
    return options


def reader(data: DetectionData) -> Callable:
    """A function: index -> the encoded image, and whether it is the one that was loaded.

    Where it is not (gone, cut, replaced since), a grey image of the same size takes its place.
    """

    def read_one(index):
        record = data.records[index]
        try:
            return record.read_again(), True
        except Exception as error:  # Whatever it is, it must not end a training.
            data.note_broken(record, str(error))
            swaps = record.orientation >= 5 and not record.with_pillow
            size = (record.height, record.width)
            return blank(*(size[::-1] if swaps else size)), False

    def read(index):
        content, is_whole = tf.numpy_function(read_one, [index], (tf.string, tf.bool))
        return tf.ensure_shape(content, []), tf.ensure_shape(is_whole, [])

    return read


def orientations(data: DetectionData) -> Callable:
    """A function: index -> how TensorFlow is to turn the image."""
    orientations = [1 if r.with_pillow else r.orientation for r in data.records]
    if set(orientations) == {1}:
        return lambda index: 1
    table = tf.constant(orientations)
    return lambda index: table[index]
