"""One of a bundle's graphs, run by a session in the model's own process."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from i2i_rt.label_translator import LabelTranslator
from i2i_rt.serving.backend.labels import check_labels
from i2i_rt.serving.backend.model import Model


class StageModel(Model):
    """Answers as the in-process session does; sides that the graph does not take are refused, not padded."""

    def open(self) -> None:
        self._session = self.open_session()
        self._stage = self.served.spec.name
        in_two = self._stage == "translate" and LabelTranslator.serves(self._session)
        self._label_maps = LabelTranslator(self._session) if in_two else None

    def close(self) -> None:
        self._session.close()

    def answer(self, inputs: Mapping[str, np.ndarray], request: Any) -> Mapping[str, np.ndarray]:
        check_labels(self.served.labels, inputs)
        if self._label_maps is None:
            return self._session.run(self._stage, inputs)
        # an answer does not depend on whose map came before: tables that grew map by map are rounded differently
        self._label_maps.forget()
        return {"translated": self._label_maps(inputs)}
