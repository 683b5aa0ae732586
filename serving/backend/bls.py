"""Runs stages in other models of the same server, without a way through the network (business logic scripting)."""

from collections.abc import Mapping

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.runtime.session import Session
from i2i_rt.serving.backend.refusal import CODED, refusal_of
from i2i_rt.serving.backend.tensors import from_pb, to_pb
from i2i_rt.spec import StageSpec
from i2i_rt.style import DRAWS_AT_ONCE


def ask(model: str, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> dict[str, np.ndarray]:
    """Asks another model of the server; the answers belong to the caller.

    Raises:
        Refusal: where it refuses or fails, with its code.
    """
    import triton_python_backend_utils as pb_utils

    request = pb_utils.InferenceRequest(
        model_name=model,
        inputs=[to_pb(name, array) for name, array in inputs.items()],
        requested_output_names=outputs,
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        parameters={CODED: True},
    )
    response = request.exec()
    if response.has_error():
        raise refusal_of(response.error().message())
    return {tensor.name(): np.array(from_pb(tensor)) for tensor in response.output_tensors()}


class BlsSession(Session):
    """Stages of a bundle, each of which is the model `<name>-<stage>` of this server."""

    def __init__(self, name: str, bundle: Bundle, precision: str, rows: int = DRAWS_AT_ONCE) -> None:
        """Takes the name under which the bundle is served, and how many rows its models take at once."""
        self.backend, self.precision, self.device = "server", precision, "server"
        self.stages = bundle.stages
        self._name, self._rows = name, rows

    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        spec = self.stages[stage]
        outputs = [tensor.name for tensor in spec.outputs]
        count = len(inputs[spec.inputs[0].name])
        if count <= self._rows or not _is_in_rows(spec):
            return ask(f"{self._name}-{stage}", inputs, outputs)
        # the mean style is that of thousands of codes; an engine may take four
        parts = [
            ask(f"{self._name}-{stage}", {key: array[i : i + self._rows] for key, array in inputs.items()}, outputs)
            for i in range(0, count, self._rows)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}


def _is_in_rows(spec: StageSpec) -> bool:
    """Says whether each row of a stage's outputs comes from the same row of its inputs."""
    return all(tensor.axes[0].name == "N" for tensor in (*spec.inputs, *spec.outputs))
