"""Freezes the statistics of norms over a clip: a bundle of its own, whose `translate` measures no frame any more.

Instance norm takes mean and variance of each frame's own features. Taken once, as the mean over a clip's frames of
either, they are constants: a norm is one scale and one shift of each channel, which the convolution before it takes
in, so that the norm is gone from the graph; and colours no longer move when something enters the picture. The price is
that frames unlike the clip's are no longer brought to the same statistics.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.errors import UnsupportedError
from i2i_rt.export.trial import Inputs, Trial
from i2i_rt.metrics.temporal import Comparison, compare
from i2i_rt.runtime.backends import BACKENDS, Choice, open_session
from i2i_rt.runtime.session import Session, padded
from i2i_rt.runtime.torch_device import device_here
from i2i_rt.spec import StageSpec
from i2i_rt.stages.base import Stage
from i2i_rt.stages.frozen import frozen, recorded
from i2i_rt.stages.table import FROZEN, load_stages
from i2i_rt.video.sample import Sample
from i2i_rt.video.sizes import Size


@dataclass(frozen=True)
class Cost:
    """What frozen statistics cost, on frames that they were not taken from.

    Attributes:
        frames: that the statistics were taken from.
        psnr_db: of each held-out frame, to its translation with its own statistics.
        live: how steady the translation with each frame's own statistics is; None without frames that follow one
            another.
        frozen: the same with frozen ones.
    """

    frames: int
    psnr_db: tuple[float, ...]
    live: Comparison | None
    frozen: Comparison | None

    @property
    def worst_db(self) -> float:
        return min(self.psnr_db)

    def lines(self) -> list[str]:
        """Says it in words."""
        mean = sum(self.psnr_db) / len(self.psnr_db)
        lines = [
            f"statistics of {self.frames} frames; on {len(self.psnr_db)} others {mean:.1f} dB to their own statistics, "
            f"{self.worst_db:.1f} dB at worst"
        ]
        if self.live is not None and self.frozen is not None:
            before, after, source = self.live.output, self.frozen.output, self.live.input
            lines += [
                f"warping error {before.warping_error:.2f} levels before, {after.warping_error:.2f} after "
                f"(the clip's own: {source.warping_error:.2f}), over {self.live.frames} frames",
                f"tOF {before.tof_px:.3f} px before, {after.tof_px:.3f} after; "
                f"sharpness {before.sharpness:.0f} before, {after.sharpness:.0f} after",
            ]
        else:
            lines.append("a folder of pictures has no motion: give a clip to measure the warping error")
        return lines


def fixed_size(bundle: Bundle) -> Size | None:
    """Gives the only height and width of frames that the model takes; None where it takes any.

    Raises:
        UnsupportedError: where it takes no frames.
    """
    spec = bundle.stages.get("translate")
    if spec is None or spec.inputs[0].name != "frames":
        raise UnsupportedError(f"{bundle.path} is {bundle.system}, which translates no frames; nothing can be frozen")
    return spec.fixed_size


def calibrate(
    bundle: Bundle, sample: Sample, *, report: Callable[[str], None] = lambda line: None
) -> tuple[Tensor, Cost]:
    """Takes statistics of a sample's frames, `[2, S]` float32, and measures what they cost.

    Where the system has styles, every frame gets one of its own, so that the statistics stand for all.

    Raises:
        UnsupportedError: where the norms take no statistics of the frame.
    """
    if bundle.weights(prefix=FROZEN):
        raise UnsupportedError(f"the statistics of {bundle.path} are frozen already")
    stage = load_stages(bundle)["translate"]
    stage.module.to(device_here())
    with open_session(bundle, Choice(BACKENDS["torch"], "fp32", "")) as network:
        report(f"taking the statistics of {len(sample.used)} frames")
        moments = [recorded(stage, *_tensors(stage, inputs)) for inputs in _inputs(bundle, network, sample.used)]
        statistics = torch.stack(moments).mean(0)
        if not statistics.numel():
            raise UnsupportedError(
                f"the norms of {bundle.path} take no statistics of the frame ({bundle.system} has batch norm with "
                "running statistics, or no norm); there is nothing to freeze"
            )
        constant = frozen(stage, statistics)
        report(f"comparing {len(sample.held_out)} other frames")
        held_out = _inputs(bundle, network, sample.held_out)
        pairs = [(_picture(stage, inputs), _picture(constant, inputs)) for inputs in held_out]
        live = after = None
        if sample.motion:
            report(f"measuring how steady {len(sample.motion)} frames are")
            motion = _inputs(bundle, network, sample.motion, same_codes=True)
            live, after = (
                compare(sample.motion, [_picture(kind, inputs) for inputs in motion]) for kind in (stage, constant)
            )
    cost = Cost(len(sample.used), tuple(_psnr_db(*pair) for pair in pairs), live, after)
    return statistics.cpu(), cost


def write(bundle: Bundle, output: str | Path, statistics: Tensor, note: str) -> Bundle:
    """Writes the bundle with frozen statistics; its other stages stay as they are.

    Args:
        bundle: the model.
        output: the new bundle's folder.
        statistics: from `calibrate`.
        note: what was frozen, in words.
    """
    source = bundle.provenance
    stages: dict[str, StageSpec] = {
        name: spec for name, spec in bundle.stages.items() if name != "translate_stabilized"
    }
    return Bundle.create(
        output,
        system=bundle.system,
        networks=bundle.networks,
        stages=stages,
        weights={**bundle.weights(), FROZEN: statistics.numpy()},
        provenance=Provenance(source.source, source.sha256, (*source.notes, note)),
        preprocessing=bundle.preprocessing,
        style=bundle.style,
        labels=bundle.labels,
    )


def _inputs(
    bundle: Bundle, network: Session, frames: Sequence[np.ndarray], *, same_codes: bool = False
) -> list[Inputs]:
    """Gives what `translate` takes, for each frame; `same_codes`: the first frame's style for all, as in a video."""
    found: list[Inputs] = []
    for seed, frame in enumerate(frames):
        inputs = Trial(bundle, network, [frame], seed=seed).inputs("translate", frame.shape[:2], 1)
        found.append({**found[0], "frames": inputs["frames"]} if same_codes and found else inputs)
    return found


def _tensors(stage: Stage, inputs: Inputs) -> list[Tensor]:
    """Gives a stage's inputs on the device, padded as a session does."""
    taken = padded(stage.spec, inputs)
    return [torch.from_numpy(np.ascontiguousarray(taken[t.name])).to(device_here()) for t in stage.spec.inputs]


def _picture(stage: Stage, inputs: Inputs) -> np.ndarray:
    """Translates one frame."""
    height, width = inputs["frames"].shape[1:3]
    with torch.no_grad():
        output: Tensor = stage.module(*_tensors(stage, inputs))
    return output[0, :height, :width].cpu().numpy()


def _psnr_db(live: np.ndarray, constant: np.ndarray) -> float:
    """Gives the PSNR between two pictures; 100 dB where they are equal."""
    error = float(np.square(live.astype(np.float64) - constant).mean())
    return float(10 * np.log10(255**2 / max(error, 255**2 * 1e-10)))
