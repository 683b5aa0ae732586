"""The names that the KServe protocol has for NumPy's dtypes. Strings (BYTES) are taken by no model of ours."""

import numpy as np

# NumPy's name of a dtype -> the protocol's
DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
DTYPES = {datatype: np.dtype(name) for name, datatype in DATATYPES.items()}
