"""Names the tensors of MUNIT's, UNIT's and CyCADA's networks as the official files do."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from i2i_rt.models import digits, munit, segmentation, unit


def renamed(network: nn.Module, names: Mapping[str, str], prefix: str = "") -> dict[str, Tensor]:
    state = {}
    for key, tensor in network.state_dict().items():
        for pattern, name in names.items():
            key, matches = re.subn(f"^{pattern}", name, key)
            if matches:
                break
        state[prefix + key] = tensor
    return state


def content_encoder(network: munit.ContentEncoder, prefix: str = "enc_content.") -> dict[str, Tensor]:
    blocks = rf"model.{network.config.reductions + 1}.model.\1.model"
    names = {
        r"convolutions\.(\d+)": r"model.\1.conv",
        r"blocks\.(\d+)\.first": rf"{blocks}.0.conv",
        r"blocks\.(\d+)\.second": rf"{blocks}.1.conv",
    }
    return renamed(network, names, prefix)


def style_encoder(network: munit.StyleEncoder) -> dict[str, Tensor]:
    last = f"model.{len(network.config.widths) + 1}"
    state = renamed(network, {r"convolutions\.(\d+)": r"model.\1.conv", "last": last}, "enc_style.")
    state[f"enc_style.{last}.weight"] = state[f"enc_style.{last}.weight"][:, :, None, None]
    return state


def decoder(network: munit.Decoder) -> dict[str, Tensor]:
    names = {
        r"blocks\.(\d+)\.first": r"dec.model.0.model.\1.model.0.conv",
        r"blocks\.(\d+)\.second": r"dec.model.0.model.\1.model.1.conv",
        "last": f"dec.model.{2 * network.config.enlargements + 1}.conv",
        r"perceptron\.(\d+)": r"mlp.model.\1.fc",
    }
    for level in range(network.config.enlargements):
        number = f"dec.model.{2 * level + 2}"
        names |= {
            rf"upsample\.{level}\.convolution": f"{number}.conv",
            rf"upsample\.{level}\.norm\.weight": f"{number}.norm.gamma",
            rf"upsample\.{level}\.norm\.bias": f"{number}.norm.beta",
        }
    return renamed(network, names)


def shared(encoder: unit.SharedEncoder, decoder: unit.SharedDecoder) -> dict[str, Tensor]:
    """Gives both domains the same networks; the last block of the encoder and the first of the decoder are shared."""
    front, own = encoder.config.reductions + 1, encoder.config.blocks - 1
    state = {}
    for key, tensor in encoder.state_dict().items():
        part, number, rest = key.split(".", 2)
        rest = rest.replace("first", "model.0").replace("second", "model.3")
        if part == "convolutions":
            names = [f"encode_{domain}.{number}.model.0.{rest}" for domain in "AB"]
        elif int(number) == own:
            names = [f"enc_shared.0.{rest}"]
        else:
            names = [f"encode_{domain}.{front + int(number)}.{rest}" for domain in "AB"]
        state |= dict.fromkeys(names, tensor)
    blocks = decoder.config.blocks - 1
    for key, tensor in decoder.state_dict().items():
        part, number, rest = key.split(".", 2) if key.count(".") > 1 else (*key.split("."), "")
        rest = rest.replace("first", "model.0").replace("second", "model.3")
        if part == "last":
            names = [f"decode_{domain}.{blocks + decoder.config.enlargements}.{number}" for domain in "AB"]
        elif part == "convolutions":
            names = [f"decode_{domain}.{blocks + int(number)}.model.0.{rest}" for domain in "AB"]
        elif number == "0":
            names = [f"dec_shared.0.{rest}"]
        else:
            names = [f"decode_{domain}.{int(number) - 1}.{rest}" for domain in "AB"]
        state |= dict.fromkeys(names, tensor)
    return state


def task_network(network: nn.Module) -> dict[str, Tensor]:
    """Names the tensors of a task network of CyCADA, with what official files hold beside them."""
    if isinstance(network, segmentation.DilatedResnet):
        state = renamed(network, {"stem_norm": "bn1", "stem": "conv1", "last": "fc"})
        inner = {"first_norm": "bn1", "first": "conv1", "second_norm": "bn2", "second": "conv2", "skip": "downsample"}
        return {
            re.sub(
                r"^levels\.(\d+)\.(\d+)\.(\w+)",
                lambda match: f"layer{int(match[1]) + 1}.{match[2]}.{inner[match[3]]}",
                key,
            ): tensor
            for key, tensor in state.items()
        }
    if isinstance(network, segmentation.FCN8s):
        names = {"last": "vgg_head.6", r"head\.0": "vgg_head.0", r"head\.1": "vgg_head.3"}
        names |= {"score3": "score_pool3", "score4": "score_pool4"}
        numbers = iter((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))
        for level, layers in enumerate((2, 2, 3, 3, 3)):
            names |= {rf"levels\.{level}\.{layer}": f"vgg.{next(numbers)}" for layer in range(layers)}
        return {**renamed(network, names), "upscore2.w": torch.ones(7, 7, 4, 4), "upscore8.w": torch.ones(7, 7, 16, 16)}
    names = {r"hidden\.": "fc_params.", r"last\.": "classifier.2."}
    if isinstance(network, digits.DTN):
        names |= {r"hidden\.": "fc_params.0.", r"hidden_norm\.": "fc_params.1."}
        for index in range(3):
            names |= {
                rf"convolutions\.{index}": f"conv_params.{4 * index}",
                rf"norms\.{index}": f"conv_params.{4 * index + 1}",
            }
    else:
        names |= {r"convolutions\.0": "conv_params.0", r"convolutions\.1": "conv_params.3"}
    return renamed(network, names)
