"""Makes a style for a bundle whose system has one, and writes it to a file that translate and live take.

    i2i-rt style afhq/ --image ginger.jpg --domain cat -o ginger.npz
    i2i-rt style afhq/ --seed 7 --domain cat -o seven.npz
    i2i-rt style afhq/ --mix ginger.npz seven.npz 0.3 -o between.npz
    i2i-rt style church/ --add snow.npz 1.5 --style sunny.npz -o snowy.npz
    i2i-rt style church/ --fit photos/

Systems whose styles have no prior (Swapping Autoencoder, TUNIT, EGSC-IT, GP-UNIT without its sampler) draw seeds and
the mean around the styles of pictures: --fit measures a folder of them once and keeps the result in the bundle.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.cli import add_backend_options, open_translator
from i2i_rt.cli.style_options import seed
from i2i_rt.errors import I2IError, UnsupportedError
from i2i_rt.style import Style, StyleMaker, check_output
from i2i_rt.video.stills import SUFFIXES, read_still

SOURCES = ("image", "seed", "mean", "mix", "add", "fit")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    source = parser.add_argument_group("source, exactly one")
    source.add_argument("--image", type=Path, metavar="FILE", help="a picture whose style is taken")
    source.add_argument("--seed", type=seed, metavar="N", help="draw a style")
    source.add_argument("--mean", action="store_true", help="the mean style: safe, and without variety")
    source.add_argument("--mix", nargs=3, metavar=("A", "B", "SHARE"), help="the style between two, 0 being A, 1 B")
    source.add_argument("--add", nargs=2, metavar=("DIRECTION", "AMOUNT"), help="move a style along a direction")
    source.add_argument("--fit", type=Path, metavar="FOLDER", help="measure the styles of a folder of pictures")
    parser.add_argument("--style", type=Path, metavar="FILE", help="the style that --add moves (default: the mean)")
    parser.add_argument("--domain", metavar="NAME", help="the target domain, by its name or number")
    parser.add_argument("-o", "--output", type=Path, help="the style file to write, .npz")
    add_backend_options(parser)


def run(arguments: argparse.Namespace) -> int:
    bundle = Bundle.open(arguments.bundle)
    source = _source(arguments)
    maker = StyleMaker(bundle, None)
    if bundle.style is None:
        raise UnsupportedError(f"{bundle.path} takes no style: {bundle.system} has none, or one is baked in")
    _check(arguments, source, maker)
    if source == "mix":
        return _write(arguments, bundle, _mixed(arguments, maker))
    if source == "add" and arguments.style is not None:
        return _write(arguments, bundle, _moved(arguments, maker, Style.load(arguments.style)))
    with open_translator(arguments, bundle.path) as translator:
        if source == "fit":
            return _fit(arguments, bundle, translator.styles)
        image = read_still(arguments.image).image if source == "image" else None
        style = translator.style(image=image, seed=arguments.seed, domain=arguments.domain)
    return _write(arguments, bundle, _moved(arguments, maker, style) if source == "add" else style)


def _source(arguments: argparse.Namespace) -> str:
    given = [name for name in SOURCES if getattr(arguments, name) not in (None, False)]
    if len(given) != 1:
        known = ", ".join(f"--{name}" for name in SOURCES)
        what = f"--{given[0]} and --{given[1]} contradict each other" if given else "there is no source of the style"
        raise I2IError(f"{what}; give exactly one of {known}")
    return given[0]


def _check(arguments: argparse.Namespace, source: str, maker: StyleMaker) -> None:
    """Finds mistakes before a network is loaded."""
    if source == "fit":
        if arguments.output is not None:
            raise I2IError("--fit keeps its result in the bundle; leave -o out")
        if not arguments.fit.is_dir():
            raise I2IError(f"there is no folder {arguments.fit}")
    elif arguments.output is None:
        raise I2IError("name the style file to write: -o style.npz")
    else:
        check_output(arguments.output)
    if arguments.style is not None and source != "add":
        raise I2IError(f"--style is what --add moves; leave it out with --{source}")
    if arguments.domain is not None and (source == "mix" or arguments.style is not None):
        raise I2IError("a style file has its domain in it; leave --domain out")
    if source in ("image", "seed", "mean") or (source == "add" and arguments.style is None):
        maker.check_request(arguments.domain, image=source == "image")
    if source == "add":
        maker.direction(arguments.add[0])
        _number(arguments.add[1], "the amount of --add")


def _mixed(arguments: argparse.Namespace, maker: StyleMaker) -> Style:
    first, second, word = arguments.mix
    share = _number(word, "the share of --mix")
    if not 0 <= share <= 1:
        raise I2IError(f"the share of --mix is {word}; it must be from 0, the first style, to 1, the second")
    a, b = Style.load(first), Style.load(second)
    maker.check(a, first)
    maker.check(b, second)
    return maker.mix(a, b, share)


def _moved(arguments: argparse.Namespace, maker: StyleMaker, style: Style) -> Style:
    maker.check(style, str(arguments.style))
    return maker.add(style, maker.direction(arguments.add[0]), _number(arguments.add[1], "the amount of --add"))


def _number(word: str, what: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise I2IError(f"{what} is {word!r}; it must be a number")
    return value


def _fit(arguments: argparse.Namespace, bundle: Bundle, maker: StyleMaker) -> int:
    files = sorted(file for file in arguments.fit.iterdir() if file.suffix.lower() in SUFFIXES)

    def pictures() -> Iterator[np.ndarray]:
        yield from (read_still(file).image for file in files)

    file = maker.fit(pictures(), arguments.domain)
    domain = f" --domain {arguments.domain}" if arguments.domain else ""
    print(f"{file}: mean and deviation of the styles of {len(files)} pictures")
    print(f"next: i2i-rt style {bundle.path} --seed 7{domain} -o style.npz")
    return 0


def _write(arguments: argparse.Namespace, bundle: Bundle, style: Style) -> int:
    file = style.save(arguments.output)
    print(f"{file}: {style.origin}; {style.code.size} numbers, norm {np.linalg.norm(style.code):.2f}")
    source, result = ("clip.mp4", "out.mp4") if bundle.labels is None else ("labels.png", "out.png")
    print(f"next: i2i-rt translate {bundle.path} {source} --style {file} -o {result}")
    return 0
