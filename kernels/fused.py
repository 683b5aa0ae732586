"""The one switch of the fused operators.

An operator's public function asks `chosen` whether its kernel is to be used; if not, it computes the same in plain
PyTorch. So a network's code reads the same either way, and on a CPU nothing changes.

    fused.trust(device)            # once, before anything is traced: runs every kernel's own test on the device
    with fused.mode("off"): ...    # plain PyTorch, whatever was trusted
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor

Mode = Literal["auto", "off", "export"]
CAPABILITY = (8, 0)  # the first GPUs with bfloat16 and asynchronous copies; older ones were never compiled for
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}  # of the error relative to the norm

# what an operator's kernel gives and what it should give, for a device and a dtype
SelfTest = Callable[[torch.device, torch.dtype], Iterable[tuple[Tensor, Tensor]]]

_mode: Mode = "auto"
_only: frozenset[str] | None = None
_tests: dict[str, SelfTest] = {}
_trusted: set[tuple[str, torch.dtype, torch.device]] = set()
_problems: dict[str, str] = {}


@contextmanager
def mode(value: Mode, only: Iterable[str] | None = None) -> Iterator[None]:
    """Sets the switch within the block.

    "auto": a kernel where its test passed on the tensor's device. "off": plain PyTorch. "export": every operator
    stays one node of the traced graph, whatever the device; `only` names those that do, where not all shall.
    """
    if value not in get_args(Mode):
        raise ValueError(f"the mode is {value!r}; it must be one of {', '.join(get_args(Mode))}")
    global _mode, _only
    before = _mode, _only
    _mode, _only = value, None if only is None else frozenset(only)
    try:
        yield
    finally:
        _mode, _only = before


def chosen(operator: str, x: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Says whether an operator's kernel is to be used for a tensor; `dtype` is what it computes in, by default x's."""
    if _mode == "auto":
        return (operator, dtype or x.dtype, x.device) in _trusted
    return _mode == "export" and (_only is None or operator in _only)


def eager(operator: str, x: Tensor) -> bool:
    """Says whether a kernel that no graph can hold is to be used: as `chosen` in "auto", but never within a trace."""
    return (
        _mode == "auto"
        and type(x) in (Tensor, torch.nn.Parameter)
        and not torch.compiler.is_compiling()
        and chosen(operator, x)
    )


def register_test(operator: str, test: SelfTest) -> None:
    """Adds an operator's own test: small shapes that reach every branch of its kernels."""
    _tests[operator] = test


def trust(device: torch.device) -> dict[str, str]:
    """Runs the tests of all kernels on a device, and lets "auto" use those that pass.

    Returns:
        The operators whose kernels stay unused there, with the reason.
    """
    if device.type != "cuda":
        return {}
    device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    capability = torch.cuda.get_device_capability(device)
    if capability < CAPABILITY:
        return dict.fromkeys(_tests, f"the GPU has compute capability {capability[0]}.{capability[1]}; 8.0 is needed")
    for operator, test in _tests.items():
        for dtype in DTYPES:
            if (operator, dtype, device) not in _trusted and operator not in _problems:
                problem = _failure(test, device, dtype)
                if problem is None:
                    _trusted.add((operator, dtype, device))
                else:
                    _problems[operator] = problem
    return dict(_problems)


def _failure(test: SelfTest, device: torch.device, dtype: torch.dtype) -> str | None:
    """Runs a test; gives what went wrong."""
    try:
        for actual, expected in test(device, dtype):
            error = relative_error(actual, expected)
            if not error <= TOLERANCES[dtype]:
                return f"its error in {dtype} is {error:.1e}; {TOLERANCES[dtype]:.0e} is allowed"
    except Exception as error:  # a compiler, a driver or a library that is missing or too old fails in its own way
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return None


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Gives the length of the difference over the length of `expected`, in float64; NaN where `actual` has one."""
    exact = expected.double()
    return float((actual.double() - exact).norm() / exact.norm().clamp_min(1e-30))
