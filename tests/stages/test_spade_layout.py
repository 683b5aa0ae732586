"""SPADE in two stages gives what the dense network gives, whatever the config, the labels and the edges are."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from i2i_rt.layout import Plan
from i2i_rt.models.norm import RunningNorm
from i2i_rt.models.spade import SpadeGenerator, SpadeGeneratorConfig
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of

CLASSES, STYLE = 6, 16
CONFIGS: dict[str, dict[str, Any]] = {
    "normal": {},
    "more": {"upsampling": "more"},
    "most": {"upsampling": "most"},
    "instance norm": {"norm": "instance"},
    "labels alone": {"edges": False, "unknown": False},
    "5x5 convolutions": {"kernel": 5},
    "1x1 convolutions": {"kernel": 1},
    "with a VAE": {"style": STYLE, "first_size": (2, 3)},
}


def generator(**config: Any) -> SpadeGenerator:
    """Draws a network whose batch norms have statistics of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SpadeGenerator(SpadeGeneratorConfig(**{"classes": CLASSES, "width": 2, "hidden": 8, **config}))
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, 0.2)
            elif isinstance(module, RunningNorm):
                module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return network.eval().requires_grad_(False)


def inputs_of(network: SpadeGenerator) -> dict[str, np.ndarray]:
    """Draws two label maps, with labels of no class and the unknown."""
    random = np.random.default_rng(0)
    height, width = network.config.size or (network.multiple, 2 * network.multiple)
    coarse = random.integers(0, CLASSES + 3, (2, height // 8, width // 8), np.uint8)
    labels = coarse.repeat(8, 1).repeat(8, 2)
    labels[labels == CLASSES + 2] = 255
    inputs = {"labels": labels}
    if network.config.edges:
        inputs["edges"] = (random.random(labels.shape) < 0.1).astype(np.uint8)
    if network.config.style:
        inputs["style"] = random.standard_normal((2, STYLE), np.float32)
    return inputs


def in_two_stages(stages: dict[str, Stage], inputs: dict[str, np.ndarray]) -> Tensor:
    plan = Plan(stages["layout"].spec)
    plan.update(inputs["labels"], inputs.get("edges"))
    given = {**inputs, **plan.render_inputs(inputs["labels"], inputs.get("edges"))}
    lists = plan.layout_inputs()
    tables = stages["layout"].module(*(torch.from_numpy(lists[t.name]) for t in stages["layout"].spec.inputs))
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}
    tensors |= {t.name: table for t, table in zip(stages["layout"].spec.outputs, tables, strict=True)}
    result: Tensor = stages["render"].module(*(tensors[t.name] for t in stages["render"].spec.inputs))
    return result


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_both_stages_give_what_the_dense_network_gives(config: dict[str, Any]) -> None:
    network = generator(**config)
    stages, inputs, seen = stages_of("spade", {"generator": network}), inputs_of(network), []
    # in front of the last tanh, the clamp and the rounding, which hide differences
    network.last.register_forward_hook(lambda module, given, result: seen.append(result))
    pictures = [stages["translate"].module(*map(torch.from_numpy, inputs.values())), in_two_stages(stages, inputs)]
    dense, split = seen
    assert dense.std() > 0.1 and (split - dense).abs().max() <= 1e-5 * dense.abs().max()
    assert (pictures[0].int() - pictures[1].int()).abs().max() <= 1


def test_tables_hold_the_scales_and_shifts_of_the_norms() -> None:
    """Compares one norm with its own convolutions, position by position."""
    network = generator()
    stages, inputs = stages_of("spade", {"generator": network}), inputs_of(network)
    plan = Plan(stages["layout"].spec)
    plan.update(inputs["labels"], inputs["edges"])
    lists = plan.layout_inputs()
    made = stages["layout"].module(*(torch.from_numpy(lists[t.name]) for t in stages["layout"].spec.inputs))
    tables = {t.name: table for t, table in zip(stages["layout"].spec.outputs, made, strict=True)}
    norm = network.blocks[6].norm_1
    from i2i_rt.models.spade import semantics_of

    semantics = semantics_of(*map(torch.from_numpy, inputs.values()), network.config, torch.float32)
    rows = tables["table_6_1"][torch.from_numpy(plan.levels[1].patches.numbers)]  # [N, H, W, 2C]
    scale, shift = rows.permute(0, 3, 1, 2).chunk(2, 1)
    x = 1 + torch.rand_like(scale)
    torch.testing.assert_close(x * scale + shift, norm(x, semantics), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(dtype: torch.dtype) -> None:
    network = generator()
    stages, inputs = stages_of("spade", {"generator": network}), inputs_of(network)
    exact = in_two_stages(stages, inputs).float()
    for stage in stages.values():
        stage.module.to(dtype)
    rough = in_two_stages(stages, inputs).float()
    assert 0 < (rough - exact).abs().mean() < 4
