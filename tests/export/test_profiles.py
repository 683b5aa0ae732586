"""Optimisation profiles: what the options mean, and the shapes that follow for a stage."""

import pytest

from i2i_rt.errors import I2IError, UnsupportedError
from i2i_rt.export.profiles import EngineOptions, Profile, Span, parse, shapes_of
from i2i_rt.spec import Axis, StageSpec, TensorSpec, frames_spec


def stage(*inputs: TensorSpec) -> StageSpec:
    return StageSpec("translate", inputs, (frames_spec("translated", 4, 1),))


def test_size_range_and_batch_are_read() -> None:
    assert parse("256x320", "2") == (Profile(Span(256, 256, 256), Span(320, 320, 320), Span(2, 2, 2)),)
    assert parse("64x64..256x512", "1..8") == (Profile(Span(64, 64, 256), Span(64, 64, 512), Span(1, 1, 8)),)
    assert parse("8x8..16x24..32x48, 64x64", "1..2..4") == (
        Profile(Span(8, 16, 32), Span(8, 24, 48), Span(1, 2, 4)),
        Profile(Span(64, 64, 64), Span(64, 64, 64), Span(1, 2, 4)),
    )


@pytest.mark.parametrize(
    ("sizes", "batch", "message"),
    [
        ("256", "1", r"--profile '256' is no size"),
        ("256x", "1", r"--profile '256x' is no size"),
        ("256x256..", "1", r"--profile '256x256..' is no size"),
        ("512x512..256x256", "1", r"--profile .* ascending"),
        ("0x256", "1", r"above 0"),
        ("8x8..9x9..10x10..11x11", "1", r"two or three"),
        ("256x256", "two", r"--batch 'two' is no number"),
        ("256x256", "4..1", r"--batch '4..1' must be .* ascending"),
    ],
)
def test_what_cannot_be_read_names_the_option(sizes: str, batch: str, message: str) -> None:
    with pytest.raises(I2IError, match=message):
        parse(sizes, batch)


def test_lengths_are_those_that_the_network_takes() -> None:
    (shapes,) = shapes_of(stage(frames_spec("frames", 16, 48)), parse("20x100..1000x1000", "1"))
    assert shapes == {"frames": [[1, 48, 112, 3], [1, 48, 112, 3], [1, 1008, 1008, 3]]}


def test_fixed_axes_make_profiles_one() -> None:
    axes = (Axis("N"), Axis("H", size=256), Axis("W", size=512), Axis("C", size=3))
    frames = TensorSpec("frames", "uint8", axes)
    assert shapes_of(stage(frames), parse("256x256,512x512", "1")) == [{"frames": [[1, 256, 512, 3]] * 3}]


def test_structure_codes_follow_from_the_pictures_sizes() -> None:
    code = TensorSpec("structure", "float32", (Axis("N"), Axis("S", size=8), Axis("h"), Axis("w")))
    (shapes,) = shapes_of(stage(code), parse("64x64..256x512", "1"))
    assert shapes == {"structure": [[1, 8, 4, 4], [1, 8, 4, 4], [1, 8, 16, 32]]}


def test_axis_without_a_range_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="axis 'T'"):
        shapes_of(stage(TensorSpec("x", "float32", (Axis("T"),))), parse())


@pytest.mark.parametrize(
    ("choice", "option"), [({"level": 6}, "--optimisation-level"), ({"workspace_gib": 0.0}, "--workspace")]
)
def test_options_outside_their_range_are_refused(choice: dict[str, float], option: str) -> None:
    with pytest.raises(I2IError, match=option):
        EngineOptions(**choice)  # type: ignore[arg-type]


def test_spades_stages_have_ranges_of_resolutions_and_of_neighbourhoods() -> None:
    sides = (Axis("H", multiple=32, low=32, divisor=8), Axis("W", multiple=32, low=32, divisor=8))
    index = TensorSpec("index_8", "int32", (Axis("N"), *sides))
    table = TensorSpec("table", "float32", (Axis("U_8"), Axis("2C", size=64)))
    (shapes,) = shapes_of(stage(index, table), parse("40x64..256x512", "1..2"))
    assert shapes["index_8"] == [[1, 8, 8], [1, 8, 8], [2, 32, 64]]  # of 64 and 256, which the network takes
    assert shapes["table"] == [[1, 64], [10, 64], [2 * 32 * 64, 64]]
    (shapes,) = shapes_of(stage(table), parse("4096x4096", "4"))
    assert shapes["table"][2] == [2**18, 64]
