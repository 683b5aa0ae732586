"""How weights are drawn."""

import torch
from torch import nn

from i2i_rt.models.initialise import initialise


def test_kaiming_keeps_the_variance_through_relu_and_leaves_batch_norm() -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(256, 256) for _ in range(8)]
    network = nn.Sequential(*(part for layer in layers for part in (nn.ReLU(), layer)), nn.BatchNorm2d(2))
    initialise(network, "kaiming")

    x = torch.randn(512, 256)
    assert 0.5 < network[:-1](x).square().mean() / x.square().mean() < 2
    assert all(not layer.bias.any() for layer in layers)
    assert torch.equal(network[-1].weight, torch.ones(2))
