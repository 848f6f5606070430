"""Weights from the state dict of the same network in PyTorch."""

import numpy as np

_PARTS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def read_state_dict(path):
    """Reads a file that `torch.save` wrote.

    Returns:
        Dictionary from name to float32 array.

    Raises:
        ValueError: if PyTorch is not installed, or it is no file of a state dict.
    """
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"PyTorch reads the weights {path!r}, and is not installed: pip install torch"
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value.float().numpy() for name, value in state.items()}
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(
            f"Could not read the weights {path!r}: expected a dictionary from name to tensor, as "
            f"torch.save(model.state_dict(), path) writes it. {reason}"
        ) from error


def convert(state_dict, network):
    """Assigns a state dict to a Keras network with the same layers.

    Args:
        state_dict: mapping from name, such as `"layer1.0.conv1.weight"`, to array. A classifier
            (`fc.*`) and PyTorch's count of batches are left out.
        network: `keras.Model` without biases in its convolutions; its layers have the same names,
            with `_` for the dots.

    Raises:
        ValueError: naming what is missing, what the network lacks, or what has another shape. The
            network is then as it was.
    """
    variables = {
        f"{layer.name.replace('_', '.')}.{_PARTS[variable.name]}": variable
        for layer in network.layers
        for variable in layer.variables
    }
    arrays = {name: np.asarray(x) for name, x in state_dict.items() if not _is_left_out(name)}
    _refuse("lacks", [name for name in variables if name not in arrays])
    _refuse("has, but the network has not,", [name for name in arrays if name not in variables])
    shapes = {name: _torch_shape(variable) for name, variable in variables.items()}
    _refuse(
        "has in another shape than expected",
        [
            f"{name} {arrays[name].shape} instead of {shape}"
            for name, shape in shapes.items()
            if arrays[name].shape != shape
        ],
    )
    for name, variable in variables.items():
        array = arrays[name]
        variable.assign(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)


def _is_left_out(name):
    return name.startswith("fc.") or name.endswith(".num_batches_tracked")


def _torch_shape(variable):
    shape = tuple(variable.shape)
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape


def _refuse(what, names):
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise ValueError(f"The state dict {what} {', '.join(names[:5])}{more}.")
