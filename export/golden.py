"""Records what the PyTorch network gives for fixed inputs: what a server must give before it is called ready.

Shapes and status codes stay right where pixels are wrong, so only a picture with a gradient whose answer is known
tells that a server works. Besides a case for each stage there are two for several stages in a row: `style`, whose
style `translate` then takes, and `image`, a translation with the mean style.
"""

from collections.abc import Callable

import numpy as np

from i2i_rt.bundle import Bundle, Golden
from i2i_rt.errors import I2IError
from i2i_rt.export.trial import Trial
from i2i_rt.runtime import backends
from i2i_rt.runtime.backends import BACKENDS, Choice
from i2i_rt.runtime.session import Session
from i2i_rt.style import StyleMaker

SIDE = 64  # pixels; stages of another size have their own
SEED = 0


def record(bundle: Bundle, *, report: Callable[[str], None] = lambda line: None) -> None:
    """Runs the network in float32 and writes the cases into the bundle."""
    report("recording golden cases")
    with backends.open_session(bundle, Choice(BACKENDS["torch"], "fp32", "")) as network:
        trial = Trial(bundle, network, [gradient(SIDE)], seed=SEED)
        style = _record_style(bundle, network)
        for stage, spec in bundle.stages.items():
            sides = (axis.fit(SIDE) for name in ("H", "W") for axis in spec.inputs[0].axes if axis.name == name)
            height, width = (*sides, SIDE, SIDE)[:2]
            inputs = trial.inputs(stage, (height, width), 1)
            if stage == bundle.main_stage:
                inputs |= {"style": style} if "style" in inputs and style is not None else {}
                # who sends a label map alone means that there are no edges in it
                inputs |= {"edges": np.zeros_like(inputs["edges"])} if "edges" in inputs else {}
            bundle.write_golden(stage, Golden(inputs, network.run(stage, inputs)))
            if stage == bundle.main_stage and style is not None:
                _record_image(bundle, network, inputs)


def gradient(side: int) -> np.ndarray:
    """Gives a picture `[side, side, 3]`, uint8, in which no two pixels nearby and no two channels are alike."""
    y, x = np.mgrid[0:side, 0:side] / (side - 1)
    wave = 0.5 + 0.5 * np.sin((3 * x + 5 * y) * np.pi)
    picture: np.ndarray = np.rint(255 * np.stack([x, y, wave], axis=2)).astype(np.uint8)
    return picture


def _record_style(bundle: Bundle, network: Session) -> np.ndarray | None:
    """Records a style, drawn with a seed or else of a picture, and gives its code `[1, S]`."""
    if bundle.style is None or not any(tensor.name == "style" for tensor in bundle.stages[bundle.main_stage].inputs):
        return None
    maker, domains = StyleMaker(bundle, network), bundle.style.domains
    domain = domains[0] if domains else None
    inputs = {"domain": np.zeros(1, np.int64)} if domains else {}
    if bundle.style.prior != "fitted":
        style = maker.from_seed(SEED, domain)
        inputs["seed"] = np.array([SEED], np.int64)
    elif "style_from_image" in bundle.stages:
        style = maker.from_image(gradient(SIDE), domain)
        inputs["reference"] = gradient(SIDE)
    else:
        return None
    bundle.write_golden("style", Golden(inputs, {"style": style.code}))
    return style.code[None]


def _record_image(bundle: Bundle, network: Session, inputs: dict[str, np.ndarray]) -> None:
    """Records what the mean style of the first domain makes of the same picture, where there is one."""
    assert bundle.style is not None
    try:
        mean = StyleMaker(bundle, network).mean(bundle.style.domains[0] if bundle.style.domains else None)
    except I2IError:
        return
    inputs = {**inputs, "style": mean.code[None]}
    bundle.write_golden("image", Golden(inputs, network.run(bundle.main_stage, inputs)))
