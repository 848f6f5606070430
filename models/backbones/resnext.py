"""ResNet and ResNeXt (Xie et al. 2017) as torchvision builds them, to take its weights.

They stride in the 3x3 convolution of a bottleneck, Keras's ResNets in the first 1x1.
"""

from keras import layers

from harmonic_tf.models.backbones.levels import LEVELS
from harmonic_tf.models.backbones.torch_weights import load_state_dict
from harmonic_tf.models.layers.grouped_convolution import GroupedConv2D
from harmonic_tf.models.layers.normalization import BatchNormalization

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def resnext(depths, widths, groups, bottleneck=1):
    """A ResNeXt, or with one group a ResNet.

    Layers are named as in torchvision, with `_` for its dots.

    Args:
        depths: sequence of 4 ints. Bottlenecks of each stage, P2 to P5.
        widths: sequence of 4 ints. Channels of each stage.
        groups: int. Groups of the 3x3 convolutions.
        bottleneck: int. Channels of a stage over those of its 3x3 convolutions.

    Returns:
        A function from images `(B, H, W, 3)`, values 0 to 255, RGB, to a dictionary of levels.
    """

    def features(images):
        x = layers.Rescaling(
            [1 / (255 * std) for std in _STD],
            [-mean / std for mean, std in zip(_MEAN, _STD, strict=True)],
            name="rescaling",
        )(images)
        x = _convolution(x, 64, 7, "conv1", "bn1", strides=2)
        x = layers.ReLU(name="relu")(x)
        x = layers.ZeroPadding2D(1, name="maxpool_pad")(x)
        x = layers.MaxPooling2D(3, 2, name="maxpool")(x)
        levels = {}
        stages = zip(LEVELS, depths, widths, strict=True)
        for stage, (level, depth, width) in enumerate(stages, 1):
            for block in range(depth):
                strides = 2 if stage > 1 and block == 0 else 1
                inner = width // bottleneck
                x = _bottleneck(x, width, inner, strides, groups, name=f"layer{stage}_{block}")
            levels[level] = x
        return levels

    return features


_WIDTHS = (256, 512, 1024, 2048)
resnet50 = resnext((3, 4, 6, 3), _WIDTHS, groups=1, bottleneck=4)
resnext101_32x8d = resnext((3, 4, 23, 3), _WIDTHS, groups=32)


def _bottleneck(x, width, inner, strides, groups, name):
    shortcut = x
    if strides > 1 or x.shape[-1] != width:
        names = f"{name}_downsample_0", f"{name}_downsample_1"
        shortcut = _convolution(x, width, 1, *names, strides=strides)
    x = _convolution(x, inner, 1, f"{name}_conv1", f"{name}_bn1")
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = _convolution(x, inner, 3, f"{name}_conv2", f"{name}_bn2", strides, groups)
    x = layers.ReLU(name=f"{name}_relu2")(x)
    x = _convolution(x, width, 1, f"{name}_conv3", f"{name}_bn3")
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _convolution(x, filters, size, name, norm_name, strides=1, groups=1):
    padding = "same"
    if size > 1 and strides > 1:
        # PyTorch pads both sides alike; "same" pads the end more where the size is even.
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    x = GroupedConv2D(
        filters,
        size,
        strides=strides,
        padding=padding,
        groups=groups,
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return BatchNormalization(momentum=0.9, epsilon=1e-5, name=norm_name)(x)


def load_resnext(network, weights):
    """Loads the state dict of torchvision's network of the same name.

    Args:
        network: a model with such a `resnext`.
        weights: string. Path of the file, which ends in .pth or .pt.

    Raises:
        ValueError: if it is no such file, or of another network.
    """
    if not weights.endswith((".pth", ".pt")):
        raise ValueError(
            "The weights of this network come from torchvision: download its state dict of "
            "the network of that name and pass the path of the file, which ends in .pth or .pt. "
            f"Received: weights={weights!r}"
        )
    load_state_dict(network, weights)
