"""OpenAI Triton and its language, or stand-ins that let the operators be defined where it is not installed.

PyTorch brings Triton along on Linux with CUDA; other builds of PyTorch compute with the references alone.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

__all__ = ["Wrap", "plain", "tl", "triton"]

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = SimpleNamespace(jit=lambda kernel: kernel, cdiv=lambda a, b: -(-a // b))
    tl = SimpleNamespace(constexpr=object)

# What turns a kernel into something that is launched with `[grid](…)`: `torch.library.wrap_triton` where PyTorch shall
# see the launch when it traces an operator, `plain` everywhere else, the interpreter included.
Wrap = Callable[[Any], Any]


def plain(kernel: Any) -> Any:
    return kernel
