import pytest

from i2i_rt.errors import I2IError
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.served import ServedModel
from i2i_rt.spec import Axis, StageSpec, StyleInfo, TensorSpec, frames_spec

FRAMES = frames_spec("frames", 4, 8)
STYLE = TensorSpec("style", "float32", (Axis("N"), Axis("S", size=64)))
SPEC = StageSpec("translate", (FRAMES, STYLE), (frames_spec("translated", 4, 8),))
LIMITS = Limits(side=64, pixels=2048, batch=2)


def test_fitting_request_passes() -> None:
    LIMITS.check(SPEC, {"frames": [2, 64, 32, 3], "style": [2, 64]})
    LIMITS.check(SPEC, {"frames": [2, 64, 32, 3]})


def test_padding_to_a_multiple_is_not_held_against_a_picture() -> None:
    frames = frames_spec("frames", 32, 32)
    Limits(side=100, pixels=90 * 90, batch=1).check_shape(frames, [1, 96, 96, 3])
    Limits(side=90, pixels=90 * 90, batch=1).check_shape(frames, [1, 96, 96, 3])
    for limits in (Limits(side=64, pixels=90 * 90), Limits(side=90, pixels=64 * 64)):
        with pytest.raises(I2IError, match="frames is 96x96; the server takes"):
            limits.check_shape(frames, [1, 96, 96, 3])


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"frames": [1, 2**32, 2**32, 3]}, "sides of 1 to 64"),
        ({"frames": [1, 64, 64, 3]}, "up to 2048 pixels"),
        ({"frames": [3, 8, 8, 3]}, "a batch of 3"),
        ({"frames": [1, 10, 8, 3]}, "its H must be a multiple of 4"),
        ({"frames": [1, 4, 8, 3]}, "at least 8"),
        ({"frames": [1, 0, 8, 3]}, r"must be \[N, H, W, 3\]"),
        ({"frames": [1, -8, 8, 3]}, r"must be \[N, H, W, 3\]"),
        ({"frames": [8, 8, 3]}, r"must be \[N, H, W, 3\]"),
        ({"frames": [1, 8, 8, 4]}, r"must be \[N, H, W, 3\]"),
        ({"frames": [1, 8, 8, 3], "style": [2, 64]}, "its N must be 1, as in frames"),
        ({"horse": [1]}, "no input 'horse'"),
    ],
)
def test_other_requests_are_refused_with_their_reason(shapes: dict[str, list[int]], words: str) -> None:
    with pytest.raises(I2IError, match=words):
        LIMITS.check(SPEC, shapes)


def test_files_and_pictures_beside_the_frames_have_limits_too() -> None:
    file = TensorSpec("image", "uint8", (Axis("bytes"),))
    reference = TensorSpec("reference", "uint8", (Axis("reference_H"), Axis("reference_W"), Axis("C", size=3)))
    spec = StageSpec("pipeline", (FRAMES, reference, file), ())
    limits = Limits(side=64, pixels=2048, file_bytes=8)
    limits.check(spec, {"frames": [1, 16, 16, 3], "reference": [60, 9, 3], "image": [8]})
    with pytest.raises(I2IError, match="reference is 8x65; the server takes"):
        limits.check(spec, {"reference": [65, 8, 3]})
    with pytest.raises(I2IError, match="image has 9 bytes; the server takes up to 8"):
        limits.check(spec, {"image": [9]})


def test_length_of_what_is_no_picture_is_bounded_by_bytes() -> None:
    codes = TensorSpec("codes", "float32", (Axis("M"),))
    with pytest.raises(I2IError, match="bytes"):
        LIMITS.check_shape(codes, [2**62])


def test_a_models_description_survives_its_text() -> None:
    model = ServedModel(
        "cat-translate",
        "stage",
        "cat",
        "stargan-v2",
        "a" * 64,
        "fp32",
        SPEC,
        LIMITS,
        ("style",),
        StyleInfo("normal", ("cat",)),
    )
    assert ServedModel.from_text(model.to_text()) == model
