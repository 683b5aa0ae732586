"""What official files call their weights, kept with the tensors so that errors speak of the file's own keys."""

import re
from collections.abc import Mapping

from torch import Tensor

ATTRIBUTE = "official_key"
END = r"(?=(/ExponentialMovingAverage)?$)"
# the end of one parameter's key -> that of the layer's other one; TensorFlow's own layers have kernels
OTHERS = (
    (rf"(conv2d|conv2d_transpose|dense(_\d+)?)/bias{END}", r"\1/kernel"),
    (rf"\b(weight|kernel){END}", "bias"),
    (rf"\bbias{END}", "weight"),
    (rf"\bgamma{END}", "beta"),
    (rf"\bbeta{END}", "gamma"),
)


def noted(tensor: Tensor, key: str | None) -> Tensor:
    """Notes a tensor's key in the official file; gives the same tensor."""
    setattr(tensor, ATTRIBUTE, key)
    return tensor


def official_key(tensor: Tensor) -> str | None:
    """Gives a tensor's key in the official file; None where it is not known."""
    key: str | None = getattr(tensor, ATTRIBUTE, None)
    return key


def official_name(key: str, weights: Mapping[str, Tensor]) -> str:
    """Gives the official key of `key`, one of ours; where neither it nor its layer is known, `key` itself.

    Args:
        key: of a weight, which may be missing.
        weights: by our keys.
    """
    if key in weights:
        return official_key(weights[key]) or key
    layer, _, parameter = key.rpartition(".")
    other = weights.get(f"{layer}.{'bias' if parameter == 'weight' else 'weight'}")
    known = None if other is None else official_key(other)
    if known is not None and parameter in ("weight", "bias"):
        for pattern, ending in OTHERS:
            if re.search(pattern, known):
                return re.sub(pattern, ending, known)
    return key
