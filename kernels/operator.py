"""How an operator becomes known to PyTorch: one node for export and compilation, plain PyTorch on the CPU."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import triton_op


def define(
    name: str,
    launch: Callable[..., Any],
    *,
    fake: Callable[..., Any],
    reference: Callable[..., Any],
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
    gradient_of: Callable[..., Tensor] | None = None,
) -> Any:
    """Defines `torch.ops.i2i_rt.<name>`.

    Args:
        name: of the operator.
        launch: launches the kernels through `wrap_triton`; its annotations are the operator's schema.
        fake: gives empty outputs of the right shape, dtype and layout.
        reference: computes the same in plain PyTorch, for tensors on the CPU; its outputs must not be views of inputs.
        setup_context: keeps what the gradient needs, as `torch.library.register_autograd` describes.
        backward: computes the gradient.
        gradient_of: instead of these two: a function in plain PyTorch, of the same arguments, that is computed again
            when its gradient is asked for, and that can be differentiated twice.
    """
    operator: Any = triton_op(f"i2i_rt::{name}", launch, mutates_args={})
    operator.register_fake(fake)
    operator.register_kernel("cpu")(reference)
    if gradient_of is not None:
        setup_context, backward = _keep_inputs, _computed_again(gradient_of)
    if backward is not None:
        operator.register_autograd(backward, setup_context=setup_context)
    return operator


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.rest = [None if isinstance(value, Tensor) else value for value in inputs]
    ctx.save_for_backward(*(value if isinstance(value, Tensor) else None for value in inputs))


def _computed_again(function: Callable[..., Tensor]) -> Callable[..., Any]:
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad
        inputs = [rest if kept is None else kept for kept, rest in zip(ctx.saved_tensors, ctx.rest, strict=True)]
        again = torch.is_grad_enabled()  # the gradient's own gradient will be asked for
        with torch.enable_grad():
            if not again:
                inputs = [
                    value.detach().requires_grad_() if wanted else value
                    for value, wanted in zip(inputs, needed, strict=True)
                ]
            result = function(*inputs)
        differentiated = [value for value, wanted in zip(inputs, needed, strict=True) if wanted]
        found = iter(torch.autograd.grad(result, differentiated, gradient, create_graph=again))
        return tuple(next(found) if wanted else None for wanted in needed)

    return backward
