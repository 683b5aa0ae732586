"""One of a bundle's graphs, run by a session in the model's own process."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from i2i_rt.errors import I2IError
from i2i_rt.label_translator import LabelTranslator
from i2i_rt.serving.backend.model import Model


class StageModel(Model):
    """Answers as the in-process session does; sides that the graph does not take are refused, not padded."""

    def open(self) -> None:
        self._session = self.open_session()
        self._stage = self.served.spec.name
        in_two = self._stage == "translate" and LabelTranslator.serves(self._session)
        self._label_maps = LabelTranslator(self._session) if in_two else None
        self._joined: dict[int, dict[str, np.ndarray]] = {}

    def close(self) -> None:
        self._session.close()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        # a CPU takes as long for them together as one by one, and may round otherwise
        join = len(requests) > 1 and self._session.device != "cpu"
        self._joined = self._run_together(requests) if join else {}
        return super().execute(requests)

    def answer(self, inputs: Mapping[str, np.ndarray], request: Any) -> Mapping[str, np.ndarray]:
        if id(request) in self._joined:
            return self._joined[id(request)]
        if self._label_maps is None:
            return self._session.run(self._stage, inputs)
        self._label_maps.forget()  # an answer must not depend on whose map came before
        return {"translated": self._label_maps(inputs)}

    def _run_together(self, requests: Sequence[Any]) -> dict[int, dict[str, np.ndarray]]:
        """Gives the outputs of those requests that can be answered, by the requests' `id`.

        The server joins requests of one shape only. Those that are left out are answered, or refused, one by one.
        """
        taken: dict[int, dict[str, np.ndarray]] = {}
        for request in requests:
            with contextlib.suppress(I2IError):
                taken[id(request)] = self.inputs_of(request)
        if not taken:
            return {}
        names = [tensor.name for tensor in self.served.spec.inputs]
        together = {name: np.concatenate([inputs[name] for inputs in taken.values()]) for name in names}
        try:
            outputs = self._session.run(self._stage, together)
        except Exception:  # perhaps one of them alone is at fault, which then gets the error
            return {}
        results, end = {}, 0
        for key, inputs in taken.items():
            start, end = end, end + len(inputs[names[0]])
            results[key] = {name: rows[start:end] for name, rows in outputs.items()}
        return results
