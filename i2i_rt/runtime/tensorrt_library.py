"""TensorRT and the GPU in use: whether they can be used here, which they are, and what TensorRT says."""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorrt as trt

OLDEST = 10  # the first major version whose networks are strongly typed throughout
LEAST_CAPABILITY = {"bf16": (8, 0), "fp8": (8, 9)}  # of a GPU, by precision

log = logging.getLogger("i2i_rt")


def problem(precision: str | None) -> str | None:
    """Says why engines can neither be built nor run here (in a precision); None where they can."""
    try:
        import cupy
    except ImportError:
        return "the package 'cupy' is not installed: pip install 'i2i-rt[gpu]'"
    try:
        import tensorrt as trt
    except Exception as error:  # where its libraries are missing, each version fails in its own way
        return f"TensorRT does not load: {str(error).strip().partition(chr(10))[0]}"
    if int(trt.__version__.partition(".")[0]) < OLDEST:
        return f"TensorRT is {trt.__version__}; {OLDEST}.0 or later is needed"
    try:
        cupy.cuda.runtime.getDeviceCount()
    except RuntimeError:
        return "there is no NVIDIA GPU here that CUDA can use"
    found = device()[1]
    least = LEAST_CAPABILITY.get(precision or "", (0, 0))
    if tuple(map(int, found.split("."))) < least:
        return f"the GPU has compute capability {found}; {precision} needs {least[0]}.{least[1]}"
    return None


def device() -> tuple[str, str]:
    """Gives the name and the compute capability of the GPU in use, such as "NVIDIA L4" and "8.9"."""
    import cupy

    found = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    return found["name"].decode(), f"{found['major']}.{found['minor']}"


def capability() -> int:
    """Gives the compute capability of the GPU in use as compilers say it: 89 for 8.9."""
    return int(device()[1].replace(".", ""))


def new_log() -> "trt.ILogger":
    """Gives what TensorRT tells its messages; `worst` of it gives the first error."""
    import tensorrt as trt

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: "trt.ILogger.Severity", msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(msg)
            log.debug("TensorRT: %s", msg)

        def worst(self) -> str:
            return self.errors[0] if self.errors else "it does not say why"

    return Log()
