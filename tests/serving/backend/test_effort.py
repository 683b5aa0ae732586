"""Files that are small and cost minutes are known without being decoded; ordinary ones pass."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i_rt.errors import MediaError
from i2i_rt.serving.backend.effort import PARTS, SCANS, check_effort
from tests.serving.reliability.pictures import jpeg_of_parts, jpeg_of_scans, png_of_parts


def encoded(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        encoded("PNG"),
        encoded("WEBP"),
        encoded("JPEG"),
        encoded("JPEG", progressive=True, icc_profile=b"\xff\xda" * 40),
        encoded("JPEG")[:500],
        encoded("PNG")[:20],
        jpeg_of_parts(b"\xff\xfe\x00\x02", 1000),
        jpeg_of_parts(b"\xff", 1000),
        jpeg_of_scans(20),
        b"\xff\xd8",
        b"",
    ],
)
def test_ordinary_and_broken_files_pass(content: bytes) -> None:
    check_effort(content, "image")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png_of_parts(PARTS), "parts"),
        (jpeg_of_parts(b"\xff\xfe\x00\x02", PARTS), "parts in front"),
        (jpeg_of_parts(b"\xff", PARTS), "parts in front"),
        (jpeg_of_parts(b"\xff\xd0", PARTS), "parts in front"),
        (jpeg_of_scans(SCANS), "passes over its pixels"),
    ],
)
def test_files_that_cost_minutes_are_refused(content: bytes, words: str) -> None:
    with pytest.raises(MediaError, match=words):
        check_effort(content, "image")
