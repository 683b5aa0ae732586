"""Requests whose right answers are known: what tells that a model computes, and computes right pixels."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from i2i_rt.bundle import Bundle, Golden
from i2i_rt.errors import BundleError
from i2i_rt.runtime.gates import GATES_ERROR
from i2i_rt.serving.datatypes import DATATYPES
from i2i_rt.serving.served import ServedModel

# of a small gradient in precisions below float32; channels that are swapped in a nearly grey picture are 29.5 dB
REDUCED_DB = 30.0


@dataclass(frozen=True)
class Canary:
    """A request for one model, with the PyTorch network's answer."""

    model: ServedModel
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]

    def request(self) -> Any:
        """Gives the request, a `ModelInferRequest`; of a stream it is one of a single frame."""
        from tritonclient.grpc.service_pb2 import ModelInferRequest

        request = ModelInferRequest(model_name=self.model.name)
        for name, array in self.inputs.items():
            request.inputs.add(name=name, datatype=DATATYPES[array.dtype.name], shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        if self.model.kind == "stream":
            # words, which no client's numbers meet
            request.parameters["sequence_id"].string_param = f"canary of {self.model.name}"
            request.parameters["sequence_start"].bool_param = True
            request.parameters["sequence_end"].bool_param = True
        return request

    def problem(self, answer: Any) -> str | None:
        """Says what is wrong with the answer, a `ModelInferResponse`; None where it is right."""
        found = dict(zip((output.name for output in answer.outputs), answer.raw_output_contents, strict=False))
        shapes = {output.name: tuple(output.shape) for output in answer.outputs}
        for name, wanted in self.outputs.items():
            if name not in found:
                return f"the answer has no {name}"
            if self.model.kind == "image":
                actual = _decoded(found[name])
            elif shapes[name] != wanted.shape or len(found[name]) != wanted.nbytes:
                return f"{name} has shape {list(shapes[name])} instead of {list(wanted.shape)}"
            else:
                actual = np.frombuffer(found[name], wanted.dtype).reshape(wanted.shape)
            wrong = difference(wanted, actual, self.model.precision)
            if wrong is not None:
                return f"{name} is wrong: {wrong}"
        return None


def main_case(bundle: Bundle) -> Golden:
    """Gives the golden case of a bundle's main stage.

    Raises:
        BundleError: where the bundle was exported before golden cases were recorded.
    """
    case = bundle.golden(bundle.main_stage)
    if case is None:
        raise BundleError(
            f"{bundle.path} has no golden cases of its weights, by which a server is judged; "
            f"run 'i2i-rt export {bundle.path}' again"
        )
    return case


def canary_of(model: ServedModel, bundle: Bundle) -> Canary | None:
    """Makes a model's canary of what `i2i-rt export` recorded; None where a model has no answer to record.

    Raises:
        BundleError: where the bundle was exported before golden cases were recorded.
    """
    main, style = main_case(bundle), bundle.golden("style")
    source = bundle.stages[bundle.main_stage].inputs[0].name
    if model.kind == "stage":
        case = bundle.golden(model.spec.name)
        return None if case is None else Canary(model, case.inputs, case.outputs)
    if model.kind == "style":
        return None if style is None else Canary(model, style.inputs, style.outputs)
    if model.kind == "pipeline":
        return None if style is None else Canary(model, {source: main.inputs[source], **style.inputs}, main.outputs)
    if model.kind == "stream":
        inputs = {"frame": main.inputs[source][0], **(style.inputs if style else {})}
        return Canary(model, inputs, {"translated": main.outputs["translated"][0]})
    case = main if bundle.style is None or "style" not in main.inputs else bundle.golden("image")
    if case is None:
        return None
    file = np.frombuffer(_encoded(case.inputs[source][0]), np.uint8)
    return Canary(model, {"image": file}, {"translated": case.outputs["translated"][0]})


def difference(wanted: np.ndarray, actual: np.ndarray, precision: str) -> str | None:
    """Says how far an answer is from the network's where that is too far for a precision.

    In float32 that is more than one level of a picture. What other precisions cost is the verification's to judge, on
    photographs; here that is only told from wrong pixels.
    """
    if actual.shape != wanted.shape:
        return f"it has shape {list(actual.shape)} instead of {list(wanted.shape)}"
    wide, wide_wanted = actual.astype(np.float64), wanted.astype(np.float64)
    if not np.isfinite(wide).all():
        return "it has values that are NaN or infinite"
    error = float(np.abs(wide - wide_wanted).max())
    if wanted.dtype == np.uint8 and wanted.shape[-1] == 3:
        if precision == "fp32":
            return None if error <= 1 else f"a pixel is {error:.0f} levels from PyTorch's"
        mean = float(np.square(wide - wide_wanted).mean())
        psnr = 10 * np.log10(255**2 / mean) if mean else np.inf
        return None if psnr >= REDUCED_DB else f"{psnr:.1f} dB, the gate is {REDUCED_DB:g} dB"
    if wanted.dtype.kind in "iu":
        error = float((actual != wanted).mean())
    else:
        error /= max(float(np.abs(wide_wanted).max()), 1e-12)
    gate = GATES_ERROR[precision]
    return None if error <= gate else f"an error of {error:.2g}, the gate is {gate:g}"


def _encoded(picture: np.ndarray) -> bytes:
    """Gives a picture `[H, W, 3]` or a label map `[H, W]` as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _decoded(file: bytes) -> np.ndarray:
    try:
        return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    except (OSError, SyntaxError):
        return np.zeros(0, np.uint8)
