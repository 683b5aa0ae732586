"""Between the JSON of the KServe protocol over HTTP and the messages of gRPC."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from i2i_rt.serving.datatypes import DTYPES
from i2i_rt.serving.gateway.refused import Refused

BINARY, BINARY_OUTPUTS, BINARY_SIZE = "binary_data", "binary_data_output", "binary_data_size"


def read_json(text: bytes) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        Refused: where it is none.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused("INVALID_ARGUMENT", f"the request is no JSON: {_short(error)}") from None
    if not isinstance(content, dict):
        raise Refused("INVALID_ARGUMENT", "the request is no JSON object")
    return content


def infer_request(model: str, version: str, content: Mapping[str, Any], binary: memoryview) -> Any:
    """Gives the `ModelInferRequest` of a request's JSON and the tensors behind it.

    Raises:
        Refused: where it is none.
    """
    from tritonclient.grpc.service_pb2 import ModelInferRequest

    request = ModelInferRequest(model_name=model, model_version=version)
    try:
        request.id = str(content.get("id", ""))
        _set_parameters(request.parameters, content.get("parameters", {}), leave_out={BINARY_OUTPUTS})
        for tensor in content["inputs"]:
            entry = request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
            parameters = dict(tensor.get("parameters", {}))
            size = parameters.pop(BINARY_SIZE, None)
            _set_parameters(entry.parameters, parameters)
            if size is not None:
                if not isinstance(size, int) or not 0 <= size <= len(binary):
                    raise Refused("INVALID_ARGUMENT", f"{entry.name} has {size} bytes, of which {len(binary)} came")
                request.raw_input_contents.append(bytes(binary[:size]))
                binary = binary[size:]
            elif "data" in tensor:
                request.raw_input_contents.append(_array(tensor["data"], DTYPES[entry.datatype]).tobytes())
        for output in content.get("outputs", ()):
            entry = request.outputs.add(name=output["name"])
            _set_parameters(entry.parameters, output.get("parameters", {}), leave_out={BINARY})
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise Refused("INVALID_ARGUMENT", f"the request is not what KServe's protocol says: {_short(error)}") from None
    if len(binary):
        raise Refused("INVALID_ARGUMENT", f"{len(binary)} bytes belong to no input")
    return request


def infer_answer(answer: Any, content: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Gives the JSON of a `ModelInferResponse`, and the tensors that the request wants behind it."""
    default = bool(content.get("parameters", {}).get(BINARY_OUTPUTS, False))
    wanted = {
        output["name"]: bool(output.get("parameters", {}).get(BINARY, default)) for output in content.get("outputs", ())
    }
    result: dict[str, Any] = {"model_name": answer.model_name, "model_version": answer.model_version}
    if answer.id:
        result["id"] = answer.id
    if answer.parameters:
        result["parameters"] = _parameters(answer.parameters)
    result["outputs"], tensors = [], []
    raws = iter(answer.raw_output_contents)
    for output in answer.outputs:
        entry = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        parameters = _parameters(output.parameters)
        raw = next(raws, b"")
        if "shared_memory_region" in parameters:
            pass
        elif wanted.get(output.name, default):
            parameters[BINARY_SIZE] = len(raw)
            tensors.append(raw)
        else:
            entry["data"] = np.frombuffer(raw, DTYPES[output.datatype]).tolist()
        if parameters:
            entry["parameters"] = parameters
        result["outputs"].append(entry)
    return result, tensors


def to_json(message: Any) -> dict[str, Any]:
    """Gives a message of protobuf as KServe's JSON: fields by their names, numbers as numbers."""
    result: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"]
            result[field.name] = {str(key): _json_value(inner, one) for key, one in value.items()}
        elif isinstance(value, str | bytes | bool | int | float) or not hasattr(value, "__len__"):
            result[field.name] = _json_value(field, value)
        else:
            result[field.name] = [_json_value(field, one) for one in value]
    return result


def _json_value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return to_json(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _array(data: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """Gives numbers in lists as an array; raises ValueError where it would hold others, as bytes of 0.5 or of -1."""
    array = np.array(data, dtype)
    if dtype.kind in "iub" and not np.array_equal(np.array(data), array):
        raise ValueError(f"there are numbers that are not of {dtype}")
    return array


def _set_parameters(target: Any, given: Mapping[str, Any], leave_out: frozenset[str] | set[str] = frozenset()) -> None:
    for name, value in given.items():
        if name in leave_out:
            continue
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, int):
            target[name].int64_param = value
        elif isinstance(value, float):
            target[name].double_param = value
        else:
            target[name].string_param = value


def _parameters(given: Any) -> dict[str, Any]:
    return {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in given.items()}


def _short(error: BaseException) -> str:
    words = f"{type(error).__name__}: {error}"
    return words if len(words) < 200 else f"{words[:200]}…"
