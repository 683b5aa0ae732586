"""VGG of the Caffe model, from the NumPy file that TensorFlow's users keep it in."""

from collections.abc import Mapping

from torch import Tensor, nn

from i2i_rt.pretrained import FrozenNetwork


def load_caffe(vgg: FrozenNetwork, state: Mapping[str, Tensor]) -> None:
    """Gives a network the weights of a case, in place; `<layer>::0` are the weights and `<layer>::1` the biases."""
    convolutions = [layer for layer in vgg.layers if isinstance(layer, nn.Conv2d)]
    names = sorted({key.partition("::")[0] for key in state})
    for name, layer in zip(names, convolutions, strict=False):
        weight = state[f"{name}::0"].permute(3, 2, 0, 1)
        layer.weight.copy_(weight.flip(1) if name == "conv1_1" else weight)  # the file is for BGR
        layer.bias.copy_(state[f"{name}::1"])  # type: ignore[union-attr]
