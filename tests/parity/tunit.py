"""TUNIT: the generator and the guiding network."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from i2i_rt.checkpoint import read_nested
from i2i_rt.importers import tunit as importer
from tests.parity.case import Answer, UnsupportedCase, write_checkpoints


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of this system; None for other cases."""
    network = case["network"].lower()
    if case["system"].strip().lower() == "tunit" and "loss" not in network and "generator" in network:
        return answer_networks
    return None


def answer_networks(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Reads the official file with the importer, and gives everything that the networks make of the inputs."""
    with tempfile.TemporaryDirectory() as folder:
        (file,) = write_checkpoints(state, Path(folder))
        content = read_nested(file)
    generator, guiding_network = importer.load(content, "")
    style, logits = guiding_network(inputs["reference"])
    content = generator.content(inputs["image"])
    results = {
        "style": style,
        "cluster_logits": logits,
        "adain_parameters": generator.mlp(style),
        "content": content,
        "image": generator.decoded(content, style),
    }
    for name in wanted - set(results):
        raise UnsupportedCase(f"output {name!r}")
    return {name: results[name].numpy() for name in wanted}
