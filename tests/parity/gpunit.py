"""GP-UNIT: content encoder, generator with style encoder and sampler, prior distillation, pre-processing."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from i2i_rt.checkpoint import read_nested
from i2i_rt.importers import gpunit as importer
from i2i_rt.importers.base import load_weights
from i2i_rt.models import gpunit_discriminator, gpunit_prior
from i2i_rt.models.gpunit_discriminator import GPUNITDiscriminator
from i2i_rt.preprocessing import resize_corners
from i2i_rt.systems.base import Batch
from i2i_rt.systems.gpunit import GPUNIT, GPUNITSettings
from i2i_rt.systems.losses import distance
from tests.parity.case import Answer, UnsupportedCase, write_checkpoints

SIZES = (8, 16, 32, 64, 128)  # of the content encoder's features, for images of 256x256, in the order of its list


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of GP-UNIT; None for other cases."""
    if case["system"] != "GP-UNIT":
        return None
    answers: dict[str, Answer] = {
        "content encoder": answer_content_encoder,
        "discriminator, and the translation losses": answer_losses,
        "generator": answer_generator,
        "prior distillation": answer_prior,
        "none: pre- and post-processing": answer_preprocessing,
        "preprocessing": answer_preprocessing,
    }
    for name, answer in answers.items():
        if case["network"].startswith(name):
            return answer
    return None


def read_case(state: dict[str, Tensor]) -> list[tuple[Path, dict[str, Any]]]:
    """Writes the official files and reads them as the importer does."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_checkpoints(state, Path(folder))
        return [(file, {key: _copied(value) for key, value in read_nested(file).items()}) for file in files]


def _copied(value: Any) -> Any:
    """Gives tensors of their own, as the file that they are mapped from goes."""
    return value.clone() if isinstance(value, Tensor) else {key: _copied(inner) for key, inner in value.items()}


def parts_of(state: dict[str, Tensor]) -> dict[str, tuple[Path, Mapping[str, Tensor]]]:
    """Gives what the importer finds in the official files, each with its file."""
    return {
        name: (file, part) for file, content in read_case(state) for name, part in importer.parts_of(content).items()
    }


def resized(image: Tensor, size: int, *, corners: bool) -> Tensor:
    return functional.interpolate(image, size=(size, size), mode="bilinear", align_corners=corners)


def answer_content_encoder(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Encodes the image, which the official encoder itself brings to 256x256, and the test script in another way."""
    encoder: Any = importer.built(*parts_of(state)["content encoder"], importer.content_encoder)
    size, image = case["config"].get("input_size", 256), inputs["image"]
    features = encoder.features(resized(image, size, corners=False))
    results = {"content": features[0]}
    results |= {f"feature_{side}": feature for side, feature in zip(SIZES, features[1:], strict=True)}
    if "content_script" in wanted:
        results["content_script"] = encoder(resized(image, size, corners=True))[0]
    return {name: result.numpy() for name, result in results.items()}


def answer_generator(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Runs the generator on given features, or on those of an image, with a picture's style and with sampled ones."""
    parts = parts_of(state)
    generator: Any = importer.built(*parts["generator"], importer.generator)
    if "content" in inputs:
        content, features = inputs["content"], [inputs["feature_16"], inputs["feature_32"]]
    else:
        encoder = importer.built(*parts["content encoder"], importer.content_encoder)
        content, *features = encoder(resized(inputs["image"], case["config"].get("input_size", 256), corners=False))
    results: dict[str, Tensor] = {"content": content}
    if "style_image" in inputs:
        style = importer.built(*parts["generator"], importer.style_encoder)(inputs["style_image"])
        results["style"] = style
        results["image"], masks = generator.decode(content, features, style)
        results |= {"mask_16": masks[0], "mask_32": masks[1]}
        for name in wanted:
            if match := re.fullmatch(r"image_scale_(\d)", name):
                results[name] = generator.decode(content, features, style, int(match[1]))[0]
        if "image_without_skip" in wanted:
            plain = importer.built(*parts["generator"], lambda part: importer.generator(part, skip=False))
            results["image_without_skip"] = plain(content, (), style)
    if "sampler" in parts and "latent" in inputs:
        sampler = importer.built(*parts["sampler"], importer.sampler)
        results["sampled_style_eval"] = sampler(inputs["latent"])
        results["sampled_style_train"] = sampler.train()(inputs["latent"])
        if "image_sampled" in wanted:
            results["image_sampled"] = generator(content, features, results["sampled_style_train"])
    return _wanted(results, wanted)


def answer_prior(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Runs the networks of the prior distillation on an image, and on the other image's content."""
    ((_, content),) = read_case(state)
    config, weights = gpunit_prior.read_official(content["ae_ema"])
    network: Any = load_weights(gpunit_prior.PriorDistillation(config), weights, "the case")
    image, label, noise = inputs["image"], inputs["label"].long(), inputs["noise"]
    encoded = network.content_encoder(image)[0]
    results = {"content": encoded, "class_logits": network.classifier(encoded)}
    results["image"], results["shape"] = network(image, label, noise)
    styles = network.level_styles(image)
    swapped = (encoded + 0.2 * noise).flip(0)
    results["shape_swapped"] = network.decoder.shaped(swapped, network.embedding(label))[1]
    for level, (mean, deviation) in enumerate(styles):
        results |= {f"style_{level}_mean": mean, f"style_{level}_std": deviation}
    return _wanted(results, wanted)


def answer_losses(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Gives the losses of both phases, unweighted, and the discriminator's features after the layers that are asked."""
    parts, discriminators = parts_of(state), dict[int, GPUNITDiscriminator]()
    official = {key.removeprefix("d::"): tensor for key, tensor in state.items() if key.startswith("d::")}
    layer = case["config"]["style_layer"]
    for number in {layer, *(int(name.rpartition("_")[2]) for name in wanted if name.startswith("sty"))}:
        config, weights = gpunit_discriminator.read_official(official, number)
        discriminators[number] = load_weights(GPUNITDiscriminator(config), weights, "the case")  # type: ignore[assignment]
    networks: list[Any] = [
        importer.built(*parts["content encoder"], importer.content_encoder),
        *(importer.built(*parts["generator"], read) for read in (importer.style_encoder, importer.generator)),
    ]
    settings = GPUNITSettings(style=1.0, vgg=0.0, flip_style=False)
    system = GPUNIT(*networks, discriminators[layer], settings)
    batch = Batch(inputs["x"], inputs["y"])
    results = {"translation": system.translated(batch, system.networks)[0]}
    both = torch.cat([results["translation"], batch.b])
    for number, discriminator in discriminators.items():
        results["logits"], feature = discriminator.judged(both)
        results |= {f"style_feature_layer_{number}": feature, f"sty_layer_{number}": distance(*feature.chunk(2))}
    with torch.enable_grad():
        judged = {name: loss.detach() for name, loss in system.losses(batch, "discriminator", {}).items()}
    made = system.losses(batch, "generator", {})
    results |= {
        "d_adv": judged["D_real"] + judged["D_fake"],
        "d_r1": judged["D_R1"],
        f"sty_layer_{layer}": made["G_style"],
    }
    results |= {"g_adv": made["G_GAN"], "content": made["G_content"], "mask": made["G_mask"]}
    results["rec_l1"] = made["G_reconstruction"]
    system.settings = replace(settings, reconstruct_with_skips=True)
    results["rec_l1_allskip"] = system.losses(batch, "generator", {})["G_reconstruction"]
    scalars = {name for name, result in results.items() if not result.ndim} | {"logits"}
    return _wanted({name: result.flatten() if name in scalars else result for name, result in results.items()}, wanted)


def answer_preprocessing(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Brings the decoded file to the network's size; writes pixels as the official script does, cut off."""
    size = case["config"].get("image_size", 256)
    results: dict[str, Any] = {}
    if "pixels" in inputs:
        resized_pixels = resize_corners(inputs["pixels"].numpy(), size, size)
        results["tensor"] = resized_pixels.transpose(2, 0, 1)[None] / np.float32(127.5) - 1
    if "network_output" in inputs:
        levels = (inputs["network_output"][0] + 1) * 127.5
        results["written_pixels"] = levels.to(torch.uint8).permute(1, 2, 0).numpy()
    return results


def _wanted(results: Mapping[str, Tensor], wanted: set[str]) -> dict[str, Any]:
    unknown = wanted - set(results)
    if unknown:
        raise UnsupportedCase(f"outputs {', '.join(sorted(unknown))}")
    return {name: results[name].numpy() for name in wanted}
