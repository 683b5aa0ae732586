"""EGSC-IT: translation, pre-training of the masks, discriminator, losses; weights go through TensorFlow 1 bundles."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from i2i_rt.importers import egscit as importer
from i2i_rt.importers.base import load_weights
from i2i_rt.models.egscit import (
    Domain,
    EgscitAutoencoder,
    EgscitDiscriminator,
    read_official_autoencoder,
    read_official_discriminator,
)
from i2i_rt.pretrained import vgg19_caffe
from i2i_rt.systems.perceptual import content_distance, directions, style_distance
from tests.parity.caffe import load_caffe
from tests.parity.case import Answer
from tests.tf_bundle import write_bundle


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of this system; None for other cases."""
    if case["system"].lower() not in ("egsc-it", "egscit"):
        return None
    for word, answer in (
        ("VGG", answer_losses),
        ("pre-training", answer_autoencoder),
        ("translation", answer_translation),
        ("discriminator", answer_discriminator),
    ):
        if word in case["network"]:
            return answer
    return None


def official_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Writes the official bundles, one for each stage of the training, and reads them as the importer does."""
    with tempfile.TemporaryDirectory() as folder:
        prefixes = []
        for stage, first in enumerate((True, False)):
            part = {name: tensor for name, tensor in state.items() if name.startswith("VAEGAN_recon_") == first}
            if part:
                path = Path(folder) / f"MODEL{stage}"
                path.mkdir()
                prefixes.append(write_bundle(path / "UNIT.model-0", part))
        return importer.read_variables(prefixes)


def answer_translation(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Translates both ways and reconstructs, with the given noise; also without the mask, the style, or both."""
    variables = official_state(state)
    domains: tuple[Domain, Domain] = ("A", "B")
    images = {domain: inputs[f"image_{domain.lower()}"] for domain in domains if f"image_{domain.lower()}" in inputs}
    styles = {
        domain: importer.read_style_encoder(variables, case["case"], domain)(image) for domain, image in images.items()
    }
    results: dict[str, Any] = {}
    for source, image in images.items():
        low = source.lower()
        for target in images:
            mask_low = float(case["config"].get("eta", 0.5))
            generator = importer.read_generator(variables, case["case"], source, target, mask_low=mask_low)
            way = f"{low}{target.lower()}"
            code, mask, style = generator.encode(image, inputs[f"noise_{low}"]), generator.mask(image), styles[target]
            results |= {
                way: generator.decode(code, mask=mask, style=style),
                f"{way}_plain": generator.decode(code),
                f"{way}_masked_only": generator.decode(code, mask=mask),
                f"{way}_adain_only": generator.decode(code, style=style),
                f"mask_{low}": mask,
                f"shared_{low}": code,
            }
        results[f"gamma_{low}"], results[f"beta_{low}"] = styles[source].chunk(2, 1)
    results["shared"] = results["shared_a"]
    return results


def answer_autoencoder(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Reconstructs images of the domain that is given."""
    domain: Domain = "A" if "image_a" in inputs else "B"
    config, weights = read_official_autoencoder(official_state(state), domain)
    autoencoder = EgscitAutoencoder(config)
    load_weights(autoencoder, weights, case["case"])
    low = domain.lower()
    reconstruction, latent = autoencoder(inputs[f"image_{low}"], inputs[f"noise_{low}"])
    return {"reconstruction": reconstruction, "latent": latent}


def answer_discriminator(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Scores the image."""
    scope = next(name for name in state if name.endswith("/dis_logit/weights")).removesuffix("/dis_logit/weights")
    config, weights = read_official_discriminator(official_state(state), scope)
    discriminator = load_weights(EgscitDiscriminator(config), weights, case["case"])
    return {"logits": discriminator(inputs["image"])}


def answer_losses(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Compares translations with what they come from and with their exemplars."""
    vgg = vgg19_caffe("random")
    load_caffe(vgg, state)
    a, b, to_b, to_a = (directions(vgg, inputs[name]) for name in ("image_a", "image_b", "ab", "ba"))
    return {
        "content_loss": content_distance(to_b, a) + content_distance(to_a, b),
        "style_loss": style_distance(to_b, b) + style_distance(to_a, a),
        "normalized_conv3_1": a[2],
    }
