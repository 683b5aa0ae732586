"""The stage translate_stabilized: the plain network at momentum 0, frozen statistics at momentum 1."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from i2i_rt.models.sincut import SinCUTGenerator, SinCUTGeneratorConfig
from i2i_rt.models.unet import UNetGenerator, UNetGeneratorConfig
from i2i_rt.spec import StageSpec
from i2i_rt.stages.table import stages_of

RESNET = {"width": 4, "blocks": 1}


def drawn(generator: nn.Module) -> nn.Module:
    """Gives batch norm's parameters values that are not 1 and 0."""
    for name, parameter in generator.named_parameters():
        if "norm" in name or parameter.ndim == 1:
            parameter.data.uniform_(0.5, 1.5)
    return generator.eval().requires_grad_(False)


GENERATORS = [
    pytest.param(lambda: ResnetGenerator(ResnetGeneratorConfig(**RESNET)), id="instance-norm"),
    pytest.param(lambda: ResnetGenerator(ResnetGeneratorConfig(norm="batch", dropout=True, **RESNET)), id="batch-norm"),
    pytest.param(lambda: UNetGenerator(UNetGeneratorConfig(width=4, depth=5)), id="u-net"),
]


def frame(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (1, 64, 96, 3), np.uint8))


@pytest.mark.parametrize("make", GENERATORS)
def test_momentum_0_is_the_plain_network(make: Any) -> None:
    torch.manual_seed(0)
    stages = stages_of("cut", {"generator": drawn(make())})
    stage = stages["translate_stabilized"]
    statistics = torch.full(tuple(axis.size or 0 for axis in stage.spec.inputs[1].axes), 7.0)

    translated, after = stage.module(frame(0), statistics, torch.zeros(1))

    plain = stages["translate"].module(frame(0))
    assert (translated.int() - plain.int()).abs().max() <= 1
    assert after.shape == statistics.shape
    assert torch.equal(stages["translate"].module(frame(0)), plain)


@pytest.mark.parametrize("make", GENERATORS)
def test_momentum_1_keeps_the_statistics(make: Any) -> None:
    torch.manual_seed(0)
    stages = stages_of("cut", {"generator": drawn(make())})
    module = stages["translate_stabilized"].module
    _, first = module(
        frame(0), torch.zeros(stages["translate_stabilized"].spec.inputs[1].axes[1].size).expand(2, -1), torch.zeros(1)
    )

    translated, second = module(frame(1), first, torch.ones(1))
    own, _ = module(frame(1), first, torch.zeros(1))

    torch.testing.assert_close(second, first)
    assert not torch.equal(translated, own)


def test_half_precision_keeps_statistics_in_float32() -> None:
    torch.manual_seed(0)
    stage = stages_of("cut", {"generator": drawn(GENERATORS[0].values[0]())})["translate_stabilized"]
    zeros = torch.zeros(2, stage.spec.inputs[1].axes[1].size)
    exact, _ = stage.module(frame(0), zeros, torch.zeros(1))

    translated, after = stage.module.to(torch.bfloat16)(frame(0), zeros, torch.zeros(1))

    assert after.dtype == torch.float32
    assert (translated.float() - exact.float()).abs().mean() < 4


@pytest.mark.parametrize(
    "generator",
    [
        pytest.param(
            ResnetGenerator(ResnetGeneratorConfig(norm="batch", statistics="running", **RESNET)), id="running"
        ),
        pytest.param(SinCUTGenerator(SinCUTGeneratorConfig(width=4, inner_width=4, blocks=1)), id="no-norm"),
    ],
)
def test_networks_without_statistics_of_the_image_have_no_such_stage(generator: nn.Module) -> None:
    assert list(stages_of("cut", {"generator": generator})) == ["translate"]


def test_the_spec_survives_json() -> None:
    spec = stages_of("cut", {"generator": ResnetGenerator(ResnetGeneratorConfig(**RESNET))})[
        "translate_stabilized"
    ].spec

    assert StageSpec.from_json(spec.to_json()) == spec
    assert spec.inputs[0].axes[0].size == 1
