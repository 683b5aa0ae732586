"""StEP: generator, style encoder, mapper, discriminator; weights go through a TensorFlow 1 bundle."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i_rt.importers import step as importer
from i2i_rt.importers.base import Options, load_weights
from i2i_rt.models.step import StepDiscriminator, read_official_discriminator
from i2i_rt.pretrained import vgg16
from i2i_rt.systems.perceptual import gram, style_features
from tests.parity.caffe import load_caffe
from tests.parity.case import Answer
from tests.tf_bundle import write_bundle


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of this system; None for other cases."""
    if case["system"].lower() != "step":
        return None
    network = case["network"]
    for word, answer in (
        ("style distance", answer_style_distance),
        ("discriminator", answer_discriminator),
        ("generator", answer_generator),
        ("style encoder", answer_encoder),
        ("mapper", answer_mapper),
    ):
        if word in network:
            return answer
    return None


def official_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Writes the official bundle and reads it as the importer does."""
    with tempfile.TemporaryDirectory() as folder:
        return importer.read_variables(write_bundle(Path(folder) / "model.ckpt-1", state))


def options_of(case: Mapping[str, Any]) -> Options:
    """Gives the official options that leave no trace in the file."""
    names = ("use_scaling", "normalize_drit_Ez")
    return Options({name: str(case["config"][name]) for name in names if name in case["config"]})


def answer_generator(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Translates the image with the style."""
    generator = importer.read_generator(official_state(state), case["case"], options_of(case))
    assert generator is not None
    maps = generator.encode(inputs["image"])
    return {"image": generator(inputs["image"], inputs["style"]), "content": maps[-1], "conv0": maps[0]}


def answer_encoder(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Gives the image's style and what it is computed from."""
    encoder = importer.read_encoder(official_state(state), case["case"], options_of(case))
    assert encoder is not None
    features = encoder.features(inputs["image"])
    mean, log_variance = encoder.posterior(features)
    return {
        "style": encoder(inputs["image"]),
        "mu": mean,
        "logvar": log_variance,
        "conv0": encoder.conv(inputs["image"]),
        "pooled": features,
    }


def answer_mapper(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Maps the noise to styles."""
    mapper = importer.read_mapper(official_state(state), case["case"])
    assert mapper is not None
    return {"style": mapper(inputs["noise"])}


def answer_style_distance(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Compares the styles of all images with one another, by Gram matrices of VGG-16."""
    vgg = vgg16("random")
    load_caffe(vgg, state)
    grams = {f"gram_{index}": gram(activations) for index, activations in enumerate(vgg(inputs["image"]), 1)}
    styles = style_features(vgg, inputs["image"])
    return {"distance": (styles[:, None] - styles).square().sum(2), **grams}


def answer_discriminator(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Scores the image, with its condition after it, at every scale."""
    found = read_official_discriminator(
        official_state(state), scaled=options_of(case).flag("use_scaling", default=True)
    )
    assert found is not None
    discriminator = load_weights(StepDiscriminator(found[0]), found[1], case["case"])
    pair = torch.cat([inputs["image"], inputs["condition"]] if "condition" in inputs else [inputs["image"]], 1)
    return {f"logits_{index}": scores for index, scores in enumerate(discriminator(pair))}
