"""Files of PyTorch are read without it, and nothing but tensors comes out of them."""

import collections
import io
import os
import pickle
import zipfile

import keras
import numpy as np
import pytest
from torch_reference import DATA, TENSORS

from harmonic_tf.models.backbones.backbone import PyramidBackbone
from harmonic_tf.models.backbones.torch_weights import (
    convert,
    load_state_dict,
    read_state_dict,
)

MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"


@pytest.mark.parametrize("form", ["pickles", "zip"])
def test_tensors_are_those_that_pytorch_wrote(form):
    received = read_state_dict(str(DATA / f"{form}.pth"))
    assert received.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        assert received[name].dtype == expected.dtype, name
        assert received[name].flags.c_contiguous
        np.testing.assert_array_equal(received[name], expected, err_msg=name)


class Command:
    """What runs a command of the shell where it is unpickled carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def zipped(content, numbers=b""):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights/data.pkl", content)
        archive.writestr("weights/data/0", numbers)
    return file.getvalue()


def pickled(content):
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    return MAGIC + pickle.dumps(1001, 2) + pickle.dumps(system, 2) + content


@pytest.mark.parametrize("form", [zipped, pickled])
def test_a_pickle_that_runs_something_is_refused(form, tmp_path):
    file, trace = tmp_path / "bad.pth", tmp_path / "trace"
    content = pickle.dumps({"conv.weight": Command(trace)}, 2)
    pickle.loads(content)
    assert trace.exists()
    trace.unlink()
    file.write_bytes(form(content))
    message = r"bad\.pth.*It asks for \w+\.system, which is no tensor\.$"
    with pytest.raises(ValueError, match=message) as caught:
        read_state_dict(str(file))
    assert not trace.exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        b"cbuiltins\neval\n(X\x01\x00\x00\x001tR.",
        b"cnumpy\nload\n.",
        b"ctorch\nload\n.",
        b"ctorch._utils\n_import_dotted_name\n.",
        b"ccollections\ndefaultdict\n.",
        b"ctorch\nUntypedStorage\n.",
    ],
)
def test_nothing_but_tensors_can_be_named(code, tmp_path):
    file = tmp_path / "bad.pth"
    file.write_bytes(zipped(code))
    with pytest.raises(ValueError, match="which is no tensor"):
        read_state_dict(str(file))


def test_a_storage_holds_numbers(tmp_path):
    file = tmp_path / "bad.pth"
    file.write_bytes(zipped(b"(Vstorage\nVO\nV0\nVcpu\nI4\ntQ."))
    with pytest.raises(ValueError, match="which is no storage"):
        read_state_dict(str(file))


def tensor(offset, shape, strides):
    """Pickle of {"x": a tensor of the float32 numbers in storage "0"}."""

    def constant(value):
        return pickle.dumps(value, 2)[2:-1]

    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI4\ntQ"
    view = constant(offset) + constant(tuple(shape)) + constant(tuple(strides))
    return b"\x80\x02}Vx\nctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"tRs."


@pytest.mark.parametrize(
    "offset, shape, strides, expected",
    [
        (1, (3,), (1,), [1, 2, 3]),
        (0, (2, 2), (1, 2), [[0, 2], [1, 3]]),
        (3, (), (), 3),
        (4, (0,), (1,), []),
        (1, (4,), (1,), None),
        (0, (2, 2), (1, 3), None),
        (-1, (2,), (1,), None),
        (3, (2,), (-1,), None),
        (0, (-1, -1), (1, 1), None),
        (0, (10**9,), (0,), None),
    ],
)
def test_a_tensor_stays_inside_its_storage(offset, shape, strides, expected, tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(zipped(tensor(offset, shape, strides), np.arange(4, dtype="<f4").tobytes()))
    if expected is None:
        with pytest.raises(ValueError, match=r"A tensor .* reaches beyond the 4 numbers\."):
            read_state_dict(str(file))
    else:
        np.testing.assert_array_equal(read_state_dict(str(file))["x"], expected)


@pytest.mark.parametrize(
    "content, reason",
    [
        (pickle.dumps([1.0], 2), "It holds a list"),
        (pickle.dumps({"epoch": 3}, 2), "'epoch' is a int"),
        (pickle.dumps({"model": collections.OrderedDict()}, 2), "'model' is a OrderedDict"),
    ],
)
@pytest.mark.parametrize("form", [zipped, pickled])
def test_what_is_no_state_dict_is_refused(form, content, reason, tmp_path):
    file = tmp_path / "other.pth"
    file.write_bytes(form(content))
    message = f"other.pth.*expected a dictionary from name to tensor.*{reason}"
    with pytest.raises(ValueError, match=message):
        read_state_dict(str(file))


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", b"\x89HDF", MAGIC])
def test_another_file_is_refused(content, tmp_path):
    file = tmp_path / "other.pth"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match="other.pth.*expected a dictionary from name to tensor"):
        read_state_dict(str(file))


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    file = tmp_path / "part.pth"
    file.write_bytes((DATA / "pickles.pth").read_bytes()[:-4])
    with pytest.raises(ValueError, match="part.pth"):
        read_state_dict(str(file))


def test_the_state_dict_of_another_network_is_named_with_its_file():
    path = str(DATA / "pickles.pth")
    network = PyramidBackbone("efficientnet_lite0", (32, 32))
    message = f"weights '{path}' into efficientnet_lite0: The state dict lacks conv"
    with pytest.raises(ValueError, match=message):
        load_state_dict(network, path)


def test_depthwise_kernels_are_turned_their_own_way():
    network = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            keras.layers.DepthwiseConv2D(3, use_bias=False, name="depth"),
            keras.layers.Conv2D(5, 1, use_bias=False, name="point"),
        ]
    )
    state = {
        "depth.weight": np.arange(18.0).reshape(2, 1, 3, 3),
        "point.weight": np.arange(10.0).reshape(5, 2, 1, 1),
        "head.weight": np.zeros(3),
    }
    convert(state, network, left_out=("head.",))
    depth, point = network.get_weights()
    assert depth.shape == (3, 3, 2, 1) and depth[2, 0, 1, 0] == state["depth.weight"][1, 0, 2, 0]
    assert point.shape == (1, 1, 2, 5) and point[0, 0, 1, 3] == state["point.weight"][3, 1, 0, 0]
