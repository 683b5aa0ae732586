"""Scores a sketching bundle against the right answer, on the photographs that were held out of its training.

    python -m demo.evaluate demo/bundle

The right answer is the sketch that OpenCV computes. Two pictures that need no network are scored beside the
translated one: the photograph as it is, and a bare sheet of the sketches' paper.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from demo.photos import HELD_OUT, PAPER, held_out, sketch
from i2i_rt.errors import I2IError
from i2i_rt.translator import Translator


@dataclass(frozen=True)
class Score:
    """How close a picture is to the sketch: PSNR in dB over all channels, and mean SSIM of the channels."""

    psnr_db: float
    ssim: float


def score(picture: np.ndarray, answer: np.ndarray) -> Score:
    """Compares two RGB pictures `[H, W, 3]`, uint8."""
    return Score(
        float(peak_signal_noise_ratio(answer, picture, data_range=255)),
        float(structural_similarity(answer, picture, channel_axis=2, data_range=255)),
    )


def scores(translator: Translator, name: str) -> dict[str, Score]:
    """Gives the scores of a held-out photograph, of bare paper and of the translation."""
    photograph = held_out(name)
    answer = sketch(photograph)
    pictures = {
        "photograph": photograph,
        "bare paper": np.broadcast_to(PAPER.astype(np.uint8), photograph.shape),
        "translated": translator(photograph),
    }
    return {kind: score(picture, answer) for kind, picture in pictures.items()}


def side_by_side(translator: Translator) -> np.ndarray:
    """Gives a picture with a row for each held-out photograph: photograph, translation, right answer."""
    rows = []
    for name in HELD_OUT:
        photograph = held_out(name)
        rows.append(np.hstack([photograph, translator(photograph), sketch(photograph)]))
    return np.vstack(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--picture", type=Path, help="also write photograph, translation and answer side by side (PNG)")
    arguments = parser.parse_args()
    try:
        with Translator.load(arguments.bundle) as translator:
            table = {name: scores(translator, name) for name in HELD_OUT}
            picture = side_by_side(translator)
    except I2IError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    print("| held-out photograph | compared with its sketch | PSNR | SSIM |")
    print("|---|---|---:|---:|")
    for name, row in table.items():
        for kind, result in row.items():
            print(f"| {name} | {kind} | {result.psnr_db:.1f} dB | {result.ssim:.3f} |")
    if arguments.picture is not None:
        arguments.picture.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(arguments.picture), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        print(f"\nwrote {arguments.picture}: photograph, translation, right answer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
