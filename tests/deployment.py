"""What users do with the bundle of a training: export, verify, translate; in seconds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.cli import main
from i2i_rt.stages.table import load_stages

STAGES = ("translate", "style_from_image")  # what translating by a picture takes


def deployed(
    bundle: Path, picture: Path, monkeypatch: pytest.MonkeyPatch, *, reference: Path | None = None
) -> np.ndarray:
    """Exports a bundle as ONNX graphs, verifies them at one size, and gives the picture `[H, W, 3]` that they make."""
    monkeypatch.setattr(
        "i2i_rt.export.build.load_stages",
        lambda opened: {name: stage for name, stage in load_stages(opened).items() if name in STAGES},
    )
    monkeypatch.setattr("i2i_rt.export.verify.SIZES", ((32, 32),))
    monkeypatch.setattr("i2i_rt.export.verify.median_ms", lambda runs: [1.0] * len(runs))
    assert main(["export", str(bundle), "--format", "onnx", "--precision", "fp32", "--no-verify"]) == 0
    assert main(["verify", str(bundle)]) == 0
    results, words = [], [] if reference is None else ["--reference", str(reference)]
    for backend in ("torch", "onnxruntime"):
        file = bundle.parent / f"{backend}.png"
        words = [*words, "--precision", "fp32"]
        assert main(["translate", str(bundle), str(picture), "-o", str(file), "--backend", backend, *words]) == 0
        with Image.open(file) as image:
            results.append(np.asarray(image).astype(int))
    assert np.abs(results[0] - results[1]).max() <= 1
    return results[1]
