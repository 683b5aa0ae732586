"""The options that say in which style `translate` and `live` draw."""

import argparse
from pathlib import Path

from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError, MediaError, UnsupportedError
from i2i_rt.style import Style, StyleMaker
from i2i_rt.translator import Translator
from i2i_rt.video.stills import read_still

SOURCES = ("style", "reference", "seed", "style_path")


def add_style_options(parser: argparse.ArgumentParser, *, video: bool) -> None:
    """Adds them; where `video`, the path of styles, and otherwise several references to choose from."""
    group = parser.add_argument_group("style, for models that have one (default: the mean style)")
    group.add_argument("--style", type=Path, metavar="FILE", help="a file that 'i2i-rt style' wrote")
    if video:
        group.add_argument("--reference", type=Path, metavar="IMAGE", help="a picture whose style is taken")
        group.add_argument("--style-path", metavar="A,B[,C]", help="style files that a video passes through, in order")
    else:
        group.add_argument(
            "--reference",
            type=Path,
            nargs="+",
            metavar="IMAGE",
            help="a picture whose style is taken; it is read again when it changes, and R in the window reads it "
            "too; of several, N goes to the next one",
        )
    group.add_argument("--seed", type=seed, metavar="N", help="draw the style with this seed")
    group.add_argument("--domain", metavar="NAME", help="the target domain, by its name or number")


def seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; it must be a whole number from 0")
    return int(text)


def check_style_options(arguments: argparse.Namespace, bundle: Bundle) -> None:
    """Finds mistakes before anything is loaded.

    Raises:
        UnsupportedError: where the system has no style, or cannot make this one.
        I2IError: where two options contradict each other, or the domain is missing or unknown.
    """
    given = [name for name in SOURCES if getattr(arguments, name, None) is not None]
    if not takes_style(bundle):
        for name in (*given, *(["domain"] if arguments.domain is not None else [])):
            raise UnsupportedError(
                f"{bundle.path} takes no style: {bundle.system} has none, or one is baked in; leave {_option(name)} out"
            )
        return
    if len(given) > 1:
        raise I2IError(f"{_option(given[0])} and {_option(given[1])} both say what the style is; give one of them")
    maker = StyleMaker(bundle, None)
    if given in (["style"], ["style_path"]):
        if arguments.domain is not None:
            raise I2IError(f"a style file has its domain in it; leave --domain or {_option(given[0])} out")
        for file in _files(arguments):
            maker.check(Style.load(file), str(file))
    else:
        maker.check_request(arguments.domain, image=given == ["reference"])
        for file in _references(arguments):
            if not file.is_file():
                raise MediaError(f"there is no file {file}")


def takes_style(bundle: Bundle | None) -> bool:
    spec = None if bundle is None else bundle.stages.get("translate")
    return spec is not None and any(tensor.name == "style" for tensor in spec.inputs)


def make_styles(arguments: argparse.Namespace, translator: Translator) -> tuple[list[Style], str]:
    """Gives the styles that were asked for, several for a path only, and how they came about, in words."""
    if not takes_style(translator.bundle):
        return [], ""
    files = _files(arguments)
    if files:
        styles = [Style.load(file) for file in files]
        described = (f"{file} ({style.origin})" for file, style in zip(files, styles, strict=True))
        return styles, f"style: {' to '.join(described)}"
    references = _references(arguments)
    if references:
        reference = references[0]
        style = translator.style(image=read_still(reference).image, domain=arguments.domain)
        return [style], f"style: {style.origin}, {reference}"
    style = translator.style(seed=arguments.seed, domain=arguments.domain)
    hint = "" if arguments.seed is not None else "; --style, --reference and --seed give others"
    return [style], f"style: {style.origin}{hint}"


def _files(arguments: argparse.Namespace) -> list[Path]:
    if getattr(arguments, "style_path", None) is not None:
        files = [Path(word) for word in arguments.style_path.split(",") if word]
        if len(files) < 2:
            raise I2IError(f"--style-path is {arguments.style_path!r}; it must name at least 2 files: a.npz,b.npz")
        return files
    return [arguments.style] if arguments.style is not None else []


def _references(arguments: argparse.Namespace) -> list[Path]:
    given = arguments.reference
    return given if isinstance(given, list) else [] if given is None else [given]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
