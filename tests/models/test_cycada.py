"""CyCADA's task networks: official keys, and what FCN8s computes at any size."""

import pytest
import torch
from torch.nn import functional

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers.base import load_weights
from i2i_rt.models import digits, segmentation
from tests import official_munit as official
from tests.small.cycada import small_drn, small_dtn, small_fcn8s, small_lenet

READERS = [
    (small_drn, segmentation.read_official_drn),
    (small_fcn8s, segmentation.read_official_fcn8s),
    (small_lenet, digits.read_official_lenet),
    (small_dtn, digits.read_official_dtn),
]


@pytest.mark.parametrize(("make", "read"), READERS)
def test_config_is_found_from_keys_and_shapes(make, read) -> None:  # type: ignore[no-untyped-def]
    (network,) = make().networks.values()
    state = official.task_network(network)
    config, weights = read(state)
    assert config == network.config and set(weights) == set(network.state_dict())
    for _, other in READERS:
        assert other is read or other(state) is None


def test_last_levels_leave_out_what_they_do_not_add() -> None:
    (network,) = small_drn().networks.values()
    state = official.task_network(network)
    state["layer7.0.downsample.0.weight"] = torch.zeros(12, 12, 1, 1)
    found = segmentation.read_official_drn(state)
    assert found is not None and set(found[1]) == set(network.state_dict())


def test_incomplete_networks_are_refused() -> None:
    for make, read in READERS:
        (network,) = make().networks.values()
        state = official.task_network(network)
        lost = [key for key in state if key.startswith(("fc.", "classifier.", "vgg_head.6"))]
        with pytest.raises(CheckpointError, match="missing"):
            read({key: tensor for key, tensor in state.items() if key not in lost})  # type: ignore[operator]
        for lost_key in (key for key in state if key.endswith("0.weight") or key == "conv1.weight"):
            rest = {key: tensor for key, tensor in state.items() if key != lost_key}
            with pytest.raises(CheckpointError, match=r"missing|lacks"):
                load_weights(network, read(rest)[1], "the file")  # type: ignore[operator]
    with pytest.raises(I2IError, match="classes"):
        digits.LeNetConfig(classes=300)


@pytest.mark.parametrize("size", [(32, 64), (61, 47)])
def test_fcn8s_gives_scores_for_every_pixel(size: tuple[int, int]) -> None:
    """The fixed enlargements, written out as the dense convolution that the official code uses."""
    (network,) = small_fcn8s().networks.values()
    assert isinstance(network, segmentation.FCN8s)
    image, classes = torch.randn(1, 3, *size), network.config.classes

    def enlarged(x: torch.Tensor, factor: int) -> torch.Tensor:
        places = torch.arange(2 * factor)
        ramp = 1 - (places - (2 * factor - 1) / 2).abs() / factor
        kernel = torch.eye(classes)[:, :, None, None] * torch.outer(ramp, ramp)
        return functional.conv_transpose2d(x, kernel, stride=factor)

    _, _, third, fourth, x = network.poolings(image)
    for layer in network.head:
        x = layer(x).relu()
    x = enlarged(network.last(x), 2)
    x = x + network.score4(0.01 * fourth)[:, :, 5 : 5 + x.shape[2], 5 : 5 + x.shape[3]]
    x = enlarged(x, 2)
    x = x + network.score3(0.0001 * third)[:, :, 9 : 9 + x.shape[2], 9 : 9 + x.shape[3]]
    expected = enlarged(x, 8)[:, :, 31 : 31 + size[0], 31 : 31 + size[1]]
    assert expected.shape == (1, classes, *size)
    torch.testing.assert_close(network(image), expected)
