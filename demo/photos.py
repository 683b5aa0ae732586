"""Writes the demo's training data, and the photographs that are kept out of it.

    python -m demo.photos demo/output/photos

Domain A is photographs, domain B the pencil sketches of other photographs: no picture is in both. The photographs
are those that scikit-image and scikit-learn bring with them, so nothing is downloaded. The sketch is computed, so
the right answer for a held-out photograph is known, though training never sees a pair.

trainA/, trainB/          crops of 112x112 pixels, the photographs scaled to short sides of 160 to 320
heldout/photo/, sketch/   a photograph and its sketch under the same name, 256 pixels high
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import sklearn.datasets
from PIL import Image

PHOTOGRAPHS_A = ("astronaut", "china", "rocket")
PHOTOGRAPHS_B = ("flower", "immunohistochemistry", "motorcycle", "retina")
HELD_OUT = ("coffee", "chelsea")  # both CC0; coffee is also the clip
CROPS = 400  # of each domain
CROP_PX = 112
SHORT_SIDES_PX = (160, 320)
HELD_OUT_HEIGHT_PX = 256

PAPER = np.array([250, 241, 218], np.float32)
INK = np.array([40, 45, 70], np.float32)


def photograph(name: str) -> np.ndarray:
    """Gives a photograph `[H, W, 3]`, uint8 RGB."""
    if name in ("china", "flower"):
        return np.asarray(sklearn.datasets.load_sample_image(f"{name}.jpg"))
    if name == "motorcycle":
        return np.asarray(skimage.data.stereo_motorcycle()[0])
    if name == "retina":  # without its black surroundings, and no larger than the others
        return cv2.resize(skimage.data.retina()[200:1200, 200:1200], (500, 500), interpolation=cv2.INTER_AREA)
    return np.asarray(getattr(skimage.data, name)())


def sketch(image: np.ndarray) -> np.ndarray:
    """Gives the pencil drawing of an RGB picture `[H, W, 3]`, uint8: strokes over a soft shading.

    A stroke is where a pixel is darker than what is around it, the "colour dodge" of paint programs; the constant
    keeps the noise of dark areas from being drawn. The shading is the blurred picture, paler and with less contrast.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    around = cv2.GaussianBlur(grey, (0, 0), 6)
    strokes = np.minimum((grey + 0.06) / (around + 0.06), 1) ** 2
    light = np.minimum(strokes * (0.45 + 0.65 * around), 1)
    return np.round(INK + (PAPER - INK) * light[..., None]).astype(np.uint8)


def scaled(image: np.ndarray, short_side: int) -> np.ndarray:
    """Gives a picture whose shorter side has `short_side` pixels."""
    scale = short_side / min(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def recoloured(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Exchanges the colour channels and changes the brightness, so that few photographs show many colours."""
    curve = (np.arange(256) / 255) ** np.exp(generator.uniform(-0.4, 0.4)) * 255
    mixed = np.ascontiguousarray(image[..., generator.permutation(3)])
    return cv2.LUT(mixed, np.round(curve).astype(np.uint8))


def crop_of(image: np.ndarray, generator: np.random.Generator, *, drawn: bool) -> np.ndarray:
    """Cuts a square from a photograph at a random scale, in random colours, or from its sketch where `drawn`."""
    image = scaled(image, int(generator.integers(*SHORT_SIDES_PX)))
    image = recoloured(image, generator)
    if drawn:  # before the cut, so that strokes at the edges are as they are inside
        image = sketch(image)
    top, left = (int(generator.integers(side - CROP_PX + 1)) for side in image.shape[:2])
    return image[top : top + CROP_PX, left : left + CROP_PX]


def held_out(name: str) -> np.ndarray:
    """Gives a held-out photograph, 256 pixels high and 256 wide, cut from its middle."""
    image = scaled(photograph(name), HELD_OUT_HEIGHT_PX)
    left = (image.shape[1] - HELD_OUT_HEIGHT_PX) // 2
    return image[:, left : left + HELD_OUT_HEIGHT_PX]


def write(folder: Path, *, crops: int = CROPS) -> None:
    """Writes all folders below `folder`; the same files every time."""
    for domain, names in (("A", PHOTOGRAPHS_A), ("B", PHOTOGRAPHS_B)):
        out = folder / f"train{domain}"
        out.mkdir(parents=True, exist_ok=True)
        images = [photograph(name) for name in names]
        for index in range(crops):
            generator = np.random.default_rng((ord(domain), index))
            crop = crop_of(images[index % len(images)], generator, drawn=domain == "B")
            Image.fromarray(crop).save(out / f"{index:03d}-{names[index % len(names)]}.png")
    for kind in ("photo", "sketch"):
        (folder / "heldout" / kind).mkdir(parents=True, exist_ok=True)
    for name in HELD_OUT:
        image = held_out(name)
        Image.fromarray(image).save(folder / "heldout" / "photo" / f"{name}.png")
        Image.fromarray(sketch(image)).save(folder / "heldout" / "sketch" / f"{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--crops", type=int, default=CROPS, help=f"crops of each domain (default: {CROPS})")
    arguments = parser.parse_args()
    write(arguments.output, crops=arguments.crops)
    print(f"wrote {arguments.crops} crops of each domain and {len(HELD_OUT)} held-out pairs to {arguments.output}")


if __name__ == "__main__":
    main()
