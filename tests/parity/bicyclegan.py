"""BicycleGAN: generator, style encoder, discriminator, pre-processing."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from i2i_rt.checkpoint import read_state
from i2i_rt.importers.base import Options, load_weights
from i2i_rt.importers.bicyclegan import read_encoder, read_generator
from i2i_rt.models.bicyclegan import BicycleGANDiscriminator, read_official_discriminator
from i2i_rt.preprocessing import Preprocessing, to_unit_range
from tests.parity.case import Answer, write_checkpoint


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of this system; None for other cases."""
    if case["system"].lower() != "bicyclegan":
        return None
    answers: dict[str, Answer] = {
        "generator": answer_generator,
        "style encoder": answer_encoder,
        "discriminator": answer_discriminator,
        "preprocessing": answer_preprocessing,
    }
    return answers.get(case["network"])


def official_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Writes the official file and reads it with the importer's reader."""
    with tempfile.TemporaryDirectory() as folder:
        return read_state(write_checkpoint(state, Path(folder) / "network.pth"))


def answer_generator(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Translates the image with the style; the bottleneck is what the innermost reduction gives."""
    config = case["config"]
    options = Options({name: str(config[name]) for name in ("norm", "nl") if name in config})
    generator = read_generator(official_state(state), case["case"], options, config["style_dim"])
    assert generator is not None
    seen: dict[str, Tensor] = {}
    generator.down[-1].register_forward_hook(lambda _, __, output: seen.update(bottleneck=output))
    return {"image": generator(inputs["image"], inputs["style"]), **seen}


def answer_encoder(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Gives the posterior of the image's style, and what it is computed from."""
    encoder = read_encoder(official_state(state), case["case"])
    assert encoder is not None
    features = encoder.layers(inputs["image"])
    results = {"features": features, "mu": encoder(inputs["image"])}
    if encoder.log_variance is not None:
        results["logvar"] = encoder.log_variance(features.flatten(1))
    return results


def answer_discriminator(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Scores the image at every scale."""
    found = read_official_discriminator(official_state(state))
    assert found is not None
    discriminator: nn.Module = load_weights(BicycleGANDiscriminator(found[0]), found[1], case["case"])
    scores = discriminator(inputs["image"])
    return {f"logits_{index}": score for index, score in enumerate(scores)}


def answer_preprocessing(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Cuts the pair in the middle and prepares both halves; the grey one is converted first."""
    prepare = Preprocessing("resize", case["config"]["load_size"], case["config"]["crop_size"])
    pair = inputs["pair_file"].numpy().astype(np.uint8)
    results: dict[str, Any] = {}
    for name, half in zip("ab", np.split(pair, 2, axis=1), strict=True):
        grey = np.asarray(Image.fromarray(half).convert("L"))
        results[f"{name}_rgb"] = to_unit_range(prepare(half))
        results[f"{name}_grey"] = to_unit_range(prepare(np.repeat(grey[:, :, None], 3, axis=2)))[:, :1]
    return {name: torch.from_numpy(array) for name, array in results.items()}
