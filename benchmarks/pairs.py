"""A model and another that was made from it, timed in turns in one process."""

from collections.abc import Mapping

import numpy as np

from i2i_rt.benchmarks.measure import Rule, Timing, take_turns
from i2i_rt.bundle import Bundle
from i2i_rt.runtime import backends
from i2i_rt.runtime.backends import Choice

RUNS = (("openvino", "fp32"), ("openvino", "bf16"), ("onnxruntime", "fp32"))


def timed(
    model: Bundle, constant: Bundle, inputs: Mapping[str, np.ndarray], choice: Choice, rule: Rule
) -> tuple[Timing, Timing]:
    """Times `translate` of both; the second takes those inputs that it still has."""
    with backends.open_session(model, choice) as full, backends.open_session(constant, choice) as baked:
        rest = {tensor.name: inputs[tensor.name] for tensor in constant.stages["translate"].inputs}
        runs = (lambda: full.run("translate", inputs), lambda: baked.run("translate", rest))
        first, second = take_turns(runs, rule)
    return first, second
