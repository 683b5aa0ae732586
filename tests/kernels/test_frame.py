"""uint8 frames to images and back: the kernels give PyTorch's values, to the bit where no bfloat16 is written."""

import pytest
import torch

from i2i_rt.kernels import frame, fused
from tests.kernels.checks import DEVICE, DTYPES, assert_described, assert_no_worse, compiled, poisoned

SHAPES = {"one pixel": (1, 1, 1, 3), "odd": (2, 7, 61, 3), "more than a block": (3, 31, 33, 3)}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_frames_become_images_of_the_same_values(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, device=DEVICE)
    with poisoned():
        image = frame.launch_frame_in(frames, dtype)
    assert image.is_contiguous(memory_format=torch.channels_last)
    plain = frame.frame_in_reference(frames, dtype)
    assert_no_worse(image, plain, plain.double())
    if dtype != torch.bfloat16:
        assert torch.equal(image, plain)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_images_become_frames_rounded_and_clamped(
    shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format
) -> None:
    image = (1.2 * torch.randn(shape, device=DEVICE)).permute(0, 3, 1, 2).to(dtype).contiguous(memory_format=layout)
    frames = frame.launch_frame_out(image)
    torch.testing.assert_close(frames, frame.frame_out_reference(image), rtol=0, atol=0)


def test_every_level_survives_the_way_there_and_back() -> None:
    frames = torch.arange(256, dtype=torch.uint8, device=DEVICE).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    assert torch.equal(frame.launch_frame_out(frame.launch_frame_in(frames, torch.float32)), frames)


def test_operators_are_described_rightly() -> None:
    frames = torch.randint(0, 256, (2, 5, 6, 3), dtype=torch.uint8, device=DEVICE)
    assert_described(torch.ops.i2i_rt.frame_in.default, (frames, torch.float16))
    assert_described(torch.ops.i2i_rt.frame_out.default, (torch.randn(2, 3, 5, 6, device=DEVICE),))


def test_public_functions_are_nodes_of_an_exported_graph_and_plain_otherwise() -> None:
    class Round(torch.nn.Module):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return frame.frame_out(frame.frame_in(frames, torch.float32))

    frames = torch.randint(0, 256, (1, 4, 4, 3), dtype=torch.uint8)
    with fused.mode("export"):
        targets = {str(node.target) for node in torch.export.export(Round(), (frames,)).graph.nodes}
    assert {"i2i_rt.frame_in.default", "i2i_rt.frame_out.default"} <= targets
    targets = {str(node.target) for node in torch.export.export(Round(), (frames,)).graph.nodes}
    assert not any(target.startswith("i2i_rt") for target in targets)


def test_compiled_code_moves_vectors_and_spills_nothing() -> None:
    rows = compiled("frame")
    assert {row["capability"] for row in rows} == {80, 90, 100}
    for row in rows:
        assert row["stack_bytes"] == 0 and row["registers"] <= 64
        assert {"STG.E.128", "STG.E.64"} & row["instructions"].keys() and "LDG.E.U16" not in row["instructions"]
