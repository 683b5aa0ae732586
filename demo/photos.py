"""Writes the demo's training data, and the photographs that are kept out of it.

    python -m demo.photos demo/output/photos

Domain A is photographs, domain B the pencil sketches of other photographs: no picture is in both. The photographs
are those that scikit-image and scikit-learn bring with them, so nothing is downloaded. The sketch is computed, so
the right answer for a held-out photograph is known, though training never sees a pair.

trainA/, trainB/          crops of 112x112 pixels, the photographs scaled to short sides of 140 to 400
heldout/photo/, sketch/   a photograph and its sketch under the same name, 256 pixels high
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import sklearn.datasets
from PIL import Image

PHOTOGRAPHS_A = ("astronaut", "china", "immunohistochemistry", "rocket")
# a drawing has no colours of its photograph, so grey ones serve as well
PHOTOGRAPHS_B = ("brick", "camera", "coins", "flower", "grass", "gravel", "moon", "motorcycle", "retina")
HELD_OUT = ("coffee", "chelsea")  # both CC0; coffee is also the clip
CROPS = 1200  # of each domain
CROP_PX = 112
SHORT_SIDES_PX = (140, 400)
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
    image = np.asarray(getattr(skimage.data, name)())
    return image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)


def sketch(image: np.ndarray, *, paper: np.ndarray = PAPER, ink: np.ndarray = INK) -> np.ndarray:
    """Gives the pencil drawing of an RGB picture `[H, W, 3]`, uint8: strokes over a soft shading.

    A stroke is where a pixel is darker than what is around it, the "colour dodge" of paint programs; the constant
    keeps the noise of dark areas from being drawn. The shading is the blurred picture, paler and with less contrast.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    around = cv2.GaussianBlur(grey, (0, 0), 6)
    strokes = np.minimum((grey + 0.06) / (around + 0.06), 1) ** 2
    light = np.minimum(strokes * (0.45 + 0.65 * around), 1)
    drawn = ink + (paper - ink) * light[..., None]
    return np.round(drawn).clip(0, 255).astype(np.uint8)


def varied_sketch(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Gives a drawing in pencil and on paper that differ a little each time, with some grain.

    Drawings in exactly two colours lie on a line in colour space: no early translation comes near it, the
    discriminator is never wrong, and what the generator learns from it then is not to draw but to change colours.
    """
    paper, ink = (colour + generator.normal(0, 10, 3) for colour in (PAPER, INK))
    drawn = sketch(image, paper=paper, ink=ink)
    return np.round(drawn + generator.normal(0, 5, drawn.shape)).clip(0, 255).astype(np.uint8)


def scaled(image: np.ndarray, short_side: int) -> np.ndarray:
    """Gives a picture whose shorter side has `short_side` pixels."""
    scale = short_side / min(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def recoloured(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Exchanges the colour channels, changes the brightness, and takes half of the colour away or more.

    Exchanged channels give few photographs many colours. Those are pale, because the contrastive loss rewards a
    translation that still tells the hues of the photograph, and a drawing should not.
    """
    curve = (np.arange(256) / 255) ** np.exp(generator.uniform(-0.4, 0.4)) * 255
    mixed = cv2.LUT(np.ascontiguousarray(image[..., generator.permutation(3)]), np.round(curve).astype(np.uint8))
    grey = cv2.cvtColor(cv2.cvtColor(mixed, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    colour = generator.uniform(0, 0.5)
    return cv2.addWeighted(mixed, colour, grey, 1 - colour, 0)


def crop_of(image: np.ndarray, generator: np.random.Generator, *, drawn: bool) -> np.ndarray:
    """Cuts a square from a photograph, or from its sketch, at a random scale, turned, and in random colours."""
    image = scaled(image, int(generator.integers(*SHORT_SIDES_PX)))
    image = recoloured(image, generator)
    if drawn:  # before the cut, so that strokes at the edges are as they are inside
        image = varied_sketch(image, generator)
    top, left = (int(generator.integers(side - CROP_PX + 1)) for side in image.shape[:2])
    return np.rot90(image[top : top + CROP_PX, left : left + CROP_PX], generator.integers(4))


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
            Image.fromarray(crop).save(out / f"{index:04d}-{names[index % len(names)]}.png")
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
