"""Label maps of requests."""

from collections.abc import Mapping

import numpy as np

from i2i_rt import label_maps
from i2i_rt.errors import I2IError
from i2i_rt.spec import LabelInfo


def check_labels(labels: LabelInfo | None, inputs: Mapping[str, np.ndarray]) -> None:
    """Raises `I2IError` where a map of a model that translates label maps holds what is no class, or edges no edge."""
    if labels is None:
        return
    for name, array in inputs.items():
        if name in ("labels", "frame"):
            for values in array.reshape(-1, *array.shape[-2:]):
                label_maps.check_labels(values, labels, name)
        elif name == "edges" and array.max() > 1:
            raise I2IError(f"edges are 0 and 1; there is a {array.max()}")
