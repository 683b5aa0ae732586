"""`i2i-rt eval pairs`, `sets`, `diversity` and `faces`: measures of folders of pictures."""

import argparse
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from i2i_rt.cli.eval_report import Score, add_features_option, progress, report
from i2i_rt.errors import I2IError
from i2i_rt.metrics.folders import pairs, pictures
from i2i_rt.video.stills import read_still

if TYPE_CHECKING:
    from torch import Tensor

    from i2i_rt.pretrained import Features

PAIRS = """Compares pictures with the ones of the same name in another folder, or two files; the figures are means.

psnr             decibels of the squared error
ssim             structural similarity, in windows of 11x11 pixels
lpips            distance of AlexNet's features, as people see it
self-similarity  distance of the structures, by features of VGG-16; 0 to 2
sifid            distance of the styles, by features of Inception; the two pictures may differ in size
"""
SETS = """Compares a set of pictures with a set of real ones, by features of Inception.

FID              Fréchet distance of the two sets; it is higher for fewer pictures
KID              squared distance by a polynomial kernel, which the number of pictures does not move
inception score  how sure and how various the classes of the second set are; it knows nothing of the first
"""
DIVERSITY = """Measures how various the results of the same source are: LPIPS of all pairs, a mean over the sources.

FOLDER has a folder for each source, with at least two results in each; the papers take ten.
"""
FACES = """Measures how much of a person a translation loses: the face recognition distance (FRD), 0 to 4.

It is the squared distance of ArcFace's embeddings of a source and of its translation, which have the same name; the
cosine of the two is 1 - FRD / 2. Faces must be aligned as those of CelebA-HQ are.
"""

# name -> (in the table, better); the order is that of the table
PAIR_MEASURES = {
    "psnr": ("PSNR (dB)", "higher"),
    "ssim": ("SSIM", "higher"),
    "lpips": ("LPIPS", "lower"),
    "self-similarity": ("self-similarity distance", "lower"),
    "sifid": ("SIFID", "lower"),
}
FEW = 2048  # pictures; with fewer, the covariance of Inception's features is singular


def add(measures: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    def measure(
        name: str, what: str, description: str, run: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        parser = measures.add_parser(
            name, help=what, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.set_defaults(evaluate=run)
        return parser

    pair = measure("pairs", "PSNR, SSIM, LPIPS, structure and style of pictures beside others", PAIRS, _pairs)
    pair.add_argument("first", type=Path, help="a folder of pictures, or one picture")
    pair.add_argument("second", type=Path, help="those of the same names that they should be like, or the one")
    pair.add_argument(
        "--measures",
        nargs="+",
        choices=PAIR_MEASURES,
        default=["psnr", "ssim", "lpips"],
        metavar="MEASURE",
        help="which, by their names above (default: psnr ssim lpips)",
    )
    sets = measure("sets", "FID, KID and Inception score of a folder", SETS, _sets)
    sets.add_argument("real", type=Path, help="a folder of real pictures")
    sets.add_argument("fake", type=Path, help="a folder of translations")
    sets.add_argument(
        "--resize",
        choices=("original", "clean"),
        default="original",
        help="how pictures are brought to Inception's 299x299: as FID was published, or with Pillow's bicubic "
        "resizing as clean-fid does; the figures of the two do not compare (default: original)",
    )
    diverse = measure("diversity", "LPIPS among the results of each source", DIVERSITY, _diversity)
    diverse.add_argument("folder", type=Path, metavar="FOLDER", help="a folder of folders")
    faces = measure("faces", "face recognition distance (FRD) of translations to their sources", FACES, _faces)
    faces.add_argument("sources", type=Path, help="a folder of faces")
    faces.add_argument("translations", type=Path, help="their translations, of the same names")
    faces.add_argument(
        "--weights", type=Path, metavar="FILE", help="ArcFace's (default: model_ir_se50.pth in PyTorch's cache)"
    )
    for parser in (pair, sets, diverse, faces):
        add_features_option(parser)


def _pairs(arguments: argparse.Namespace) -> int:
    started_s = time.perf_counter()
    names = [name for name in PAIR_MEASURES if name in arguments.measures]
    files = pairs(arguments.first, arguments.second)
    measure = {name: _pair_measure(name, arguments.features) for name in names}
    found: dict[str, dict[str, float]] = {}
    for first, second in progress(files):
        a, b = read_image(first), read_image(second)
        if a.shape != b.shape and names != ["sifid"]:
            (height, width), (other_height, other_width) = a.shape[2:], b.shape[2:]
            raise I2IError(
                f"{first} is {height}x{width} and {second} {other_height}x{other_width}; pictures of a pair must be of "
                "one size, and are not resized here"
            )
        found[first.stem] = {name: float(measure[name](a, b)) for name in names}
    means = {name: float(np.mean([values[name] for values in found.values()])) for name in names}
    scores = [
        Score(
            name, PAIR_MEASURES[name][0], means[name], PAIR_MEASURES[name][1], of_features=name not in ("psnr", "ssim")
        )
        for name in names
    ]
    each = {stem: {name: _number(value) for name, value in values.items()} for stem, values in found.items()}
    return report(
        "pairs",
        scores,
        arguments,
        {"first": arguments.first, "second": arguments.second},
        started_s=started_s,
        counted=f"{len(files)} pairs of pictures",
        pairs=each,
    )


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _pair_measure(name: str, features: "Features") -> "Callable[[Tensor, Tensor], Tensor]":
    from i2i_rt.metrics.lpips import lpips
    from i2i_rt.metrics.pairs import psnr, ssim
    from i2i_rt.metrics.single_image import self_similarity_distance, sifid
    from i2i_rt.pretrained import inception_stem, vgg16

    if name == "psnr":
        return psnr
    if name == "ssim":
        return ssim
    if name == "lpips":
        return lpips(features)
    if name == "self-similarity":
        vgg = vgg16(features)
        return lambda a, b: self_similarity_distance(vgg, a, b)
    stem = inception_stem(features)
    return lambda a, b: sifid(stem, a, b)


def _sets(arguments: argparse.Namespace) -> int:
    from i2i_rt.metrics.sets import fid, inception_score, kid, set_features
    from i2i_rt.pretrained import inception

    started_s = time.perf_counter()
    files = [pictures(folder) for folder in (arguments.real, arguments.fake)]
    fewest = min(map(len, files))
    if fewest < 2:
        raise I2IError(
            f"{arguments.real if len(files[0]) < 2 else arguments.fake} has 1 picture; a set needs 2 or more"
        )
    network = inception(arguments.features)
    real, fake = (
        set_features(network, (read_still(file).image for file in progress(group)), arguments.resize, device=device())
        for group in files
    )
    distance, score = kid(real, fake), inception_score(fake)
    notes = [f"resizing: {arguments.resize}; {len(files[0])} real pictures and {len(files[1])} others"]
    if fewest < FEW:
        notes.append(
            f"FID of fewer than {FEW} pictures is too high: compare it with sets of this size only, or take KID"
        )
    return report(
        "sets",
        [
            Score("fid", "FID", fid(real, fake), "lower"),
            Score("kid", "KID", distance.mean, "lower", distance.deviation),
            Score("inception_score", "Inception score", score.mean, "higher", score.deviation),
        ],
        arguments,
        {"real": arguments.real, "fake": arguments.fake},
        started_s=started_s,
        counted=f"{len(files[0])} and {len(files[1])} pictures",
        notes=notes,
        resize=arguments.resize,
        pictures=[len(group) for group in files],
    )


def _diversity(arguments: argparse.Namespace) -> int:
    from i2i_rt.metrics.lpips import lpips

    started_s = time.perf_counter()
    if not arguments.folder.is_dir():
        raise I2IError(f"there is no folder {arguments.folder}")
    groups = [pictures(folder) for folder in sorted(arguments.folder.iterdir()) if folder.is_dir()]
    if not groups:
        raise I2IError(f"{arguments.folder} has no folders; there must be one for each source, with its results")
    if small := [group for group in groups if len(group) < 2]:
        raise I2IError(f"{small[0][0].parent} has 1 picture; diversity needs at least 2 results of a source")
    distance = lpips(arguments.features)
    found = {}
    for group in progress(groups):
        images = [read_image(file) for file in group]
        if len({image.shape for image in images}) > 1:
            raise I2IError(f"the pictures of {group[0].parent} differ in size; results of one source must be of one")
        features = [distance.normalized(image) for image in images]
        found[group[0].parent.name] = float(
            np.mean([float(distance.between(a, b)) for a, b in combinations(features, 2)])
        )
    results = sum(map(len, groups))
    return report(
        "diversity",
        [Score("diversity", "diversity (LPIPS)", float(np.mean(list(found.values()))), "higher")],
        arguments,
        {"folder": arguments.folder},
        started_s=started_s,
        counted=f"{results} results of {len(groups)} sources",
        sources=found,
    )


def _faces(arguments: argparse.Namespace) -> int:
    from i2i_rt.metrics.faces import face_distances, face_network

    started_s = time.perf_counter()
    files = pairs(arguments.sources, arguments.translations)
    network = face_network(arguments.features, arguments.weights).to(device())
    found = {
        source.stem: float(face_distances(network, read_image(source), read_image(translation)))
        for source, translation in progress(files)
    }
    distance = float(np.mean(list(found.values())))
    return report(
        "faces",
        [
            Score("frd", "FRD", distance, "lower"),
            Score("cosine", "cosine", 1 - distance / 2, "higher"),
        ],
        arguments,
        {"sources": arguments.sources, "translations": arguments.translations},
        started_s=started_s,
        counted=f"{len(files)} pairs of faces",
        pairs=found,
    )


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def read_image(file: Path) -> "Tensor":
    """Gives a picture as `[1, 3, H, W]` in [-1, 1]."""
    return to_images(read_still(file).image[None])


def to_images(pixels: np.ndarray) -> "Tensor":
    """Gives RGB pictures `[N, H, W, 3]`, uint8, as `[N, 3, H, W]` in [-1, 1]."""
    import torch

    return torch.from_numpy(pixels).to(device()).permute(0, 3, 1, 2) / 127.5 - 1
