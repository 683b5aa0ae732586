"""Statistics that stand in for an image's own: recorded in order, given back in order, in one thread alone."""

import threading

import pytest
import torch

from i2i_rt.kernels import fused, instance_norm, statistics
from i2i_rt.kernels.norm_act import norm_act


def image(seed: int) -> torch.Tensor:
    return torch.randn(1, 3, 7, 5, generator=torch.Generator().manual_seed(seed)) * 2 + 3


def test_norms_keep_what_was_recorded() -> None:
    first, second, weight, bias = image(0), image(1), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0])
    recorder = statistics.Recorder()
    with statistics.using(recorder):
        own = [instance_norm(first), instance_norm(second, weight, bias)]
    torch.testing.assert_close(own, [instance_norm(first), instance_norm(second, weight, bias)])
    recorded = recorder.statistics()
    assert recorded.shape == (2, 6)

    with statistics.using(statistics.Constants(recorded)):
        same = [instance_norm(first), instance_norm(second, weight, bias)]
    torch.testing.assert_close(same, own)

    with statistics.using(statistics.Constants(recorded)):
        brighter = instance_norm(first + 1)
    deviation = first.var((2, 3), correction=0, keepdim=True).sqrt()
    torch.testing.assert_close(brighter - own[0], (1 / deviation).expand_as(first), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("by_variance", [False, True])
@pytest.mark.parametrize("mode", ["off", "export"])
def test_the_fused_norm_takes_them_too(mode: fused.Mode, by_variance: bool) -> None:
    x, weight, mask = image(0), image(1)[:, :, 0, 0], image(2)
    options = {"mask": mask, "one_plus": True, "slope": 0.2, "by_variance": by_variance, "pad": 1}
    recorder = statistics.Recorder()
    with fused.mode(mode), statistics.using(recorder):
        norm_act(x, weight, **options)
    with fused.mode(mode), statistics.using(statistics.Constants(recorder.statistics())):
        same = norm_act(x, weight, **options)
    with fused.mode(mode), statistics.using(statistics.Constants(recorder.statistics())):
        brighter = norm_act(x + 1 / mask, weight, **options)
    torch.testing.assert_close(same, norm_act(x, weight, **options), rtol=1e-5, atol=1e-5)
    assert (brighter - same).abs().min() > 0, "its own mean would have taken the brightness away"


def test_a_norm_too_many_is_an_error() -> None:
    with (
        statistics.using(statistics.Constants(torch.ones(2, 4))),
        pytest.raises(ValueError, match="a norm of 3 channels comes after the last of 4 recorded"),
    ):
        instance_norm(instance_norm(image(0)))


def test_other_threads_keep_their_images_own_statistics() -> None:
    found = []
    with statistics.using(statistics.Constants(torch.full((2, 3), 100.0))):
        thread = threading.Thread(target=lambda: found.append(instance_norm(image(0))))
        thread.start()
        thread.join()
    torch.testing.assert_close(found[0], instance_norm(image(0)))


def test_half_precision_rounds_no_statistics() -> None:
    recorded = torch.tensor([[1000.0, 0.25, -3.0], [0.01, 4.0, 1e4]])
    x = image(0).to(torch.bfloat16)
    with statistics.using(statistics.Constants(recorded)):
        half = instance_norm(x)
    exact = (x.double() - recorded[0].double()[:, None, None]) / (recorded[1].double()[:, None, None] + 1e-5).sqrt()
    assert half.dtype == torch.bfloat16
    assert ((half.double() - exact).abs() / exact.abs().amax((2, 3), keepdim=True)).max() < 2**-7
