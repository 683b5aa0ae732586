"""Calls and their answers in the HTTP of the KServe protocol v2; tensors travel in binary, never as JSON."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from i2i_rt.errors import I2IError
from i2i_rt.serving.client.address import Address, Tls
from i2i_rt.serving.client.calls import (
    Answer,
    Call,
    GetConfig,
    Infer,
    IsReady,
    ListModels,
    ListRegions,
    MapRegion,
    UnmapRegion,
    needs_key,
)
from i2i_rt.serving.datatypes import DATATYPES
from i2i_rt.serving.errors import ServerFault, ServingError, from_http
from i2i_rt.serving.keys import HEADER

HEADER_LENGTH = "Inference-Header-Content-Length"  # of the JSON before the tensors


@dataclass(frozen=True)
class HttpRequest:
    """One request; `path` begins with a slash."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """Gives what connections over HTTPS are made with.

    Raises:
        I2IError: where a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise I2IError(f"the certificates {tls.ca or ''} {tls.cert or ''} cannot be used: {error}") from None
    return context


class HttpCodec:
    """Makes requests of calls, and answers of responses."""

    def __init__(self, address: Address, key: str | None) -> None:
        self._address = address
        self._key = {HEADER: key} if key else {}

    def encode(self, call: Call) -> HttpRequest:
        headers = self._key if needs_key(call) else {}
        shared = "/v2/systemsharedmemory"
        match call:
            case Infer():
                return self._infer(call, headers)
            case ListModels():
                return self._request("POST", "/v2/repository/index", headers, {"ready": True})
            case GetConfig(model):
                return self._request("GET", f"/v2/models/{quote(model, safe='')}/config", headers)
            case IsReady(None):
                return self._request("GET", "/v2/health/ready", headers)
            case IsReady(model):
                return self._request("GET", f"/v2/models/{quote(str(model), safe='')}/ready", headers)
            case ListRegions():
                return self._request("GET", f"{shared}/status", headers)
            case MapRegion(name, size):
                body = {"key": f"/{name}", "offset": 0, "byte_size": size}
                return self._request("POST", f"{shared}/region/{name}/register", headers, body)
            case UnmapRegion(name):
                return self._request("POST", f"{shared}/region/{name}/unregister", headers)

    def _request(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> HttpRequest:
        content = b"" if body is None else json.dumps(body).encode()
        return HttpRequest(method, self._address.path + path, headers, content)

    def _infer(self, call: Infer, headers: Mapping[str, str]) -> HttpRequest:
        inputs, contents = [], []
        for name, array in call.inputs.items():
            tensor: dict[str, Any] = {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": list(array.shape)}
            if call.lease is None:
                contents.append(array.tobytes())
                tensor["parameters"] = {"binary_data_size": array.nbytes}
            else:
                tensor["parameters"] = _reference(call.lease.region.name, *call.lease.inputs[name])
            inputs.append(tensor)
        parameters: dict[str, Any] = {"binary_data_output": True}
        if call.place is not None:
            parameters["sequence_id"] = call.place.stream
            parameters["sequence_start"] = call.place.start
            parameters["sequence_end"] = call.place.end
        request: dict[str, Any] = {"inputs": inputs, "parameters": parameters}
        if call.lease is not None:
            region = call.lease.region.name
            request["outputs"] = [
                {"name": name, "parameters": _reference(region, *slot)} for name, slot in call.lease.outputs.items()
            ]
        header = json.dumps(request).encode()
        return HttpRequest(
            "POST",
            f"{self._address.path}/v2/models/{quote(call.model, safe='')}/infer",
            {**headers, HEADER_LENGTH: str(len(header)), "Content-Type": "application/octet-stream"},
            b"".join([header, *contents]),
        )

    def decode(self, call: Call, status: int, headers: Any, body: bytes) -> Answer:
        """Gives the answer; `headers` have `get`, to which upper and lower case are one.

        Raises:
            ServingError: where it is an error.
        """
        if isinstance(call, IsReady):
            return status == 200
        if status != 200:
            raise self._error(call, status, headers, body)
        try:
            match call:
                case Infer():
                    return _outputs(call, int(headers.get(HEADER_LENGTH, len(body))), body)
                case ListModels():
                    return [model["name"] for model in json.loads(body)]
                case GetConfig():
                    parameters = json.loads(body).get("parameters", {})
                    return {name: value["string_value"] for name, value in parameters.items()}
                case ListRegions():
                    return [region["name"] for region in json.loads(body)]
                case _:
                    return None
        except (ValueError, KeyError, TypeError) as error:
            raise ServerFault(
                f"{call.subject} at {self._address} gave an answer that cannot be read: {error}"
            ) from None

    def _error(self, call: Call, status: int, headers: Any, body: bytes) -> ServingError:
        try:
            text = str(json.loads(body)["error"])
        except (ValueError, KeyError, TypeError):
            text = body[:200].decode("utf-8", "replace")
        wait = headers.get("Retry-After", "")
        hint = float(wait) if wait.replace(".", "", 1).isdecimal() else None
        return from_http(status, text, f"{call.subject} at {self._address}", hint)


def _reference(region: str, offset: int, size: int) -> dict[str, Any]:
    return {"shared_memory_region": region, "shared_memory_offset": offset, "shared_memory_byte_size": size}


def _outputs(call: Infer, header_length: int, body: bytes) -> dict[str, np.ndarray]:
    content, begin = memoryview(body), header_length
    outputs = {}
    for output in json.loads(body[:header_length])["outputs"]:
        size = int(output.get("parameters", {}).get("binary_data_size", 0))
        piece = content[begin : begin + size]
        outputs[output["name"]] = call.output(output["name"], output["datatype"], output["shape"], piece)
        begin += size
    return outputs
