"""TensorRT's real Python bindings on a machine without TensorRT: what their API is, and their own validators.

The bindings come from PyPI, the libraries that they are linked against do not. At import they call nothing of them
but a few entry points, so empty stand-ins of the same names let them load. `api.json` is what they say of themselves,
names and signatures alone; `python -m tests.tensorrt_bindings.api --write` writes it again.
"""
