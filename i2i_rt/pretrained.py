"""Networks that were trained on ImageNet, for losses and metrics: only read, never trained, never saved along.

`pretrained` weights are torchvision's and torch-fidelity's, downloaded once into PyTorch's own cache. `random` ones
need no download: drawn with a fixed seed, they measure something, but nothing that compares with published figures.
"""

import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError

Features = Literal["pretrained", "random"]

CAFFE_MEAN = tuple(value / 127.5 - 1 for value in (123.68, 116.779, 103.939))  # of RGB, 0 to 255
CAFFE_VGG19_URL = "https://web.eecs.umich.edu/~justincj/models/vgg19-d01eb7cb.pth"
INCEPTION_SIDE = 299  # of the images that Inception was trained on
INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
POOL4 = 23  # among VGG-16's layers
COUNTER = "num_batches_tracked"


class FrozenNetwork:
    """A network that gives activations of some of its layers and is not changed by what trains with it.

    It is no `nn.Module`, so a system may hold it as an attribute: its weights stay out of parameters, checkpoints and
    bundles. Gradients flow through it to the images. It computes in float32, also under automatic mixed precision,
    and follows the images to their device.

    Attributes:
        features: "pretrained" or "random"; figures from random features compare with no others.
    """

    def __init__(
        self,
        layers: nn.Sequential,
        taps: Sequence[int],
        *,
        mean: Sequence[float],
        deviation: Sequence[float],
        features: Features,
    ) -> None:
        """Takes the layers, the indices of those whose outputs are wanted, and what images in [-1, 1] are scaled by."""
        self.features = features
        self.layers = layers[: max(taps) + 1].eval().requires_grad_(False)
        self._taps = frozenset(taps)
        self._scale = torch.tensor([mean, deviation]).view(2, 1, 3, 1, 1)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Gives the activations, `[N, C, H, W]` or `[N, C]`, of images `[N, 3, H, W]` in [-1, 1]."""
        if self._scale.device != images.device:
            self._scale = self._scale.to(images.device)
            self.layers.to(images.device)
        mean, deviation = self._scale
        found = []
        with torch.autocast(images.device.type, enabled=False):
            x = (images.float() - mean) / deviation
            for index, layer in enumerate(self.layers):
                x = layer(x)
                if index in self._taps:
                    found.append(x)
        return found


def vgg16(features: Features) -> FrozenNetwork:
    """Gives VGG-16 after the ReLUs of conv1_2, 2_2, 3_2, 4_2 and 5_2, with the weights of the Caffe model.

    Those are what StEP and most Gram distances use; their activations are far larger than those of torchvision's own
    training, so a loss keeps its published weight.
    """
    from torchvision.models import vgg16

    return _caffe_vgg16(lambda: vgg16().features, (3, 8, 13, 20, 27), features)


def vgg16_without_last_reduction(features: Features) -> FrozenNetwork:
    """Gives the same network after the ReLU of conv5_3 with conv5 at an eighth of the sides: MUNIT leaves pool4 out."""
    from torchvision.models import vgg16

    def build() -> nn.Sequential:
        layers: nn.Sequential = vgg16().features
        layers[POOL4] = nn.Identity()
        return layers

    return _caffe_vgg16(build, (29,), features)


def _caffe_vgg16(build: Callable[[], nn.Sequential], taps: Sequence[int], features: Features) -> FrozenNetwork:
    from torchvision.models import VGG16_Weights

    return _frozen(
        build,
        taps,
        VGG16_Weights.IMAGENET1K_FEATURES.url,
        features,
        mean=CAFFE_MEAN,
        deviation=[1 / 127.5] * 3,
    )


def vgg19(features: Features) -> FrozenNetwork:
    """Gives VGG-19 after the ReLUs of conv1_1, 2_1, 3_1, 4_1 and 5_1, of images as they are (SPADE normalises none)."""
    from torchvision.models import VGG19_Weights, vgg19

    return _frozen(
        lambda: vgg19().features,
        (1, 6, 11, 20, 29),
        VGG19_Weights.IMAGENET1K_V1.url,
        features,
        mean=[0.0] * 3,
        deviation=[1.0] * 3,
    )


def vgg19_caffe(features: Features) -> FrozenNetwork:
    """Gives VGG-19 after the same five ReLUs, with the weights of the Caffe model, which EGSC-IT's losses take."""
    from torchvision.models import vgg19

    network = _frozen(
        lambda: vgg19().features,
        (1, 6, 11, 20, 29),
        CAFFE_VGG19_URL,
        features,
        mean=CAFFE_MEAN,
        deviation=[1 / 127.5] * 3,
    )
    first = network.layers[0]
    assert isinstance(first, nn.Conv2d)
    first.weight = nn.Parameter(first.weight.flip(1), requires_grad=False)  # the file is for BGR
    return network


def alexnet(features: Features) -> FrozenNetwork:
    """Gives AlexNet after its five ReLUs, with LPIPS's normalisation."""
    from torchvision.models import AlexNet_Weights, alexnet

    return _frozen(
        lambda: alexnet().features,
        (1, 4, 7, 9, 11),
        AlexNet_Weights.IMAGENET1K_V1.url,
        features,
        mean=[-0.030, -0.088, -0.188],
        deviation=[0.458, 0.448, 0.450],
    )


def inception(features: Features) -> FrozenNetwork:
    """Gives Inception v3 of FID, for images of 299x299: features `[N, 2048]` and logits `[N, 1008]` without a bias."""
    return _inception(features, (len(INCEPTION) - 2, len(INCEPTION) - 1))


def inception_stem(features: Features) -> FrozenNetwork:
    """Gives the same network before its first pooling, `[N, 64, H / 2, W / 2]`, for images of any size."""
    return _inception(features, (2,))


# the layers of FID's Inception by torch-fidelity's names; between them stand what has no weights, and the logits
INCEPTION = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "", "Conv2d_3b_1x1", "Conv2d_4a_3x3", ""),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d"),
    *("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c", "", "fc"),
)


def _inception(features: Features, taps: Sequence[int]) -> FrozenNetwork:
    # TensorFlow's graph maps 0..255 to (x - 128) / 128
    return _frozen(
        _inception_layers,
        taps,
        INCEPTION_URL,
        features,
        mean=[0.5 / 127.5] * 3,
        deviation=[128 / 127.5] * 3,
        names=INCEPTION,
    )


def _inception_layers() -> nn.Sequential:
    """Puts torch-fidelity's blocks in a row: its own class would download the weights, whatever is asked."""
    from torch_fidelity import feature_extractor_inceptionv3 as blocks

    return nn.Sequential(
        blocks.BasicConv2d(3, 32, kernel_size=3, stride=2),
        blocks.BasicConv2d(32, 32, kernel_size=3),
        blocks.BasicConv2d(32, 64, kernel_size=3, padding=1),
        nn.MaxPool2d(3, 2),
        blocks.BasicConv2d(64, 80, kernel_size=1),
        blocks.BasicConv2d(80, 192, kernel_size=3),
        nn.MaxPool2d(3, 2),
        blocks.InceptionA(192, pool_features=32),
        blocks.InceptionA(256, pool_features=64),
        blocks.InceptionA(288, pool_features=64),
        blocks.InceptionB(288),
        *(blocks.InceptionC(768, channels_7x7=channels) for channels in (128, 160, 160, 192)),
        blocks.InceptionD(768),
        blocks.InceptionE_1(1280),
        blocks.InceptionE_2(2048),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(2048, 1008, bias=False),
    )


def _frozen(
    build: Callable[[], nn.Sequential],
    taps: Sequence[int],
    url: str,
    features: Features,
    *,
    mean: Sequence[float],
    deviation: Sequence[float],
    names: Sequence[str] = (),
) -> FrozenNetwork:
    """Builds a network and gives it its weights.

    `names` are the layers' names in the file, where they are not `features.0`, `features.1`, …

    Raises:
        I2IError: where the weights cannot be had, or `features` is none of the two words.
    """
    if features not in get_args(Features):
        raise I2IError(f"features is {features!r}; it must be one of {', '.join(get_args(Features))}")
    with torch.device("meta"):  # draws nothing, so a training's seed means the same with and without this network
        layers = build()
    names = names or [f"features.{index}" for index in range(len(layers))]
    wanted = layers.state_dict()
    if features == "random":
        state = random_weights(wanted)
    else:
        file = _downloaded(url)
        # old files have no counters of batch norm, which nothing reads
        state = {key: torch.tensor(0) for key in wanted if key.endswith(COUNTER)}
        for own in wanted.keys() - state.keys():
            index, _, rest = own.partition(".")
            key = f"{names[int(index)]}.{rest}"
            if key not in file or file[key].shape != wanted[own].shape:
                raise I2IError(f"{cached(url)} holds weights of another network; remove it, or put it there anew")
            state[own] = file[key]
    layers.load_state_dict(state, assign=True)
    return FrozenNetwork(layers, taps, mean=mean, deviation=deviation, features=features)


def random_weights(shapes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Draws He-normal weights of these shapes, always the same; biases are 0, and batch norm changes nothing."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in shapes.items():
        if shape.ndim > 1:
            deviation = (2 / shape[0].numel()) ** 0.5
            state[key] = torch.randn(shape.shape, generator=generator) * deviation
        else:
            one = key.endswith((".weight", ".running_var"))
            state[key] = torch.full(shape.shape, float(one), dtype=shape.dtype)
    return state


def cached(address: str) -> Path:
    """Gives the place of an address's file in PyTorch's cache, whether it is there or not; a bare name will do."""
    return Path(torch.hub.get_dir(), "checkpoints", address.rpartition("/")[2])


def _downloaded(url: str) -> dict[str, Tensor]:
    """Reads a file of weights from PyTorch's cache, downloading it first where it is not there."""
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, progress=sys.stderr.isatty(), weights_only=True
        )
    # a damaged file can fail anywhere inside PyTorch's reader
    except (OSError, EOFError, RuntimeError, LookupError, ValueError, TypeError, pickle.UnpicklingError) as error:
        file = cached(url)
        if file.is_file():
            raise I2IError(f"{file} is no file of weights that can be read; remove it, or put it there anew") from error
        raise I2IError(
            f"the weights {file.name} are not here and could not be downloaded ({getattr(error, 'reason', error)}); "
            f"put {url} into {file.parent}, or choose random features, whose figures compare with no others"
        ) from error
    return state
