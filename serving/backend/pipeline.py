"""Frames of any size in a style that the same request makes, or that an earlier one made."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from i2i_rt.serving.backend.model import Model
from i2i_rt.serving.backend.refusal import Refusal
from i2i_rt.serving.backend.remote import Remote
from i2i_rt.serving.backend.styles import require_at_most_one


class PipelineModel(Model):
    """Asks the bundle's other models."""

    def open(self) -> None:
        self._remote = Remote(self.served, self.bundle, self.execution.cache_size)

    def answer(self, inputs: Mapping[str, np.ndarray], request: Any) -> Mapping[str, np.ndarray]:
        makers = ("style_id", "reference", "seed")
        require_at_most_one(inputs, *makers)
        if not any(name in inputs for name in makers):
            raise Refusal("INVALID_ARG", f"no style is given; give one of {', '.join(makers)}")
        name, code = self._remote.style(inputs)
        return {"translated": self._remote.translate(inputs, code), "style_id": np.array([name], np.int64)}
