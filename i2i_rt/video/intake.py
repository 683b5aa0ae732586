"""What a file or a frame becomes before a network takes it: a picture, or a map of labels."""

from pathlib import Path
from typing import Protocol

import numpy as np

from i2i_rt import label_maps
from i2i_rt.bundle import Bundle
from i2i_rt.errors import MediaError, UnsupportedError
from i2i_rt.spec import LabelInfo
from i2i_rt.video.sizes import Size, resized
from i2i_rt.video.stills import SUFFIXES, Still, read_still

GREY_TOLERANCE = 2  # levels that the channels of a grey frame may differ by: decoders round
COLOUR_TOLERANCE = 48  # levels between a pixel and the nearest class's colour, as compression leaves them
CELL_BITS = 2  # colours are told apart by their upper 6 bits, except those that are a class's own


class Intake(Protocol):
    """What one kind of model takes.

    Attributes:
        still_suffixes: of the files that hold one picture or map.
    """

    still_suffixes: frozenset[str]

    def read(self, path: Path) -> Still:
        """Reads a file; `image` is what the network takes, at the file's own size."""

    def from_frame(self, frame: np.ndarray) -> np.ndarray:
        """Gives what the network takes of a frame of a video or a camera, `[H, W, 3]` uint8 RGB."""

    def resized(self, image: np.ndarray, size: Size) -> np.ndarray: ...

    def edges(self, path: Path, size: Size) -> np.ndarray | None:
        """Gives the edges `[H, W]` between the instances of the map that was read from `path`; None where none."""

    def shown(self, image: np.ndarray) -> np.ndarray:
        """Gives it as a picture, `[H, W, 3]` uint8 RGB."""


class Pictures:
    """The intake of a model that takes pictures."""

    still_suffixes = SUFFIXES

    def read(self, path: Path) -> Still:
        return read_still(path)

    def from_frame(self, frame: np.ndarray) -> np.ndarray:
        return frame

    def resized(self, image: np.ndarray, size: Size) -> np.ndarray:
        return resized(image, size)

    def edges(self, path: Path, size: Size) -> np.ndarray | None:
        return None

    def shown(self, image: np.ndarray) -> np.ndarray:
        return image


class LabelMaps:
    """The intake of a model that takes label maps `[H, W]` uint8, with the instances of stills where they are given.

    A frame of a video holds grey indices or colours of the palette. Compression changes both a little: colours go to
    the nearest class, indices would become others, so that videos of them must be lossless.
    """

    still_suffixes = SUFFIXES | {".npy"}

    def __init__(self, labels: LabelInfo, instances: Path | None = None) -> None:
        if instances is not None and not labels.edges:
            raise UnsupportedError("this model takes no instances; leave --instances out")
        if instances is not None and not instances.exists():
            raise MediaError(f"there is no file or folder {instances}")
        self._labels, self._instances = labels, instances
        self._nearest: np.ndarray | None = None

    def read(self, path: Path) -> Still:
        return Still(label_maps.read_labels(path, self._labels), None, None, ())

    def from_frame(self, frame: np.ndarray) -> np.ndarray:
        low, high = frame.min(axis=2), frame.max(axis=2)
        if int((high - low).max()) <= GREY_TOLERANCE and not self._is_painted(frame):
            return label_maps.check_labels(frame[..., 1], self._labels, "the frame")
        classes = self._classes_of_colours()
        packed = frame[..., 0].astype(np.int32) << 16 | frame[..., 1].astype(np.int32) << 8 | frame[..., 2]
        found: np.ndarray = classes[packed]
        shift = np.abs(label_maps.colourise(found, self._labels).astype(np.int16) - frame).max(axis=2)
        far = shift > COLOUR_TOLERANCE
        if far.mean() > 0.5:  # mixed colours along borders are no reason to stop
            row, column = (int(place) for place in np.unravel_index(int(far.argmax()), far.shape))
            colour = tuple(int(level) for level in frame[row, column])
            raise MediaError(
                f"the frame is no label map: most of its colours are of no class, the first one {colour} at row {row}, "
                f"column {column}"
            )
        return found

    def resized(self, image: np.ndarray, size: Size) -> np.ndarray:
        return image if image.shape == size else label_maps.resize(image, size[1], size[0])

    def edges(self, path: Path, size: Size) -> np.ndarray | None:
        if self._instances is None:
            return None
        file = self._instances
        if file.is_dir():
            same = sorted(found for found in file.iterdir() if found.stem == path.stem)
            if not same:
                raise MediaError(f"{file} has no instance map of the name of {path}")
            file = same[0]
        return label_maps.edges_of(self.resized(label_maps.read_instances(file), size))

    def shown(self, image: np.ndarray) -> np.ndarray:
        return label_maps.colourise(image, self._labels)

    def _is_painted(self, frame: np.ndarray) -> bool:
        """Says whether a grey frame shows grey classes of the palette rather than indices: some values are none."""
        values = np.unique(frame[..., 1])
        unknown = values[values >= len(self._labels.names)]
        return any(value != label_maps.UNKNOWN for value in unknown) and any(
            abs(int(value) - colour[0]) <= GREY_TOLERANCE and colour[0] == colour[1] == colour[2]
            for value in unknown
            for colour in self._labels.palette
        )

    def _classes_of_colours(self) -> np.ndarray:
        """Gives the class of each of the 2^24 colours: its own, else that of the nearest colour of the palette."""
        if self._nearest is None:
            palette = np.array(self._labels.palette, np.int32)
            classes = np.arange(len(palette))
            if self._labels.unknown:
                palette = np.vstack((palette, label_maps.UNKNOWN_COLOUR))
                classes = np.append(classes, label_maps.UNKNOWN)
            levels = np.arange(0, 256, 1 << CELL_BITS, dtype=np.int32) + (1 << CELL_BITS) // 2
            cells = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
            best = np.zeros(len(cells), np.int64)
            least = np.full(len(cells), np.iinfo(np.int32).max, np.int32)
            for index, colour in enumerate(palette):
                distance = np.square(cells - colour).sum(axis=1, dtype=np.int32)
                closer = distance < least
                best[closer], least[closer] = index, distance[closer]
            side = len(levels)
            table: np.ndarray = classes[best].astype(np.uint8).reshape(side, side, side)
            for axis in range(3):
                table = np.repeat(table, 1 << CELL_BITS, axis=axis)
            table = table.reshape(-1)
            for index, (red, green, blue) in reversed(list(enumerate(palette.tolist()))):  # the first of equals wins
                table[red << 16 | green << 8 | blue] = classes[index]
            self._nearest = table
        return self._nearest


def intake_of(bundle: Bundle | None, instances: Path | None = None) -> Intake:
    """Gives the intake of a bundle's model.

    Raises:
        UnsupportedError: where `instances` are given to a model that takes none, or it takes a style only.
    """
    spec = None if bundle is None else bundle.stages.get("translate")
    if bundle is not None and spec is not None and spec.inputs[0].name == "style":
        raise UnsupportedError(
            f"{bundle.path} has its label map baked in and takes a style only, so that there is nothing to translate; "
            "from Python, Session.run gives its pictures"
        )
    if bundle is not None and bundle.labels is not None:
        return LabelMaps(bundle.labels, instances)
    if instances is not None:
        raise UnsupportedError("--instances is for models that translate label maps; leave it out")
    return Pictures()
