"""Weights from the state dict of the same network in PyTorch, read without PyTorch.

A file of `torch.save` is a pickle, and a pickle can run anything. The one here may name an
`OrderedDict` and tensors, and nothing else.
"""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

_PARTS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_DTYPES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "CharStorage": "<i1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
# What a file of PyTorch before 1.6 begins with.
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def read_state_dict(path):
    """Reads a file that `torch.save(model.state_dict(), path)` wrote, of any release of PyTorch.

    Returns:
        Dictionary from name to array, of the type that was saved.

    Raises:
        ValueError: if it is no file of a state dict, or names anything but tensors.
    """
    try:
        with open(path, "rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            return _read_zip(file) if is_zip else _read_pickles(file)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(
            f"Could not read the weights {path!r}, which are damaged, cut short, or something "
            "else: expected a dictionary from name to tensor, as "
            f"torch.save(model.state_dict(), path) writes it. {reason}"
        ) from error


class _Storage(NamedTuple):
    """A row of numbers in the file, which tensors are views of."""

    dtype: np.dtype
    key: str


class _Tensor(NamedTuple):
    """A view of a storage; `offset` and `strides` count numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple

    def array(self, storages):
        numbers = storages[self.storage.key]
        pairs = list(zip(self.shape, self.strides, strict=True))
        last = self.offset + sum((size - 1) * stride for size, stride in pairs)
        count = math.prod(self.shape)
        forwards = min(self.offset, *self.shape, *self.strides, 0) == 0
        if not forwards or count > len(numbers) or (count and last >= len(numbers)):
            raise ValueError(f"A tensor {self.shape} reaches beyond the {len(numbers)} numbers.")
        strides = [stride * numbers.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides)
        return np.array(view, order="C")


class _Unpickler(pickle.Unpickler):
    """Reads pickles of `_Tensor`s, and refuses what is neither a tensor nor their dictionary."""

    def find_class(self, module, name):
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(
                storage, offset, shape, strides
            )
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        raise pickle.UnpicklingError(f"It asks for {module}.{name}, which is no tensor.")

    def persistent_load(self, pid):
        kind, dtype, key, _, _, *view = pid
        if kind != "storage" or dtype not in _DTYPES.values() or any(view):
            raise pickle.UnpicklingError(f"It asks for {pid!r}, which is no storage.")
        return _Storage(np.dtype(dtype), key)


def _load(file):
    return _Unpickler(file).load()


def _tensors_of(state):
    if not isinstance(state, dict):
        raise TypeError(f"It holds a {type(state).__name__}.")
    for name, tensor in state.items():
        if not isinstance(tensor, _Tensor):
            raise TypeError(f"{name!r} is a {type(tensor).__name__}.")
    return state


def _read_zip(file):
    """Since PyTorch 1.6: a zip of the pickle and of a file a storage."""
    archive = zipfile.ZipFile(file)
    (pickled,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    folder = pickled.removesuffix("/data.pkl")
    if f"{folder}/byteorder" in archive.namelist():
        _refuse_big_endian(archive.read(f"{folder}/byteorder") == b"little")
    tensors = _tensors_of(_load(io.BytesIO(archive.read(pickled))))
    storages = {
        storage.key: np.frombuffer(archive.read(f"{folder}/data/{storage.key}"), storage.dtype)
        for storage in {tensor.storage for tensor in tensors.values()}
    }
    return {name: tensor.array(storages) for name, tensor in tensors.items()}


def _read_pickles(file):
    """Before PyTorch 1.6: five pickles, then each storage behind its length, in order of key."""
    if _load(file) != _MAGIC_NUMBER or _load(file) != _PROTOCOL:
        raise ValueError("It does not begin as a file of PyTorch.")
    _refuse_big_endian(_load(file)["little_endian"])
    tensors = _tensors_of(_load(file))
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
    storages = {}
    for key in _load(file):
        size = int.from_bytes(file.read(8), "little") * dtypes[key].itemsize
        storages[key] = np.frombuffer(file.read(size), dtypes[key])
    return {name: tensor.array(storages) for name, tensor in tensors.items()}


def _refuse_big_endian(is_little):
    if not is_little:
        raise ValueError("Its numbers are big-endian.")


def dots(name):
    """`"layer1.0.conv1"` for the layer `"layer1_0_conv1"`."""
    return name.replace("_", ".")


def load_state_dict(network, path, torch_name=dots, left_out=("fc.",)):
    """Reads a file and assigns what it holds, as `convert` does.

    Args:
        network: `PyramidBackbone`.
        path: string. As for `read_state_dict`.
        torch_name: function, as for `convert`.
        left_out: tuple of strings, as for `convert`.

    Raises:
        ValueError: naming the file, if it is no state dict, or that of another network.
    """
    state_dict = read_state_dict(path)
    try:
        convert(state_dict, network, torch_name, left_out)
    except ValueError as error:
        raise ValueError(
            f"Could not load the weights {path!r} into {network.architecture}: {error}"
        ) from error


def convert(state_dict, network, torch_name=dots, left_out=("fc.",)):
    """Assigns a state dict to a Keras network with the same layers.

    Args:
        state_dict: mapping from name, such as `"layer1.0.conv1.weight"`, to array. PyTorch's count
            of batches is left out.
        network: `keras.Model` without biases in its convolutions.
        torch_name: function from the name of one of its layers to PyTorch's.
        left_out: tuple of strings. What the names of PyTorch's classifier begin with, which is left
            out too.

    Raises:
        ValueError: naming what is missing, what the network lacks, or what has another shape. The
            network is then as it was.
    """
    places = {}
    for layer in network.layers:
        places |= layer_places(layer, torch_name(layer.name))
    assign({name: x for name, x in state_dict.items() if not name.startswith(left_out)}, places)


class Place(NamedTuple):
    """Where a tensor of a state dict goes.

    Attributes:
        variable: Keras's variable.
        shape: tuple of ints, the tensor's.
        arrange: function from the tensor's array to one of the variable's shape.
    """

    variable: keras.Variable
    shape: tuple
    arrange: Callable


def layer_places(layer, torch_name):
    """The places of a layer's weights: a convolution's, a dense layer's or a normalisation's.

    Args:
        layer: Keras layer that is built.
        torch_name: string. PyTorch's name of it.

    Returns:
        Dictionary from a tensor's name to its `Place`.
    """
    return {
        f"{torch_name}.{_PARTS[variable.name]}": _place(variable, _torch_axes(layer, variable))
        for variable in layer.variables
    }


def _place(variable, axes):
    shape = tuple(variable.shape[axis] for axis in axes)
    return Place(variable, shape, lambda array: array.transpose(np.argsort(axes)))


def _torch_axes(layer, variable):
    """Where PyTorch's axes, (filters, channels of a group, rows, columns), lie in a variable."""
    if len(variable.shape) == 4:
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        return (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
    return (1, 0) if len(variable.shape) == 2 else (0,)


def with_rows(places, index, count, scale=1.0):
    """The places of a layer that has PyTorch's outputs in another order, or not all of them.

    Args:
        places: dictionary of `Place`, of a layer without normalisation.
        index: for each output of the layer, PyTorch's.
        count: int. PyTorch's outputs.
        scale: for each output, or for all, what PyTorch's is multiplied by.

    Returns:
        Dictionary of `Place`, for tensors whose first axis has the length `count`.
    """
    index = np.asarray(index)
    scale = np.broadcast_to(np.asarray(scale, "float32"), index.shape)

    def moved(place):
        factor = scale.reshape(-1, *[1] * (len(place.shape) - 1))
        return Place(
            place.variable,
            (count, *place.shape[1:]),
            lambda array: place.arrange(array[index] * factor),
        )

    return {name: moved(place) for name, place in places.items()}


def assign(state_dict, places):
    """Assigns a state dict to the variables of its places.

    Args:
        state_dict: mapping from name to array. PyTorch's count of batches is left out.
        places: dictionary from name to `Place`.

    Raises:
        ValueError: naming what is missing, what has no place, what has another shape, or what is
            NaN or infinite. The variables are then as they were.
    """
    arrays = {
        name: np.asarray(x)
        for name, x in state_dict.items()
        if not name.endswith(".num_batches_tracked")
    }
    _refuse("lacks", [name for name in places if name not in arrays])
    _refuse("has, but the network has not,", [name for name in arrays if name not in places])
    _refuse(
        "has in another shape than expected",
        [
            f"{name} {arrays[name].shape} instead of {place.shape}"
            for name, place in places.items()
            if arrays[name].shape != place.shape
        ],
    )
    _refuse(
        "has numbers that are not finite in",
        [name for name, x in arrays.items() if not np.isfinite(x).all()],
    )
    for name, place in places.items():
        place.variable.assign(place.arrange(arrays[name]))


def _refuse(what, names):
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise ValueError(f"The state dict {what} {', '.join(names[:5])}{more}.")
