"""Editing a picture by its codes: Park's thesis 2021, sections 4.4.5 and 4.4.6, on the Swapping Autoencoder.

It needs NumPy and a session, of any backend, whose bundle has the stages `encode` and `decode`.

    editor = Editor(bundle, session)
    codes = editor.encode(picture)
    snowy = editor.decode(codes.moved(snow, 1.5))

Codes have length one, the structure at every place, and `decode` scales whatever it gets to length one again: sums
and mixtures need no care. Region editing is the paper's: a direction is added to the structure code where a mask is,
and the texture stays one for the whole picture.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError, UnsupportedError
from i2i_rt.runtime.session import Session

Kind = Literal["texture", "structure"]


@dataclass(frozen=True)
class Direction:
    """A way through the space of codes.

    Attributes:
        vector: float32, `[T]` for a texture, `[S]` for a structure, where it is added at every place.
        kind: which of the two codes it moves.
        model: SHA-256 of the weights that made it; other weights have other codes.
    """

    vector: np.ndarray
    kind: Kind
    model: str

    def save(self, path: str | Path) -> Path:
        """Writes an `.npz` file with the arrays `direction`, `kind` and `model`."""
        path = Path(path)
        if path.suffix != ".npz":
            raise I2IError(f"the direction file is {path}; its name must end in .npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part.npz")
        np.savez(temporary, direction=self.vector.astype(np.float32), kind=self.kind, model=self.model)
        return temporary.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> "Direction":
        """Reads a file that `save` wrote.

        Raises:
            I2IError: where there is none, or it is no direction file.
        """
        path = Path(path)
        if not path.is_file():
            raise I2IError(f"there is no file {path}")
        try:
            with np.load(path, allow_pickle=False) as content:
                vector, kind, model = (content[name] for name in ("direction", "kind", "model"))
            vector = np.asarray(vector, np.float32)
            if vector.ndim != 1 or not np.isfinite(vector).all() or str(kind) not in get_args(Kind):
                raise ValueError("the arrays are not those of a direction")
        except (OSError, ValueError, TypeError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise I2IError(f"{path} is no direction file; 'i2i-rt edit BUNDLE vector' writes one") from error
        return cls(vector, str(kind), str(model))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Codes:
    """A picture taken apart.

    Attributes:
        structure: float32 `[S, h, w]`.
        texture: float32 `[T]`.
        height, width: of the picture.
    """

    structure: np.ndarray
    texture: np.ndarray
    height: int
    width: int

    def with_texture(self, other: "Codes", share: float = 1.0) -> "Codes":
        """Gives this structure with the texture of another picture, or `share` of the way there."""
        return replace(self, texture=self.texture + np.float32(share) * (other.texture - self.texture))

    def moved(self, direction: Direction, amount: float, mask: np.ndarray | None = None) -> "Codes":
        """Moves a code along a direction; a structure only where the mask `[h, w]`, from 0 to 1, is.

        Raises:
            I2IError: where the direction has another length, or a mask is given with a texture.
        """
        code = self.texture if direction.kind == "texture" else self.structure
        if len(direction.vector) != len(code):
            raise I2IError(
                f"the direction has {len(direction.vector)} numbers; this model's {direction.kind} has {len(code)}"
            )
        step = np.float32(amount) * direction.vector
        if direction.kind == "structure":
            places = np.ones(self.structure.shape[1:], np.float32) if mask is None else mask.astype(np.float32)
            return replace(self, structure=self.structure + step[:, None, None] * places)
        if mask is not None:
            raise I2IError("the direction is of the texture, which is one for the whole picture; take one of structure")
        return replace(self, texture=self.texture + step)

    def similar_to(self, row: int, column: int, threshold: float = 0.8, softness: float = 0.1) -> np.ndarray:
        """Gives a mask `[h, w]`, from 0 to 1, of the places whose structure is like that at one place.

        The cosine similarity of the codes goes from 0 at `threshold - softness` to 1 at `threshold + softness`,
        smoothly.

        Raises:
            I2IError: where the place is outside, or softness is negative.
        """
        height, width = self.structure.shape[1:]
        if not (0 <= row < height and 0 <= column < width):
            raise I2IError(f"row {row}, column {column} is outside of the structure code, which is {height}x{width}")
        if softness < 0:
            raise I2IError(f"the softness is {softness:g}; it must not be negative")
        unit = self.structure / np.maximum(np.linalg.norm(self.structure, axis=0), 1e-8)
        similarity = np.einsum("chw,c->hw", unit, unit[:, row, column])
        # equal codes must pass a threshold of 1, whatever their rounding
        rise = np.clip((similarity + 1e-6 - (threshold - softness)) / max(2 * softness, 1e-6), 0, 1)
        mask: np.ndarray = (rise * rise * (3 - 2 * rise)).astype(np.float32)
        return mask

    def cloned(self, source: "Codes", mask: np.ndarray, rows: int = 0, columns: int = 0) -> "Codes":
        """Copies the structure of `source` where its mask `[h, w]`, from 0 to 1, is, moved by rows and columns.

        What would land outside is left out.

        Raises:
            I2IError: where the mask has another shape than the source's structure, or nothing lands inside.
        """
        if mask.shape != source.structure.shape[1:]:
            raise I2IError(
                f"the mask is {list(mask.shape)}; the source's structure has {list(source.structure.shape[1:])} places"
            )
        _, height, width = self.structure.shape
        share = np.zeros((height, width), np.float32)
        copy = np.zeros_like(self.structure)
        to_rows, from_rows = _overlap(height, mask.shape[0], rows)
        to_columns, from_columns = _overlap(width, mask.shape[1], columns)
        share[to_rows, to_columns] = mask[from_rows, from_columns]
        copy[:, to_rows, to_columns] = source.structure[:, from_rows, from_columns]
        if not share.any():
            raise I2IError("nothing of what is cloned lands inside of the picture")
        return replace(self, structure=self.structure * (1 - share) + copy * share)


@dataclass(frozen=True)
class Components:
    """Principal directions of many pictures' codes, the one with the largest variance first.

    Attributes:
        directions: each as long as one standard deviation of the codes along it.
        explained: their shares of the whole variance.
    """

    directions: tuple[Direction, ...]
    explained: tuple[float, ...]


class Editor:
    """Takes pictures apart and puts them together, in whatever session runs the bundle."""

    def __init__(self, bundle: Bundle, session: Session) -> None:
        """Raises `UnsupportedError` where the bundle's system has no codes to edit."""
        if missing := [stage for stage in ("encode", "decode") if stage not in session.stages]:
            raise UnsupportedError(
                f"{bundle.path} is {bundle.system} and has no stage {missing[0]!r}; "
                "a bundle that 'i2i-rt import swapping' makes can be edited"
            )
        self._bundle, self._session = bundle, session
        self._model: str | None = None
        frames = session.stages["encode"].inputs[0]
        self.multiple = frames.axes[1].multiple  # pixels a place, in height and in width

    @property
    def model(self) -> str:
        """SHA-256 of the bundle's weights."""
        if self._model is None:
            self._model = self._bundle.weights_sha256()
        return self._model

    def encode(self, image: np.ndarray) -> Codes:
        """Takes an RGB picture `[H, W, 3]`, uint8, apart."""
        given = self._session.run("encode", {"frames": image[None]})
        return Codes(given["structure"][0], given["texture"][0], *image.shape[:2])

    def decode(self, codes: Codes) -> np.ndarray:
        """Gives the RGB picture of codes, `[H, W, 3]`, uint8."""
        inputs = {"structure": codes.structure[None], "texture": codes.texture[None]}
        inputs = {name: np.ascontiguousarray(array, np.float32) for name, array in inputs.items()}
        picture: np.ndarray = self._session.run("decode", inputs)["translated"][0]
        return picture[: codes.height, : codes.width]

    def place(self, codes: Codes, x: int, y: int) -> tuple[int, int]:
        """Gives row and column of the structure code at a pixel.

        Raises:
            I2IError: where it is outside of the picture.
        """
        if not (0 <= x < codes.width and 0 <= y < codes.height):
            raise I2IError(f"{x},{y} is outside of the picture, which is {codes.width} wide and {codes.height} high")
        return y // self.multiple, x // self.multiple

    def places(self, codes: Codes, mask: np.ndarray) -> np.ndarray:
        """Gives a mask of pixels `[H, W]`, from 0 to 1, as one of places `[h, w]`: the mean of each place's pixels."""
        height, width = codes.structure.shape[1:]
        whole = np.zeros((height * self.multiple, width * self.multiple), np.float32)
        whole[: mask.shape[0], : mask.shape[1]] = mask
        means: np.ndarray = whole.reshape(height, self.multiple, width, self.multiple).mean((1, 3))
        return means

    def check(self, direction: Direction, name: str = "the direction") -> None:
        """Raises `I2IError` where a direction belongs to other weights."""
        if direction.model != self.model:
            raise I2IError(
                f"{name} belongs to another model, {direction.model[:12]}; {self._bundle.path} is {self.model[:12]}"
            )

    def difference(self, before: Sequence[Codes], after: Sequence[Codes], kind: Kind) -> Direction:
        """Gives the direction from one group of pictures to another: the difference of their mean codes.

        Raises:
            I2IError: where a group is empty.
        """
        if not before or not after:
            raise I2IError("a direction needs at least one picture in each of the two groups")
        # each picture counts the same, whatever its size
        means = [np.mean([_rows(codes, kind).mean(0) for codes in group], axis=0) for group in (before, after)]
        return Direction((means[1] - means[0]).astype(np.float32), kind, self.model)

    def components(self, group: Sequence[Codes], kind: Kind, count: int) -> Components:
        """Gives the principal directions of textures, or of the structure codes of all places.

        Raises:
            I2IError: where the pictures have fewer directions than `count`.
        """
        if not group:
            raise I2IError("principal directions need pictures")
        rows = np.concatenate([_rows(codes, kind) for codes in group]).astype(np.float64)
        rows -= rows.mean(0)
        most = min(len(rows) - 1, rows.shape[1])
        if not 1 <= count <= most:
            raise I2IError(f"{len(group)} pictures have {most} principal directions of {kind}; {count} cannot be given")
        _, lengths, vectors = np.linalg.svd(rows, full_matrices=False)
        variances = lengths**2 / max(len(rows) - 1, 1)
        directions = []
        for variance, vector in zip(variances[:count], vectors[:count], strict=True):
            sign = np.sign(vector[np.abs(vector).argmax()])  # the sign is arbitrary, but must not change by chance
            directions.append(Direction((sign * np.sqrt(variance) * vector).astype(np.float32), kind, self.model))
        shares = variances[:count] / max(variances.sum(), 1e-30)
        return Components(tuple(directions), tuple(float(share) for share in shares))


def _rows(codes: Codes, kind: Kind) -> np.ndarray:
    """Gives a picture's codes as rows: its texture, or the structure of every place."""
    if kind == "texture":
        return codes.texture[None]
    return codes.structure.reshape(len(codes.structure), -1).T


def _overlap(mine: int, theirs: int, shift: int) -> tuple[slice, slice]:
    """Gives where `theirs` positions, moved by `shift`, lie among `mine`, and which of theirs these are."""
    start, stop = max(shift, 0), max(min(theirs + shift, mine), max(shift, 0))
    return slice(start, stop), slice(start - shift, stop - shift)
