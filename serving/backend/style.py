"""Style codes: of a picture, drawn with a seed, or the mean."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from i2i_rt.serving.backend.model import Model
from i2i_rt.serving.backend.styles import Styles
from i2i_rt.style import StyleMaker


class StyleModel(Model):
    """Makes each style once, as long as it is kept."""

    def open(self) -> None:
        self._session = self.open_session()
        maker = StyleMaker(self.bundle, self._session)
        self._styles = Styles(maker, self.served.weights_sha256, self.execution.cache_size)

    def close(self) -> None:
        self._session.close()

    def answer(self, inputs: Mapping[str, np.ndarray], request: Any) -> Mapping[str, np.ndarray]:
        name, style = self._styles(inputs)
        return {"style": style.code, "style_id": np.array([name], np.int64)}
