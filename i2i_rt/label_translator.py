"""Translates label maps in two stages: what the map alone decides, computed once a map, and the picture.

The result is that of `translate` up to rounding. Another style on the same map costs the second stage only; a map of
which a part has changed, in painting or in a video, costs the first stage for those windows of labels alone that no
earlier map had.
"""

from collections.abc import Mapping

import numpy as np

from i2i_rt.layout import Plan
from i2i_rt.runtime.session import Session, check, padded
from i2i_rt.spec import LABEL_STAGES, TensorSpec

SPARE = 1.5  # room in the tables for the rows of the next maps


class LabelTranslator:
    """Runs `layout` and `render` of a session in place of `translate`; keeps the last map's plan and tables."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._layout, self._render = (session.stages[name] for name in LABEL_STAGES)
        self._plan = Plan(self._layout)
        self._tables: dict[str, np.ndarray] = {}

    @staticmethod
    def serves(session: Session) -> bool:
        """Says whether a session has the two stages, and gains by them.

        The tables have another length for every map. Where a shape is compiled, or recorded on a GPU, before it runs,
        that costs more than it saves.
        """
        if session.device != "cpu" or session.backend == "torch-compile":
            return False
        return all(session.can_run(name) for name in LABEL_STAGES)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Gives the frames `[N, H, W, 3]` that `translate` gives for the same inputs.

        Raises:
            I2IError: where an input is not what `translate` takes.
        """
        spec = self._session.stages["translate"]
        check(spec, inputs)
        edges = inputs.get("edges")
        if edges is not None and edges.max() > 1:  # values between the labels' are for the convolutions
            return self._session.run("translate", inputs)["translated"]
        fitted = padded(spec, inputs)
        labels, edges = fitted["labels"], fitted.get("edges")
        self._plan.update(labels, edges)
        if not self._plan.is_computed:
            self._compute()
        given = {**fitted, **self._plan.render_inputs(labels, edges), **self._filled()}
        translated = self._session.run("render", {tensor.name: given[tensor.name] for tensor in self._render.inputs})
        _, height, width = inputs["labels"].shape
        return translated["translated"][:, :height, :width]

    def forget(self) -> None:
        """Drops what is kept of earlier maps."""
        self._plan, self._tables = Plan(self._layout), {}

    def _compute(self) -> None:
        """Adds the missing rows to the tables."""
        made = self._session.run("layout", self._plan.layout_inputs())
        for tensor in self._layout.outputs:
            first, last = self._rows(tensor)
            if first == 0:
                self._tables[tensor.name] = made[tensor.name]
            elif last > first:
                self._room(tensor.name, first, last)[first:last] = made[tensor.name]
        for level in self._plan.levels.values():
            level.computed = len(level.patches.windows)

    def _rows(self, tensor: TensorSpec) -> tuple[int, int]:
        """Gives how many rows of a table are computed, and how many there are to be."""
        level = self._plan.levels[int(tensor.axes[0].name.removeprefix("U_"))]
        return level.computed, len(level.patches.windows)

    def _room(self, name: str, used: int, wanted: int) -> np.ndarray:
        table = self._tables[name]
        if len(table) < wanted:
            table = np.empty((int(SPARE * wanted), table.shape[1]), table.dtype)
            table[:used] = self._tables[name][:used]
            self._tables[name] = table
        return table

    def _filled(self) -> dict[str, np.ndarray]:
        return {tensor.name: self._tables[tensor.name][: self._rows(tensor)[1]] for tensor in self._layout.outputs}
