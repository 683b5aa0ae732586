"""Edits pictures by their codes: the Swapping Autoencoder's texture, one vector, and its structure, a small map.

    i2i-rt edit church/ swap house.jpg dusk.jpg -o house-at-dusk.png
    i2i-rt edit church/ interpolate house.jpg dusk.jpg --share 0 0.25 0.5 0.75 1 -o on-the-way.png
    i2i-rt edit mountain/ vector summer/ winter/ -o snow.npz
    i2i-rt edit mountain/ move alps.jpg snow.npz --amount 0.5 1 1.5 -o snowier.png
    i2i-rt edit mountain/ pca photos/ --kind structure --preview alps.jpg -o directions/
    i2i-rt edit mountain/ region alps.jpg directions/structure-1.npz --at 120,300 --amount 2 -o lake.png
    i2i-rt edit mountain/ clone alps.jpg --source lake.jpg --box 40,200,160,80 --to 90,310 -o with-lake.png

Pictures are brought to the size that the model's official test script gives them, or to --size; positions are pixels
of the picture at that size, from its upper left corner. Several shares or amounts give pictures side by side.
'i2i-rt style --add' moves the style of a video along a direction of texture that 'vector' or 'pca' wrote.
"""

import argparse
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from i2i_rt.bundle import Bundle
from i2i_rt.cli import add_backend_options, open_translator, positive
from i2i_rt.editing import Codes, Direction, Editor, Kind
from i2i_rt.errors import I2IError, MediaError
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.video.sizes import parse_size, resized
from i2i_rt.video.stills import SUFFIXES, Still, output_format, read_still, write_still

PREVIEW_AMOUNTS = (-3.0, -1.5, 0.0, 1.5, 3.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    actions = parser.add_subparsers(prog=f"{parser.prog} BUNDLE", dest="action", required=True, metavar="ACTION")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("-o", "--output", type=Path, required=True, help="the result")
    shared.add_argument("--size", metavar="HxW", help="resize pictures to this height and width")
    add_backend_options(shared)

    def action(name: str, what: str, *pictures: tuple[str, str]) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=what, description=what, parents=[shared])
        for argument, meaning in pictures:
            added.add_argument(argument, type=Path, help=meaning)
        return added

    structure = ("structure", "the picture whose structure is kept")
    texture = ("texture", "the picture whose texture is taken")
    picture, direction = ("picture", "the picture to edit"), ("direction", "a direction file, .npz")
    action("swap", "structure of one picture, texture of another", structure, texture)
    added = action("interpolate", "structure of one picture, texture between two", structure, texture)
    added.add_argument(
        "--share", type=_number, nargs="+", default=[0.5], help="of the other's texture, 0 to 1 (default: 0.5)"
    )
    added = action(
        "vector",
        "the direction from one folder of pictures to another: the difference of their mean codes",
        ("before", "a folder of pictures"),
        ("after", "a folder of pictures that have what the others have not"),
    )
    _add_kind(added)
    added = action("pca", "the principal directions of a folder of pictures", ("folder", "a folder of pictures"))
    _add_kind(added)
    added.add_argument("--components", type=positive, default=8, help="how many (default: 8)")
    added.add_argument(
        "--preview", type=Path, metavar="PICTURE", help="also write preview.png: this picture moved along each"
    )
    added = action("move", "move the whole picture along a direction", picture, direction)
    _add_amount(added)
    added = action("region", "move what looks alike along a direction of structure", picture, direction)
    _add_amount(added)
    added.add_argument("--at", type=_pair, metavar="X,Y", required=True, help="a pixel of the region")
    added.add_argument(
        "--threshold", type=_number, default=0.8, help="how alike, as a cosine of -1 to 1 (default: 0.8)"
    )
    added.add_argument(
        "--softness", type=_number, default=0.1, help="half the width of the mask's edge, in cosine (default: 0.1)"
    )
    added.add_argument("--show-mask", type=Path, metavar="FILE", help="also write the mask as a grey picture")
    added = action("clone", "copy structure from another place, or from another picture", picture)
    added.add_argument("--source", type=Path, help="where it is copied from (default: the picture itself)")
    what = added.add_mutually_exclusive_group(required=True)
    what.add_argument("--box", type=_box, metavar="X,Y,W,H", help="copy this rectangle of the source")
    what.add_argument("--mask", type=Path, help="copy where this picture, of the source's size, is white")
    added.add_argument(
        "--to", type=_pair, metavar="X,Y", help="where the upper left corner of it comes to lie (default: same place)"
    )


def _add_kind(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kind", choices=("texture", "structure"), default="texture", help="of which code (default: texture)"
    )


def _add_amount(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--amount", type=_number, nargs="+", default=[1.0], help="how far to move (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    bundle = Bundle.open(arguments.bundle)
    actions: dict[str, Callable[[_Desk, argparse.Namespace], None]] = {
        "swap": _interpolate,
        "interpolate": _interpolate,
        "vector": _vector,
        "pca": _pca,
        "move": _move,
        "region": _region,
        "clone": _clone,
    }
    _check(arguments)
    with open_translator(arguments, bundle.path) as translator:
        actions[arguments.action](_Desk(bundle, Editor(bundle, translator.session), arguments.size), arguments)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Finds mistakes before a network is loaded."""
    output = arguments.output
    if arguments.size:
        parse_size(arguments.size)
    if arguments.action == "vector":
        if output.suffix != ".npz":
            raise I2IError(f"the direction file is {output}; its name must end in .npz")
    elif arguments.action == "pca":
        if output.is_file():
            raise I2IError(f"-o {output} is a file; name a folder for the directions")
    else:
        output_format(output)
    if getattr(arguments, "show_mask", None) is not None:
        output_format(arguments.show_mask)
    if arguments.action == "clone" and arguments.source is None and arguments.to is None:
        raise I2IError("a clone onto its own place changes nothing; give --to, --source, or both")
    for share in getattr(arguments, "share", []):
        if not 0 <= share <= 1:
            raise I2IError(f"--share is {share:g}; it must be from 0, the own texture, to 1, the other's")


class _Desk:
    """The bundle's editor, with pictures on disk at both ends."""

    def __init__(self, bundle: Bundle, editor: Editor, size: str | None) -> None:
        self.bundle, self.editor = bundle, editor
        self._size = parse_size(size) if size else None

    def read(self, path: Path) -> Codes:
        image = read_still(path).image
        prepared = resized(image, self._size) if self._size else Preprocessing(**self.bundle.preprocessing)(image)
        return self.editor.encode(prepared)

    def read_folder(self, folder: Path) -> list[Codes]:
        if not folder.is_dir():
            raise I2IError(f"there is no folder {folder}")
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        if not files:
            raise MediaError(f"{folder} has no pictures; known are {', '.join(sorted(SUFFIXES))}")
        return [self.read(file) for file in files]

    def read_direction(self, path: Path) -> Direction:
        direction = Direction.load(path)
        self.editor.check(direction, str(path))
        return direction

    def write(self, path: Path, edited: Sequence[Codes], what: str) -> None:
        """Writes pictures side by side."""
        pictures = [self.editor.decode(codes) for codes in edited]
        _save(path, np.concatenate(pictures, axis=1))
        height, width = pictures[0].shape[:2]
        print(f"{path}: {what}, {height}x{width}" + (f", {len(pictures)} pictures" if len(pictures) > 1 else ""))


def _interpolate(desk: _Desk, arguments: argparse.Namespace) -> None:
    own, other = desk.read(arguments.structure), desk.read(arguments.texture)
    shares = [1.0] if arguments.action == "swap" else arguments.share
    names = f"structure of {arguments.structure.name}, texture of {arguments.texture.name}"
    what = names if arguments.action == "swap" else f"{names} by {_list(shares)}"
    desk.write(arguments.output, [own.with_texture(other, share) for share in shares], what)


def _vector(desk: _Desk, arguments: argparse.Namespace) -> None:
    before, after = (desk.read_folder(folder) for folder in (arguments.before, arguments.after))
    direction = desk.editor.difference(before, after, arguments.kind)
    file = direction.save(arguments.output)
    length = float(np.linalg.norm(direction.vector))
    print(f"{file}: {arguments.kind}, from {len(before)} pictures to {len(after)}, length {length:.3g}")
    _next(desk.bundle, file)


def _pca(desk: _Desk, arguments: argparse.Namespace) -> None:
    kind: Kind = arguments.kind
    found = desk.editor.components(desk.read_folder(arguments.folder), kind, arguments.components)
    files = []
    for number, (direction, share) in enumerate(zip(found.directions, found.explained, strict=True), 1):
        files.append(direction.save(arguments.output / f"{kind}-{number}.npz"))
        print(f"{files[-1]}: {share:.1%} of the variance")
    print(f"together {sum(found.explained):.1%}; an amount of 1 is one standard deviation of these pictures")
    if arguments.preview is not None:
        codes = desk.read(arguments.preview)
        rows = [
            np.concatenate([desk.editor.decode(codes.moved(direction, amount)) for amount in PREVIEW_AMOUNTS], axis=1)
            for direction in found.directions
        ]
        _save(arguments.output / "preview.png", np.concatenate(rows))
        print(f"{arguments.output / 'preview.png'}: a row for each, moved by {_list(PREVIEW_AMOUNTS)}")
    _next(desk.bundle, files[0])


def _move(desk: _Desk, arguments: argparse.Namespace) -> None:
    direction, codes = desk.read_direction(arguments.direction), desk.read(arguments.picture)
    moved = [codes.moved(direction, amount) for amount in arguments.amount]
    desk.write(arguments.output, moved, f"{direction.kind} moved by {_list(arguments.amount)}")


def _region(desk: _Desk, arguments: argparse.Namespace) -> None:
    direction, codes = desk.read_direction(arguments.direction), desk.read(arguments.picture)
    place = desk.editor.place(codes, *arguments.at)
    mask = codes.similar_to(*place, arguments.threshold, arguments.softness)
    moved = [codes.moved(direction, amount, mask) for amount in arguments.amount]
    desk.write(arguments.output, moved, f"{mask.mean():.0%} of the structure moved by {_list(arguments.amount)}")
    if arguments.show_mask is not None:
        grey = np.kron(mask, np.ones((desk.editor.multiple,) * 2, np.float32))[: codes.height, : codes.width]
        levels = np.round(grey * 255).astype(np.uint8)
        _save(arguments.show_mask, np.repeat(levels[:, :, None], 3, axis=2))
        print(f"{arguments.show_mask}: the mask")


def _clone(desk: _Desk, arguments: argparse.Namespace) -> None:
    codes = desk.read(arguments.picture)
    source = codes if arguments.source is None else desk.read(arguments.source)
    mask = _mask_of(desk, arguments, source)
    if not mask.any():
        raise I2IError(f"nothing is to be cloned: {arguments.mask} is black, or it is outside of the source")
    rows = columns = 0
    if arguments.to is not None:
        row, column = desk.editor.place(codes, *arguments.to)
        corner = np.argwhere(mask > 0).min(0)
        rows, columns = row - int(corner[0]), column - int(corner[1])
    edited = codes.cloned(source, mask, rows, columns)
    desk.write(arguments.output, [edited], f"{int((mask > 0).sum())} places of structure cloned")


def _mask_of(desk: _Desk, arguments: argparse.Namespace, source: Codes) -> np.ndarray:
    """Gives what is to be cloned, at the places of the source's structure."""
    if arguments.mask is not None:
        picture = Image.fromarray(read_still(arguments.mask).image).convert("L")
        grey = picture.resize((source.width, source.height), Image.Resampling.BOX)
        return desk.editor.places(source, np.asarray(grey, np.float32) / 255)
    left, top, width, height = arguments.box
    if left + width > source.width or top + height > source.height:
        raise I2IError(
            f"--box {left},{top},{width},{height} leaves the source, which is {source.width} wide "
            f"and {source.height} high"
        )
    (row, column), (last_row, last_column) = (
        desk.editor.place(source, x, y) for x, y in ((left, top), (left + width - 1, top + height - 1))
    )
    mask = np.zeros(source.structure.shape[1:], np.float32)
    mask[row : last_row + 1, column : last_column + 1] = 1
    return mask


def _save(path: Path, image: np.ndarray) -> None:
    write_still(path, Still(image, alpha=None, colour_profile=None, notes=()))


def _next(bundle: Bundle, file: Path) -> None:
    words = ["i2i-rt", "edit", str(bundle.path), "move", "photo.jpg", str(file), "--amount", "1", "-o", "moved.png"]
    print(f"next: {shlex.join(words)}")


def _list(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return value


def _whole(text: str, count: int, what: str) -> list[int]:
    words = text.split(",")
    if len(words) != count or not all(word.strip().isdecimal() for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what} in pixels")
    return [int(word) for word in words]


def _pair(text: str) -> tuple[int, int]:
    x, y = _whole(text, 2, "X,Y")
    return x, y


def _box(text: str) -> tuple[int, int, int, int]:
    x, y, width, height = _whole(text, 4, "X,Y,WIDTH,HEIGHT")
    if width < 1 or height < 1:
        raise argparse.ArgumentTypeError(f"{text!r} has no area")
    return x, y, width, height
