"""GP-UNIT's style sampler: whom each style draws near, that the rest stays, and settings."""

from typing import Any

import pytest
import torch

from i2i_rt.errors import I2IError
from i2i_rt.systems.base import Batch, Shape
from i2i_rt.systems.gpunit_sampler import GPUNITSamplerSettings, GPUNITSampling, build_gpunit_sampler


def small(**settings: Any) -> GPUNITSampling:
    torch.manual_seed(0)
    sizes = {"reductions": 3, "style_dim": 4, "bottleneck": 4, "noise_dim": 3, "hidden": 8, "samples": 16}
    return build_gpunit_sampler(Shape(width=2, crop_size=32, settings=GPUNITSamplerSettings(**(sizes | settings))))


def drawn() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(*(torch.rand(5, 3, 32, 32, generator=generator) * 2 - 1 for _ in range(2)))


def test_each_style_draws_the_closest_sample_to_it() -> None:
    system, batch = small().eval(), drawn()
    torch.manual_seed(3)
    samples = system.sampler(torch.randn(16, 3))
    styles = system.style_encoder(batch.b)
    expected = torch.stack([(samples - style).square().mean(1).min() for style in styles]).mean()

    torch.manual_seed(3)
    torch.testing.assert_close(system.losses(batch, "sampler", {})["IMLE"], expected)


def test_only_the_sampler_is_trained() -> None:
    system = small()
    system(drawn(), "sampler", {})["total"].backward()
    for name, network in system.networks.items():
        touched = any(weight.grad is not None and weight.grad.any() for weight in network.parameters())
        assert touched is (name == "sampler")
    assert {*system.given(), "sampler"} == set(system.networks)


def test_styles_come_nearer_in_a_few_steps() -> None:
    system, batch = small(), drawn()
    optimizer = torch.optim.Adam(system.sampler.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = system(batch, "sampler", {})["total"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < sum(losses[:5]) / 3


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(I2IError, match="--set samples is 1; it must be at least 2"):
        small(samples=1)
    with pytest.raises(I2IError, match="noise_dim, hidden and style_dim of a style sampler must be at least 1"):
        small(hidden=0)


def test_one_style_alone_is_refused() -> None:
    with pytest.raises(I2IError, match="needs two styles at once; give a larger --batch"):
        small().losses(Batch(*(images[:1] for images in drawn())), "sampler", {})
