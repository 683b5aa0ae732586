"""What this machine can do, found by trying: backends run a graph of one node, codecs are asked for."""

import importlib
import importlib.metadata
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2i_rt.runtime import backends, machine
from i2i_rt.runtime.backends import BACKENDS, Backend
from i2i_rt.spec import Axis, StageSpec, TensorSpec

# module -> (distributions that bring it, the extra that has them, what it is for)
OPTIONAL = {
    "onnxruntime": (("onnxruntime", "onnxruntime-gpu"), "cpu", "run ONNX graphs"),
    "openvino": (("openvino",), "cpu", "run OpenVINO graphs, the fastest on most CPUs"),
    "tensorrt": (("tensorrt",), "gpu", "build and run TensorRT engines"),
    "cupy": (("cupy-cuda13x", "cupy-cuda12x", "cupy"), "gpu", "keep frames on the GPU for TensorRT"),
    "av": (("av",), "video", "read and write videos with their sound"),
    "torch": (("torch",), "train", "train, import, export and verify"),
    "onnx": (("onnx",), "train", "export"),
    "skimage": (("scikit-image",), "train", "verify on photographs"),
    "matplotlib": (("matplotlib",), "train", "plot benchmarks"),
    "tritonclient": (("tritonclient",), "client", "ask a Triton Inference Server"),
    "ray": (("ray",), "farm", "translate many files with many processes"),
}

# x -> relu(x) of four floats: an ONNX model in its wire format, which spares the package "onnx"
RELU_ONNX = (
    b"\x08\n:3\n\x0c\n\x01x\x12\x01y\x22\x04Relu\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x04"
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x04B\x04\n\x00\x10\x14"
)
INPUT = np.array([-2, -1, 1, 2], np.float32)
COMPILERS = ("c++", "g++", "clang++", "cl")


@dataclass(frozen=True)
class Part:
    """Something that is there, with details, or is not, with the way to get it."""

    name: str
    works: bool
    details: str
    fix: str = ""


def packages() -> list[Part]:
    """Gives the optional packages; those for GPUs only where there is one, or they are installed."""
    found = []
    for module, (distributions, extra, purpose) in OPTIONAL.items():
        version = _version(module, distributions)
        if version is not None:
            found.append(Part(distributions[0], True, version))
        elif extra != "gpu" or machine.gpu_name() is not None:
            found.append(Part(distributions[0], False, f"to {purpose}", f"pip install 'i2i-rt[{extra}]'"))
    return found


def _version(module: str, distributions: tuple[str, ...]) -> str | None:
    if importlib.util.find_spec(module) is None:
        return None
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of unknown version"


def runnable() -> list[Part]:
    """Tries each backend on a graph of one node; gives the precisions that it computes in."""
    return [_tried(backend) for backend in BACKENDS.values()]


def _tried(backend: Backend) -> Part:
    if backend.device == "cuda" and machine.gpu_name() is None:
        return Part(backend.name, False, "needs an NVIDIA GPU, and there is none")
    try:
        reason = backends.problem(backend)
        if reason is None:
            remark = TRIALS[backend.module](backend)
            precisions = [name for name in backend.precisions if backends.problem(backend, name) is None]
            return Part(backend.name, True, ", ".join(precisions) + remark)
    except Exception as error:  # a broken installation fails in its own ways, and that is what is asked for
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    reason = reason.partition(": pip install ")[0]
    return Part(backend.name, False, reason, _fix(backend))


def _fix(backend: Backend) -> str:
    install = f"pip install 'i2i-rt[{backend.extra}]'"
    if importlib.util.find_spec(backend.package) is None:
        return install
    # both packages bring the module "onnxruntime", and the one without CUDA would stay
    return f"pip uninstall onnxruntime && {install}" if backend.device == "cuda" else ""


def _try_torch(backend: Backend) -> str:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    _check(torch.nn.functional.relu(torch.from_numpy(INPUT).to(device)).cpu().numpy())
    if backend.name != "torch-compile":
        return f" on {device}"
    if device == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise RuntimeError("there is no C++ compiler, which torch.compile needs; install g++")
    return f" on {device} (its compiler was found, not run)"


def _try_onnxruntime(backend: Backend) -> str:
    import onnxruntime

    from i2i_rt.runtime.onnxruntime import PROVIDERS

    provider = PROVIDERS[backend.name]
    graph = onnxruntime.InferenceSession(RELU_ONNX, providers=[provider])
    if provider not in graph.get_providers():
        raise RuntimeError(f"onnxruntime has {provider} but could not start it; its libraries are missing or too old")
    _check(graph.run(None, {"x": INPUT})[0])
    return ""


def _try_openvino(backend: Backend) -> str:
    from i2i_rt.runtime.openvino import core

    _check(core().compile_model(core().read_model(RELU_ONNX), "CPU")(INPUT)[0])
    return ""


def _try_tensorrt(backend: Backend) -> str:
    from i2i_rt.runtime import tensorrt, tensorrt_builder

    key = tensorrt_builder.key_here(
        stage="relu",
        precision="fp32",
        weights="",
        shapes=[{"x": [[len(INPUT)]] * 3}],
        options={tensorrt_builder.LEVEL: "0", tensorrt_builder.WORKSPACE: tensorrt_builder.ALL_MEMORY},
    )
    x, y = (TensorSpec(name, "float32", (Axis("N", size=len(INPUT)),)) for name in "xy")
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "relu.onnx"
        graph.write_bytes(RELU_ONNX)
        content = tensorrt_builder.build(graph, key)
    engine = tensorrt.Engine(content, "relu", StageSpec("relu", (x,), (y,)), tensorrt.new_stream())
    _check(engine.run({"x": INPUT})["y"])
    return f" on {key.device}"


def _check(output: np.ndarray) -> None:
    if not np.array_equal(output, np.maximum(INPUT, 0)):
        raise RuntimeError(f"it gives {output.tolist()} for relu of {INPUT.tolist()}")


TRIALS: Mapping[str, Callable[[Backend], str]] = {
    "runtime.torch": _try_torch,
    "runtime.aot_inductor": _try_torch,
    "runtime.onnxruntime": _try_onnxruntime,
    "runtime.openvino": _try_openvino,
    "runtime.tensorrt": _try_tensorrt,
}


def codecs() -> list[Part]:
    """Gives the video codecs that PyAV reads and writes; empty where PyAV is not installed."""
    if importlib.util.find_spec("av") is None:
        return []
    import av

    decoders = [name for name in ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg") if _has_codec(av, name, "r")]
    encoders = [name for name in ("libx264", "libx265") if _has_codec(av, name, "w")]
    without = "videos cannot be written; install the package 'av' from its wheel"
    return [
        Part("reads", bool(decoders), ", ".join(decoders)),
        Part("writes", "libx264" in encoders, ", ".join(encoders), "" if "libx264" in encoders else without),
    ]


def _has_codec(av: object, name: str, mode: str) -> bool:
    try:
        av.codec.Codec(name, mode)  # type: ignore[attr-defined]
    except ValueError:  # the base of PyAV's UnknownCodecError
        return False
    return True
