"""What all models share: their description, checks in front of every request, and errors with the right code."""

import json
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.errors import BundleError, I2IError
from i2i_rt.runtime import backends
from i2i_rt.runtime.session import Session
from i2i_rt.serving import execution, served
from i2i_rt.serving.backend.bls import BlsSession
from i2i_rt.serving.backend.labels import check_labels
from i2i_rt.serving.backend.refusal import CODED, Code, Refusal, coded
from i2i_rt.serving.backend.tensors import from_pb, to_pb
from i2i_rt.serving.execution import Execution
from i2i_rt.serving.served import ServedModel


class Model(ABC):
    """A model as the server's Python backend wants it: `initialize`, `execute`, `finalize`.

    Attributes:
        served: what clients know of it.
        execution: how it computes.
        bundle: the bundle that it is of.
    """

    served: ServedModel
    execution: Execution
    bundle: Bundle

    def initialize(self, args: Mapping[str, str]) -> None:
        """Takes the server's arguments: the model's config as JSON, and the model's folder."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.served = ServedModel.from_text(parameters[served.PARAMETER]["string_value"])
        self.execution = Execution.from_text(parameters[execution.PARAMETER]["string_value"])
        # <repository>/models/<model>
        self.bundle = Bundle.open(Path(args["model_repository"]).parents[1] / self.execution.bundle)
        self.open()

    @abstractmethod
    def open(self) -> None:
        """Loads what requests need."""

    @abstractmethod
    def answer(self, inputs: Mapping[str, np.ndarray], request: Any) -> Mapping[str, np.ndarray]:
        """Gives the outputs for inputs whose shapes are checked; those that were left out are not there.

        Raises:
            Refusal: with the code that the client gets.
            I2IError: where the request is at fault.
        """

    def close(self) -> None:  # noqa: B027 - some models hold nothing
        """Frees what `open` loaded."""

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers requests, in their order."""
        return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        """Is called before the process ends."""
        self.close()

    def open_session(self) -> Session:
        """Gives what runs the bundle's stages: in this process, or in the server's other models."""
        if self.execution.stages == "server":
            return BlsSession(self.served.bundle, self.bundle, self.served.precision, self.execution.rows)
        choice = backends.choose(self.bundle, self.execution.backend, self.execution.precision)
        return backends.open_session(self.bundle, choice, threads=self.execution.threads)

    def inputs_of(self, request: Any) -> dict[str, np.ndarray]:
        """Gives what a request holds, checked.

        Raises:
            Refusal: where nobody waits for it any more.
            I2IError: where an input does not fit, or is beyond the limits.
        """
        if request.is_cancelled():
            raise Refusal("CANCELLED", "the client no longer waits for this request")
        inputs = {tensor.name(): from_pb(tensor) for tensor in request.inputs()}
        self.served.limits.check(self.served.spec, {name: array.shape for name, array in inputs.items()})
        for name, array in inputs.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise Refusal("INVALID_ARG", f"{name} holds values that are NaN or infinite")
        check_labels(self.served.labels, inputs)
        return inputs

    def _respond(self, request: Any) -> Any:
        import triton_python_backend_utils as pb_utils

        try:
            outputs, wanted = self.answer(self.inputs_of(request), request), request.requested_output_names()
            return pb_utils.InferenceResponse([to_pb(name, array) for name, array in outputs.items() if name in wanted])
        except Refusal as error:
            return _failure(request, error.code, str(error))
        except BundleError as error:
            return _failure(request, "INTERNAL", str(error))
        except I2IError as error:
            return _failure(request, "INVALID_ARG", str(error))
        except Exception as error:  # one request's failure is not its neighbours', and must not stop the process
            pb_utils.Logger.log_error(traceback.format_exc())
            return _failure(request, "INTERNAL", f"{self.served.name} failed: {type(error).__name__}: {error}")


def _failure(request: Any, code: Code, message: str) -> Any:
    import triton_python_backend_utils as pb_utils

    if CODED in json.loads(request.parameters()):
        message = coded(code, message)
    return pb_utils.InferenceResponse([], pb_utils.TritonError(message, getattr(pb_utils.TritonError, code)))
