"""Operators that the networks are built from: tensors in, tensors out; nothing of models is known here."""

from i2i_rt.kernels.instance_norm import instance_norm

__all__ = ["instance_norm"]
