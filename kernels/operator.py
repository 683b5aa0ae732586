"""How an operator becomes known to PyTorch: one node for export and compilation, plain PyTorch on the CPU."""

from collections.abc import Callable
from typing import Any

from torch.library import triton_op


def define(
    name: str,
    launch: Callable[..., Any],
    *,
    fake: Callable[..., Any],
    reference: Callable[..., Any],
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Any:
    """Defines `torch.ops.i2i_rt.<name>`.

    Args:
        name: of the operator.
        launch: launches the kernels through `wrap_triton`; its annotations are the operator's schema.
        fake: gives empty outputs of the right shape, dtype and layout.
        reference: computes the same in plain PyTorch, for tensors on the CPU; its outputs must not be views of inputs.
        setup_context: keeps what the gradient needs, as `torch.library.register_autograd` describes.
        backward: computes the gradient.
    """
    operator: Any = triton_op(f"i2i_rt::{name}", launch, mutates_args={})
    operator.register_fake(fake)
    operator.register_kernel("cpu")(reference)
    if backward is not None:
        operator.register_autograd(backward, setup_context=setup_context)
    return operator
