"""The plan of a label map: which neighbourhoods of labels it has, each once, and where each of them lies.

SPADE's scales and shifts at a position are two convolutions of the label map: they depend on the labels in a window
around it and on nothing else, and real maps have few different windows. So each window is computed once. With
convolutions of k x k positions that takes two steps, and the plan of a resolution has two lists: the *patterns*, k x k
labels each, that the first convolution sees, and the *patches*, k x k numbers of patterns each, that the second sees.
"""

import contextlib
import math

import numpy as np

from i2i_rt.spec import StageSpec

OUTSIDE = -1  # the number of what lies outside the map: convolutions see zeros there
SPARE = 1000  # windows of a resolution that are kept whether maps still have them or not
EDGE = 256  # added to the label of a position with an edge


class CollisionError(Exception):
    """Two different neighbourhoods have the same hash."""


class Neighbourhoods:
    """Numbers the different k x k neighbourhoods of maps `[N, h, w]`, and keeps the number of every position.

    Windows are found by a hash of 64 bits; each is then compared with the one that its number stands for, so the
    result is exact. Numbers stay the same from one map to the next.

    Attributes:
        windows: the neighbourhoods by their numbers, `[count, k * k]` int32, `OUTSIDE` beyond the map's border.
        numbers: of the present map, `[N, h, w]` int32.
    """

    def __init__(self, kernel: int, seed: int = 0) -> None:
        self._kernel, self._radius = kernel, kernel // 2
        random = np.random.Generator(np.random.PCG64(seed))
        self._factors = random.integers(0, 2**64, kernel * kernel, np.uint64, endpoint=False) | np.uint64(1)
        self.windows = np.empty((0, kernel * kernel), np.int32)
        self.numbers = np.empty((0, 0, 0), np.int32)
        self._hashes = np.empty(0, np.uint64)  # of the windows, sorted
        self._order = np.empty(0, np.int32)  # their numbers

    def update(self, values: np.ndarray, changed: np.ndarray | None) -> np.ndarray:
        """Numbers the neighbourhoods of a map `[N, h, w]` int32, and says where the numbers may be others than before.

        `changed` `[N, h, w]` marks the values that may be; None: all may be, and the shape too.

        Raises:
            CollisionError: where another seed is needed.
        """
        radius = self._radius
        padded = np.pad(values, ((0, 0), (radius, radius), (radius, radius)), constant_values=OUTSIDE)
        if changed is None:
            self.numbers = np.empty(values.shape, np.int32)
            touched = np.ones(values.shape, bool)
        else:
            touched = self._reached(changed)
        flat, numbers = padded.reshape(-1), self.numbers.reshape(-1)
        _, rows, columns = padded.shape
        offsets = [row * columns + column for row in range(self._kernel) for column in range(self._kernel)]

        def corners(places: np.ndarray) -> np.ndarray:
            """Gives where the windows of places of the map begin in the padded map."""
            height, width = values.shape[1:]
            image, inside = np.divmod(places, height * width)
            row, column = np.divmod(inside, width)
            result: np.ndarray = (image * rows + row) * columns + column
            return result

        # a window of one value alone is found by that value: most of them are, and need no hash
        plain = self._plain(padded) & touched
        plain_places, mixed_places = np.flatnonzero(plain), np.flatnonzero(touched & ~plain)
        plain_values = values.reshape(-1)[plain_places]
        examples = np.full(int(plain_values.max(initial=0)) + 1, -1)
        examples[plain_values] = plain_places
        places = np.concatenate([mixed_places, examples[examples >= 0]])
        numbers[places] = self._numbered(flat, corners(places), offsets)
        numbers[plain_places] = numbers[examples[plain_values]]
        return touched

    def _reached(self, changed: np.ndarray) -> np.ndarray:
        """Widens marks `[N, h, w]` to all positions whose windows they are in."""
        radius = self._radius
        padded = np.pad(changed, ((0, 0), (radius, radius), (radius, radius)))
        height, width = changed.shape[1:]
        tall = np.zeros((len(changed), height, width + 2 * radius), bool)
        for row in range(self._kernel):
            tall |= padded[:, row : row + height]
        wide = np.zeros_like(changed)
        for column in range(self._kernel):
            wide |= tall[:, :, column : column + width]
        return wide

    def _plain(self, padded: np.ndarray) -> np.ndarray:
        """Marks the positions `[N, h, w]` whose windows hold one value only."""
        reach = self._kernel - 1
        height, width = padded.shape[1] - reach, padded.shape[2] - reach
        beside, below = padded[:, :, 1:] == padded[:, :, :-1], padded[:, 1:] == padded[:, :-1]
        lines = np.ones((len(padded), padded.shape[1], width), bool)
        for column in range(reach):
            lines &= beside[:, :, column : column + width]
        result = np.ones((len(padded), height, width), bool)
        for row in range(self._kernel):
            result &= lines[:, row : row + height]
        for row in range(reach):
            result &= below[:, row : row + height, :width]
        return result

    def _numbered(self, flat: np.ndarray, corners: np.ndarray, offsets: list[int]) -> np.ndarray:
        """Gives the numbers of the windows that begin at `corners` of the padded map."""
        hashes = np.zeros(len(corners), np.uint64)
        for factor, offset in zip(self._factors, offsets, strict=True):
            hashes += flat[corners + offset].astype(np.uint64) * factor
        distinct, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        at = np.searchsorted(self._hashes, distinct)
        known = np.zeros(len(distinct), bool)
        inside = at < len(self._hashes)
        known[inside] = self._hashes[at[inside]] == distinct[inside]
        found = np.empty(len(distinct), np.int32)
        found[known] = self._order[at[known]]
        count = len(self.windows)
        found[~known] = np.arange(count, count + int((~known).sum()), dtype=np.int32)
        fresh = corners[first[~known]]
        self.windows = np.concatenate([self.windows, flat[fresh[:, None] + np.array(offsets)]])
        self._hashes = np.insert(self._hashes, at[~known], distinct[~known])
        self._order = np.insert(self._order, at[~known], found[~known])
        result = found[inverse]
        for column, offset in enumerate(offsets):
            if (self.windows[result, column] != flat[corners + offset]).any():
                raise CollisionError
        return result


class Level:
    """The plan at one resolution.

    Attributes:
        patterns: of labels.
        patches: of patterns.
        computed: how many of the patches have their rows in the tables already.
    """

    def __init__(self, kernel: int, seed: int) -> None:
        self.patterns, self.patches = Neighbourhoods(kernel, seed), Neighbourhoods(kernel, seed)
        self.computed = 0

    def update(self, symbols: np.ndarray, changed: np.ndarray | None) -> None:
        """Takes symbols `[N, h, w]` int32 of which those that `changed` marks are new; None: all are."""
        if changed is not None and not changed.any():
            return
        touched = self.patterns.update(symbols, changed)
        self.patches.update(self.patterns.numbers, None if changed is None else touched)

    @property
    def is_wasteful(self) -> bool:
        """Whether many patches, and more than half of all, are of maps that are gone."""
        count = len(self.patches.windows)
        return count > SPARE and count > 2 * int(np.count_nonzero(np.bincount(self.patches.numbers.reshape(-1))))

    def fresh(self) -> tuple[np.ndarray, np.ndarray]:
        """Gives the patches that are not computed yet, and the patterns that they are made of, as `layout` takes them.

        There 0 stands for outside, and patches count the patterns given with them from 1. Where nothing is to be
        computed there is a pattern and a patch of nothing.
        """
        patches = self.patches.windows[self.computed :]
        if not len(patches):
            patches = np.full((1, self.patches.windows.shape[1]), OUTSIDE, np.int32)
        used = np.unique(patches)
        used = used[used != OUTSIDE]
        patterns = self.patterns.windows[used] if len(used) else np.full_like(patches[:1], OUTSIDE)
        numbers = np.where(patches == OUTSIDE, 0, np.searchsorted(used, patches) + 1).astype(np.int32)
        return patterns + 1, numbers


class Plan:
    """The plan of label maps at every resolution that a `layout` stage has.

    Attributes:
        levels: by the number of pixels that a position stands for along a side, lowest resolution first.
    """

    def __init__(self, spec: StageSpec, seed: int = 0) -> None:
        divisors = [int(tensor.name.removeprefix("patches_")) for tensor in spec.inputs[1::2]]
        self._kernel, self._seed = math.isqrt(spec.inputs[0].axes[1].size or 1), seed
        self._symbols: np.ndarray | None = None
        self.levels = {divisor: Level(self._kernel, seed) for divisor in divisors}

    def update(self, labels: np.ndarray, edges: np.ndarray | None) -> None:
        """Takes label maps `[N, H, W]` uint8 and edges of zeros and ones; what is as before is not looked at again."""
        symbols = labels.astype(np.int32)
        if edges is not None:
            symbols += EDGE * edges.astype(np.int32)
        before, self._symbols = self._symbols, None  # there is none while the levels are between two maps
        changed = symbols != before if before is not None and before.shape == symbols.shape else None
        try:
            self._update(symbols, changed)
        except CollisionError:
            self._restart(symbols)
        if any(level.is_wasteful for level in self.levels.values()):
            self._restart(symbols)
        self._symbols = symbols

    def _update(self, symbols: np.ndarray, changed: np.ndarray | None) -> None:
        for divisor, level in self.levels.items():
            # the network's own resizing: the first of every `divisor` positions
            part = None if changed is None else changed[:, ::divisor, ::divisor]
            level.update(symbols[:, ::divisor, ::divisor], part)

    def _restart(self, symbols: np.ndarray) -> None:
        while True:
            self._seed += 1
            self.levels = {divisor: Level(self._kernel, self._seed) for divisor in self.levels}
            with contextlib.suppress(CollisionError):
                return self._update(symbols, None)

    @property
    def is_computed(self) -> bool:
        """Whether the tables have all rows."""
        return all(level.computed == len(level.patches.windows) for level in self.levels.values())

    def layout_inputs(self) -> dict[str, np.ndarray]:
        """Gives what `layout` takes to compute the rows that are missing."""
        inputs = {}
        for divisor, level in self.levels.items():
            inputs[f"patterns_{divisor}"], inputs[f"patches_{divisor}"] = level.fresh()
        return inputs

    def render_inputs(self, labels: np.ndarray, edges: np.ndarray | None) -> dict[str, np.ndarray]:
        """Gives what `render` takes beside the tables and a style; some networks do not take all of it."""
        coarsest = next(iter(self.levels))
        inputs = {f"index_{divisor}": level.patches.numbers for divisor, level in self.levels.items()}
        inputs["first_labels"] = np.ascontiguousarray(labels[:, ::coarsest, ::coarsest])
        if edges is not None:
            inputs["first_edges"] = np.ascontiguousarray(edges[:, ::coarsest, ::coarsest])
        return inputs
