"""ArcFace's IR-SE50, which the Smoothing paper and GP-UNIT use for losses and metrics of faces."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from i2i_rt.checkpoint import read_state
from i2i_rt.importers.base import load_weights
from i2i_rt.models import arcface
from tests.parity.case import Answer, write_checkpoint


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of the face recognition network; None for other cases."""
    return answer if case["network"].startswith("IR-SE") else None


def answer(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Embeds two faces and compares them."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_checkpoint(state, Path(folder) / case["checkpoint"]["file"])
        config, weights = arcface.read_official(read_state(file))
        network = load_weights(arcface.ArcFace(config), weights, file.name)
    embedding = network(inputs["image"])
    results = {"embedding": embedding.numpy(), "cosine": (embedding[0] * embedding[1]).sum().numpy()}
    if "feature_7" in wanted:
        results["feature_7"] = network.features(inputs["image"]).numpy()  # type: ignore[operator]
    return results
