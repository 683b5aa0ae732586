"""Tensors of the server as NumPy arrays, and back.

`as_numpy` and the constructor of the server's tensors read an array's description as NumPy 1 lays it out: before
release 24.11 they give wrong values under NumPy 2, without an error. DLPack is right under both.
"""

import ctypes
from typing import Any

import numpy as np

_set_capsule_name = ctypes.pythonapi.PyCapsule_SetName
_set_capsule_name.argtypes = [ctypes.py_object, ctypes.c_char_p]
_set_capsule_name.restype = ctypes.c_int


def from_pb(tensor: Any) -> np.ndarray:
    """Gives a tensor's array, read-only, in the tensor's own memory."""
    return np.from_dlpack(tensor)


def to_pb(name: str, array: np.ndarray) -> Any:
    """Gives an array as a tensor."""
    import triton_python_backend_utils as pb_utils

    array = np.ascontiguousarray(array)
    if not array.flags.writeable:
        array = array.copy()  # DLPack has no read-only arrays
    capsule = array.__dlpack__()
    tensor = pb_utils.Tensor.from_dlpack(name, capsule)
    # the server marks the capsule as used by a name of its own, at which NumPy complains in the log
    _set_capsule_name(capsule, b"used_dltensor")
    return tensor
