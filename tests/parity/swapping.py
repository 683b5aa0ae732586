"""Swapping Autoencoder: encoder, generator, both discriminators, pre-processing."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i_rt.checkpoint import read_state
from i2i_rt.importers import swapping as importer
from i2i_rt.models.swapping import SwappingGenerator
from i2i_rt.models.swapping_discriminators import SwappingDiscriminator, crops
from i2i_rt.preprocessing import Preprocessing, to_unit_range
from i2i_rt.systems.swapping import PENALTY_EVERY, Places, SwappingAutoencoder, SwappingSettings
from tests.parity.case import Answer, UnsupportedCase, write_checkpoints

Parts = Mapping[str, Mapping[str, Tensor]]


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of this system; None for other cases."""
    if case["system"].strip().lower() != "swapping autoencoder":
        return None
    network = case["network"].lower()
    if network.startswith("preprocessing"):
        return answer_preprocessing
    if "loss" in network:
        return answer_losses
    return answer_networks


def import_parts(state: dict[str, Tensor]) -> Parts:
    """Writes the official file and splits it as the importer does."""
    with tempfile.TemporaryDirectory() as folder:
        (file,) = write_checkpoints(state, Path(folder))
        return importer.split(read_state(file), file.name)


def answer_networks(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Runs the networks that the file has and the wanted outputs need."""
    parts = import_parts(state)
    found: dict[str, Tensor] = {}
    if wanted & {"discriminator", "discriminator_features"}:
        found |= discriminator(parts, inputs)
    if any("patch" in name or name.startswith(("reference_", "target_")) for name in wanted):
        found |= patch_discriminator(parts, inputs, case["config"])
    if "E" in parts:
        found |= autoencoder(parts, inputs, noise=case["config"].get("netG_use_noise", True))
    if missing := wanted - set(found):
        raise UnsupportedCase(f"outputs {sorted(missing)}")
    return {name: found[name].numpy() for name in wanted}


def autoencoder(parts: Parts, inputs: dict[str, Tensor], *, noise: bool) -> dict[str, Tensor]:
    structure, texture = importer.read_encoder(parts, "the case")(inputs["image"])
    found = {"structure": structure, "texture": texture}
    if "G" not in parts:
        return found
    generator = importer.read_generator(parts, "the case", noise=noise)
    silence = [torch.zeros(1, 1, 1, 1) for _ in generator.noisy_layers()]
    found |= watched(generator, structure[:1], texture[:1], silence)
    found["swap"] = generator(structure[:1], texture[1:], silence)
    if "texture_mask" in inputs:
        first, second = texture[0, :, None, None], texture[1, :, None, None]
        mask = inputs["texture_mask"]
        found["regional"] = generator(structure[:1], first * (1 - mask) + second * mask, silence)
    maps = noise_maps(generator, inputs)
    if maps:
        found["reconstruction_noise"] = generator(structure[:1], texture[:1], maps)
    return found


def watched(generator: SwappingGenerator, structure: Tensor, texture: Tensor, noise: list[Tensor]) -> dict[str, Tensor]:
    """Gives the image and what lies on the way to it."""
    seen: dict[str, Tensor] = {}
    hooks = [
        generator.modulation.register_forward_hook(lambda _, __, output: seen.update(modulated=output)),
        generator.head[-1].register_forward_hook(lambda _, __, output: seen.update(head=output)),
    ]
    seen["reconstruction"] = generator(structure, texture, noise)
    for hook in hooks:
        hook.remove()
    return seen


def noise_maps(generator: SwappingGenerator, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Gives the case's noise in the order of the layers: the head's, then those of 16, 32, … places a side."""
    names = [name for name in inputs if name.startswith("noise/")]

    def order(name: str) -> tuple[bool, int, str]:
        block, layer = name.removeprefix("noise/").split(".")[:2]
        return block.startswith("Up"), int("".join(filter(str.isdigit, block))), layer

    maps = [inputs[name] for name in sorted(names, key=order)]
    return maps[: len(generator.noisy_layers())]


def discriminator(parts: Parts, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    network = importer.read_discriminator(parts, "the case")
    assert isinstance(network, SwappingDiscriminator)
    seen: dict[str, Tensor] = {}
    hook = network.final_conv.register_forward_hook(lambda _, __, output: seen.update(discriminator_features=output))
    seen["discriminator"] = network(inputs["image"])
    hook.remove()
    return seen


def patch_discriminator(parts: Parts, inputs: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    network = importer.read_patch_discriminator(parts, "the case")
    cut = {
        who: crops(
            inputs[f"{who}_source"],
            config["patch_size"],
            inputs[f"{who}_flip"],
            inputs[f"{who}_scale"],
            inputs[f"{who}_offset"],
            scales=(config["patch_min_scale"], config["patch_max_scale"]),
        )
        for who in ("reference", "target")
    }
    shared, single = network.features(cut["reference"], average=True), network.features(cut["reference"])
    target = network.features(cut["target"])
    return {
        "reference_crops": cut["reference"],
        "target_crops": cut["target"],
        "reference_features": shared,
        "reference_features_single": single,
        "target_features": target,
        "patch_logits": network(shared, target),
        "patch_logits_single": network(single, target),
    }


class OneProcess(SwappingAutoencoder):
    """Cuts the crops of a case, and reconstructs the half of the batch that the official code does."""

    draws: list[Places]

    def reconstructed_rows(self, rows: Tensor) -> Tensor:
        return rows[: len(rows) // 2]

    def places(self, images: Tensor) -> Places:
        return self.draws.pop(0)


# our phases and losses: what the cases call them
CALLS = {"discriminator": ("d_reference", "d_target", "d_mix"), "penalty": ("r1_reference", "r1_target")}
CALLS["generator"] = ("g_reference", "g_mix")
LOSSES = {"D_real": "d_D_real", "D_rec": "d_D_rec", "D_swap": "d_D_mix"}
LOSSES |= {"D_patch_real": "d_PatchD_real", "D_patch_swap": "d_PatchD_mix"}
LOSSES |= {"G_L1": "g_G_L1", "G_rec": "g_G_GAN_rec", "G_swap": "g_G_GAN_mix", "G_patch": "g_G_mix"}


def answer_losses(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Gives the losses of every picture or crop, and gradients of the sums of their means."""
    parts, config = import_parts(state), case["config"]
    encoder = importer.read_encoder(parts, "the case")
    generator = importer.read_generator(parts, "the case", noise=config["netG_use_noise"])
    discriminator = importer.read_discriminator(parts, "the case")
    assert isinstance(discriminator, SwappingDiscriminator)
    settings = SwappingSettings(
        patch_size=config["patch_size"],
        crops=config["patch_num_crops"],
        smallest=config["patch_min_scale"],
        largest=config["patch_max_scale"],
        reconstruction=config["lambda_L1"],
        gan=config["lambda_GAN"],
        patch_gan=config["lambda_PatchGAN"],
        penalty=config["lambda_R1"],
        patch_penalty=config["lambda_patch_R1"],
    )
    patches = importer.read_patch_discriminator(parts, "the case")
    system = OneProcess(encoder, generator, discriminator, patches, settings).requires_grad_(True)
    for layer in generator.noisy_layers():
        layer.noise_strength.data.zero_()
    found: dict[str, Tensor] = {}
    for phase, calls in CALLS.items():
        system.draws = [Places(*(inputs[f"{call}_{what}"] for what in Places._fields)) for call in calls]
        system.zero_grad()
        with torch.enable_grad():
            losses = system.losses_each(inputs["image"], phase)
            torch.stack([loss.mean() for loss in losses.values()]).sum().backward()
        if phase == "penalty":
            found["r1"] = (losses["D_R1"] + losses["D_patch_R1"]).detach() / PENALTY_EVERY
            found["gradient_R1_D_final_conv"] = discriminator.final_conv.weight.grad / PENALTY_EVERY
        elif phase == "discriminator":
            found["gradient_D_final_conv"] = discriminator.final_conv.weight.grad.clone()
        else:
            losses["G_L1"] = losses["G_L1"].mean(0, keepdim=True)
            found["gradient_E_ToGlobalCode"] = encoder.to_texture.weight.grad
        found |= {LOSSES[name]: loss.detach().flatten() for name, loss in losses.items() if name in LOSSES}
    slices = {"final_conv": (slice(8), slice(16), 0, 0), "ToGlobalCode": (slice(16), slice(16))}
    for name in found:
        for end, part in slices.items():
            if name.endswith(end):
                found[name] = found[name][part]
    return {name: found[name].numpy() for name in wanted}


def answer_preprocessing(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Prepares the decoded files in each of the modes that the case names, and converts the network's output."""
    results: dict[str, Any] = {}
    for name, options in case["config"]["modes"].items():
        prepare = Preprocessing(
            options["preprocess"],
            options["load_size"],
            options["crop_size"],
            multiple=16,
            round_always=True,
            exact=True,
        )
        results[name] = to_unit_range(prepare(inputs["image_file"].numpy()))
        if "wide_image_file" in inputs:
            results[f"{name}_wide"] = to_unit_range(prepare(inputs["wide_image_file"].numpy()))
    if "network_output" in inputs:
        results["uint8"] = results["uint8_grid"] = truncated(inputs["network_output"])
    if missing := wanted - set(results):
        raise UnsupportedCase(f"outputs {sorted(missing)}")
    return results


def truncated(image: Tensor) -> np.ndarray:
    """Gives a picture `[1, 3, H, W]` as the official script saves it, `[H, W, 3]` uint8.

    The stages round to the nearest level instead; this one is only here to be compared.
    """
    levels = ((image[0].clamp(-1, 1) + 1) * 0.5 * 255).byte()
    return levels.permute(1, 2, 0).numpy()
