"""CyCADA: the generator of its pixel adaptation, and the task networks."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from i2i_rt.checkpoint import read_state
from i2i_rt.importers.cycada import read_task_network
from i2i_rt.models.digits import DTN, LeNet
from i2i_rt.models.segmentation import DilatedResnet, FCN8s
from tests.parity import single
from tests.parity.case import Answer, UnsupportedCase, write_checkpoint


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of CyCADA; None for other cases."""
    if case["system"] != "CyCADA":
        return None
    if re.search(r"\b(generator|discriminator)\b", case["network"]) and "loss" not in case["network"]:
        return answer_pixel_adaptation
    if case["network"].startswith(("task network", "segmentation network")):
        return answer_task_network
    return None


def answer_pixel_adaptation(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Runs a network of CycleGAN's."""
    file = {"checkpoint": {"file": "latest_net_G_A.pth"}}
    return single.answer_network({**case, **file}, state, inputs, wanted)


def answer_task_network(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Gives a task network's scores, or what it computes on the way to them."""
    with tempfile.TemporaryDirectory() as folder:
        found = read_task_network(read_state(write_checkpoint(state, Path(folder) / "network.pth")), "network.pth")
    assert found is not None
    return {name: output_of(found[1], name, inputs["image"]).numpy() for name in wanted}


def output_of(network: nn.Module, name: str, image: Tensor) -> Tensor:
    """Gives one output by the name that the cases use."""
    result: Tensor
    if name == "scores":
        result = network(image)
        return result
    if isinstance(network, LeNet | DTN) and name == "features":
        return network.features(image)
    if isinstance(network, DilatedResnet) and (match := re.fullmatch(r"layer(\d)", name)):
        return output_inside(network, network.levels[int(match[1]) - 1], image)
    if isinstance(network, FCN8s) and (match := re.fullmatch(r"pool(\d)", name)):
        return network.poolings(image)[int(match[1]) - 1]
    if isinstance(network, FCN8s) and name in ("features", "last_ft"):
        return output_inside(network, network.head[-1], image).relu()
    raise UnsupportedCase(f"output {name!r} of {type(network).__name__}")


def output_inside(network: nn.Module, layer: nn.Module, image: Tensor) -> Tensor:
    """Gives what one layer gives while the network runs."""
    seen: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _, __, output: seen.append(output))
    network(image)
    hook.remove()
    return seen[0]
