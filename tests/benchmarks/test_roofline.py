"""The floors of the official networks: multiplications and bytes that were counted by hand or elsewhere before."""

import pytest
import torch
from torch import nn

from i2i_rt.benchmarks.official import NETWORKS
from i2i_rt.benchmarks.roofline import Rates, Work, count, floor_s, main, work_of

# billions of multiply-accumulates, megabytes of products, floor and floor with norms in milliseconds, for one image;
# of the generator, in 2-byte elements on an H100
KNOWN = {
    "CycleGAN 256x256": (49.6, 156, 0.131, 0.174),
    "CycleGAN 512x512": (198.2, 552, 0.522, 0.696),
    "SPADE COCO 256x256": (191.1, 794, 0.515, 0.569),
    "SPADE Cityscapes 512x256": (281.3, 1221, 0.765, 0.871),
    "Swapping Autoencoder 256x256": (46.5, 256, 0.154, 0.154),
    "Swapping Autoencoder 512x512": (186.1, 869, 0.594, 0.594),
    # fewer bytes than the official code's 258: it doubles by a transposed convolution where bilinear resizing does
    "CUT 256x256": (64.1, 226, 0.176, 0.232),
    # less than the official code's 48.7: its shortcuts are enlarged before their 1x1 convolution, here after it
    "StarGAN v2 256x256": (47.4, 265, 0.141, 0.177),
}


@pytest.mark.parametrize("label", KNOWN)
def test_floors_of_official_networks_are_known(label: str) -> None:
    (official,) = (official for official in NETWORKS if official.label == label)
    work = work_of(official)["generator"]
    macs, megabytes, floor, with_norms = KNOWN[label]
    assert round(work.macs / 1e9, 1) == macs
    assert round(work.product_bytes / 1e6) == megabytes
    assert round(1000 * work.floor_s(Rates()), 3) == floor
    assert round(1000 * work.with_norms_s(Rates()), 3) == with_norms


def test_floor_of_a_batch_is_no_more_than_that_of_its_images() -> None:
    official = NETWORKS[0]
    assert 7 * floor_s(official, 1, Rates()) < floor_s(official, 8, Rates()) <= 8 * floor_s(official, 1, Rates())


def test_products_are_counted_by_their_true_work() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, bias=False),
        nn.ConvTranspose2d(5, 2, 3, stride=2, bias=False),
        nn.InstanceNorm2d(2),
    ).to("meta")
    work = count(network, "forward", (torch.empty(1, 3, 4, 6, device="meta"),))
    assert work.products == [
        (4 * 6 * 5 * 27, 3 * 24 + 5 * 27 + 5 * 24),
        (4 * 6 * 5 * 18, 5 * 24 + 5 * 18 + 2 * 9 * 13),
    ]
    assert work.normed == 2 * 9 * 13


def test_time_is_the_larger_of_both() -> None:
    work = Work(products=[(500, 1), (1, 500)])
    rates = Rates(tflops=1e-9, terabytes=1e-9)  # a thousand operations and a thousand bytes a second
    assert work.floor_s(rates) == pytest.approx(1 + 1)


def test_table_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2i_rt.benchmarks.roofline.NETWORKS", NETWORKS[:1])
    assert main(["--batch", "2", "--tflops", "395"]) == 0
    assert "| CycleGAN 256x256 | generator | 49.6 |" in capsys.readouterr().out
