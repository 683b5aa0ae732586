"""The server's Python backend in this process: models of a repository, and requests that reach them and one another."""

import json
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pytest
from google.protobuf import json_format

from i2i_rt.serving.backend import image, pipeline, stage, stream, style
from i2i_rt.serving.backend.model import Model
from i2i_rt.serving.config import read_config
from i2i_rt.serving.repository import Repository

CLASSES: dict[str, type[Model]] = {
    "stage": stage.StageModel,
    "style": style.StyleModel,
    "pipeline": pipeline.PipelineModel,
    "stream": stream.StreamModel,
    "image": image.ImageModel,
}


class Refused(Exception):
    """What a client would get: the name of the code, and the message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TritonError:
    INVALID_ARG, NOT_FOUND, UNAVAILABLE = "INVALID_ARG", "NOT_FOUND", "UNAVAILABLE"
    CANCELLED, INTERNAL = "CANCELLED", "INTERNAL"

    def __init__(self, message: str, code: str) -> None:
        self._message, self.code = message, code

    def message(self) -> str:
        return self._message


class Capsule:
    """What `np.from_dlpack` takes: an object, not a bare capsule."""

    def __init__(self, capsule: object) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> object:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, array

    @staticmethod
    def from_dlpack(name: str, capsule: object) -> "Tensor":
        return Tensor(name, np.array(np.from_dlpack(Capsule(capsule))))

    def name(self) -> str:
        return self._name

    def __dlpack__(self, **_: Any) -> object:
        return self._array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


class Response:
    def __init__(self, output_tensors: list[Tensor], error: TritonError | None = None) -> None:
        self._tensors, self._error = output_tensors, error

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors


class Request:
    """A request as a model sees it, and as one model makes it for another."""

    models: ClassVar[dict[str, Model]] = {}

    def __init__(
        self,
        model_name: str,
        inputs: list[Tensor],
        requested_output_names: list[str],
        *,
        parameters: Mapping[str, Any] | None = None,
        number: int | str = 0,
        flags: int = 0,
        cancelled: bool = False,
        preferred_memory: object = None,
    ) -> None:
        self._model, self._inputs, self._outputs = model_name, inputs, requested_output_names
        self._parameters, self._number, self._flags, self._cancelled = parameters or {}, number, flags, cancelled

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def requested_output_names(self) -> list[str]:
        return self._outputs

    def parameters(self) -> str:
        return json.dumps(dict(self._parameters))

    def correlation_id(self) -> int | str:
        return self._number

    def flags(self) -> int:
        return self._flags

    def is_cancelled(self) -> bool:
        return self._cancelled

    def exec(self) -> Response:
        response: Response = self.models[self._model].execute([self])[0]
        if not response.has_error():
            return response
        # the real one loses the code on this way
        error = response.error()
        assert error is not None
        words = f"Failed to process the request(s) for model '{self._model}_0_0', message: {error.message()}"
        return Response([], TritonError(words, TritonError.INTERNAL))


class FakeTriton:
    """Serves a repository.

    Attributes:
        models: by name.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.models: dict[str, Model] = {}
        for served in repository.models:
            folder = repository.models_folder / served.name
            config = json_format.MessageToDict(read_config(folder), preserving_proto_field_name=True)
            model = CLASSES[served.kind]()
            model.initialize({"model_config": json.dumps(config), "model_repository": str(folder)})
            self.models[served.name] = model

    def infer(self, model: str, inputs: Mapping[str, np.ndarray], **options: Any) -> dict[str, np.ndarray]:
        """Gives a model's answer.

        Raises:
            Refused: where it refuses.
        """
        names = [tensor.name for tensor in self.models[model].served.spec.outputs]
        given = []
        for name, array in inputs.items():
            given.append(Tensor(name, np.array(array)))
        response = self.models[model].execute([Request(model, given, options.pop("outputs", names), **options)])[0]
        if error := response.error():
            raise Refused(error.code, error.message())
        return {tensor.name(): np.from_dlpack(tensor) for tensor in response.output_tensors()}


@contextmanager
def serving(repository: Repository) -> Iterator[FakeTriton]:
    """Lets models import the fake in place of the server's module."""
    module: Any = types.ModuleType("triton_python_backend_utils")
    module.InferenceResponse, module.InferenceRequest = Response, Request
    module.Tensor, module.TritonError = Tensor, TritonError
    module.Logger = types.SimpleNamespace(log_error=lambda text: None)
    module.PreferredMemory, module.TRITONSERVER_MEMORY_CPU = lambda kind, device: None, 0
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)
        triton = FakeTriton(repository)
        monkeypatch.setattr(Request, "models", triton.models)
        yield triton
        for model in triton.models.values():
            model.finalize()
