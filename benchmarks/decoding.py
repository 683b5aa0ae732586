"""Ways to decode photographs for training and to scale them to 286 pixels, side by side.

  python -m i2i_rt.benchmarks.decoding
  python -m i2i_rt.benchmarks.decoding photos/ -o benchmarks/results

Without a folder, the photographs that come with scikit-image and scikit-learn, one of them also at 12 megapixels.
What is compared takes turns in one process, each way with one thread. A difference is the largest from what Pillow
gives of the whole picture, in grey levels.
"""

import argparse
import io
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.io import ImageReadMode, decode_image

from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.measure import FULL, QUICK, Rule, take_turns
from i2i_rt.benchmarks.report import Report, Row
from i2i_rt.training.decoding import decode, scale

SIDE = 286
BASELINE = "Pillow"
OURS = "Pillow, scaled by torchvision"


def by_pillow(content: bytes, *, smaller: bool = True) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        if smaller:
            picture.draft("RGB", (2 * SIDE, 2 * SIDE))
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    return np.asarray(upright.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def by_ours(content: bytes) -> np.ndarray:
    return decode(content, lambda width, height: (SIDE, SIDE))


def by_torchvision(content: bytes) -> np.ndarray:
    data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its decoders leave torchvision for TorchCodec
        image = decode_image(data, ImageReadMode.RGB, apply_exif_orientation=True)
    return scale(image.permute(1, 2, 0).numpy(), SIDE, SIDE)


def by_opencv(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        reduction = min(picture.size) // (2 * SIDE)
    smaller = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
    flag = next((flag for factor, flag in smaller.items() if reduction >= factor), cv2.IMREAD_COLOR)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    return scale(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), SIDE, SIDE)


WAYS: dict[str, Callable[[bytes], np.ndarray]] = {
    BASELINE: by_pillow,
    OURS: by_ours,
    "torchvision": by_torchvision,
    "OpenCV, scaled by torchvision": by_opencv,
}


def photographs() -> dict[str, bytes]:
    """Gives the JPEG files that come with two libraries, by name."""
    import skimage
    import sklearn.datasets

    folders = (Path(skimage.__file__).parent / "data", Path(sklearn.datasets.__file__).parent / "images")
    found = {file.name: file.read_bytes() for folder in folders for file in sorted(folder.glob("*.jpg"))}
    large = io.BytesIO()
    with Image.open(io.BytesIO(max(found.values(), key=len))) as picture:
        picture.convert("RGB").resize((4000, 3000)).save(large, "JPEG", quality=92)
    return found | {"12 megapixels": large.getvalue()}


def measure(name: str, content: bytes, rule: Rule) -> list[Row]:
    """Times every way with one photograph."""
    with Image.open(io.BytesIO(content)) as picture:
        width, height = picture.size
    expected = by_pillow(content, smaller=False).astype(int)
    timings = take_turns([lambda way=way: way(content) for way in WAYS.values()], rule)  # type: ignore[misc]
    return [
        Row(
            name,
            label,
            "",
            height,
            width,
            1,
            timing,
            1000 / timing.mean_ms,
            largest_difference=int(np.abs(way(content) - expected).max()),
            psnr_db=_psnr_db(way(content), expected),
            ratios={} if label == BASELINE else {BASELINE: timings[0].p50_ms / timing.p50_ms},
        )
        for (label, way), timing in zip(WAYS.items(), timings, strict=True)
    ]


def _psnr_db(image: np.ndarray, expected: np.ndarray) -> float | None:
    error = float(np.square(image - expected).mean())
    return 10 * np.log10(255**2 / error) if error else None


def threads_gain(contents: list[bytes], rule: Rule) -> float:
    """Gives how much quicker two threads are than one: 2 where nothing holds Python's lock and a core is free."""
    with ThreadPoolExecutor(2) as pool:
        one, two = take_turns(
            [lambda: [by_ours(content) for content in contents], lambda: list(pool.map(by_ours, contents))], rule
        )
    return one.p50_ms / two.p50_ms


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks.decoding",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", nargs="?", type=Path, help="folder of JPEG files")
    parser.add_argument("--quick", action="store_true", help="fewer runs; the output says that it was quick")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-decoding"), help="folder for the results")
    arguments = parser.parse_args(words)
    contents = photographs()
    if arguments.photos is not None:
        contents = {file.name: file.read_bytes() for file in sorted(arguments.photos.glob("*.jp*g"))}
        if not contents:
            parser.error(f"{arguments.photos} has no JPEG files")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    stamp, rule = environment(), QUICK if arguments.quick else FULL
    rows = [row for name, content in contents.items() for row in measure(name, content, rule)]
    figures = {f"two threads, times one, {OURS}": threads_gain(list(contents.values()), rule)}
    report = Report(f"Decoding and scaling to {SIDE} pixels", str(rule), stamp, tuple(rows), figures)
    record, view = report.write(arguments.output, "decoding")
    print(report.markdown())
    print(f"wrote {record} and {view}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
