"""CycleGAN, CUT, FastCUT, SinCUT and pix2pix: generators, discriminators, patch sampler, pre-processing."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from i2i_rt.checkpoint import OfficialNetwork, identify, read_state
from i2i_rt.models.norm import FixedDropout
from i2i_rt.models.patch_sampler import PatchSampler
from i2i_rt.models.patchgan import PatchDiscriminator
from i2i_rt.models.resnet import ResidualBlock, ResnetGenerator
from i2i_rt.models.sincut import SinCUTDiscriminator, SinCUTGenerator
from i2i_rt.models.unet import UNetGenerator
from i2i_rt.preprocessing import Preprocessing, to_unit_range
from i2i_rt.systems.losses import patch_nce
from tests.parity.case import Answer, UnsupportedCase, write_checkpoint

# the official options' names for the modes of `Preprocessing`
MODES = {
    "resize_and_crop": "resize",
    "none": "none",
    "scale_width": "scale_width",
    "scale_shortside": "scale_shortside",
}


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of these systems; None for other cases."""
    systems = {system.strip().lower() for system in case["system"].split(",")}
    if systems <= {"cut", "fastcut", "sincut", "cyclegan", "pix2pix"}:
        if case["network"] == "preprocessing":
            return answer_preprocessing
        if case["network"].startswith("patch sampler"):
            return answer_patch_sampler
        if case["network"] in ("generator", "discriminator"):
            return answer_network
    return None


def import_network(case: Mapping[str, Any], state: dict[str, Tensor]) -> OfficialNetwork:
    """Writes the official file and reads it with the importer."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_checkpoint(state, Path(folder) / (case["checkpoint"]["file"] or "network.pth"))
        return identify(read_state(file), str(file.name))


def answer_network(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Runs a generator or a discriminator for each of the wanted outputs."""
    found = import_network(case, state)
    results: dict[str, Any] = {}
    for name in wanted:
        base, statistics = name, None
        if match := re.fullmatch(r"(.+)_(batch|running)_statistics", name):
            base, statistics = match[1], match[2]
        network = build(found, statistics, batch=len(inputs["image"]))
        results[name] = output_of(network, base, inputs).numpy()
    return results


def build(found: OfficialNetwork, statistics: str | None, batch: int) -> nn.Module:
    """Makes the network as the case ran it: dropout off, batch norm with the statistics that the output names."""
    changes: dict[str, Any] = {}
    if "dropout_seed" in found.network.config:
        changes = {"dropout_seed": None, "statistics": "running" if statistics == "running" else "image"}
    network = found.build(**changes)
    if statistics == "batch" and (batch > 1 or not changes):
        network.train()
        for module in network.modules():
            if isinstance(module, FixedDropout):
                module.eval()
    return network


def output_of(network: nn.Module, name: str, inputs: dict[str, Tensor]) -> Tensor:
    """Gives one output of a network by the name that the cases use."""
    image = inputs["image"]
    if isinstance(network, PatchDiscriminator | SinCUTDiscriminator) and name == "prediction":
        condition = inputs.get("condition")
        result: Tensor = network(image if condition is None else torch.cat([condition, image], 1))
        return result
    if isinstance(network, SinCUTGenerator) and name in ("image", "image_without_noise"):
        shape = (len(image), 1, *image.shape[2:])
        return network(image, inputs["noise"] if name == "image" and "noise" in inputs else torch.zeros(shape))
    if isinstance(network, ResnetGenerator | SinCUTGenerator) and (match := re.fullmatch(r"feature_(\d+)", name)):
        index = int(match[1])
        feature = network.features(image, [index])[0]
        # the official activations work in place, so that a feature that was kept before one is activated too
        activated = isinstance(network, ResnetGenerator) and isinstance(network.layers[index + 1], nn.ReLU)
        return feature.relu() if activated else feature
    if isinstance(network, ResnetGenerator) and name.startswith("after_"):
        blocks = [index for index, layer in enumerate(network.layers) if isinstance(layer, ResidualBlock)]
        ends = {"after_downsampling": blocks[0] - 1, "after_residual_blocks": blocks[-1]}
        if name in ends:
            return network.features(image, [ends[name]])[0]
    if isinstance(network, UNetGenerator) and name == "innermost":
        return innermost(network, image)
    if isinstance(network, ResnetGenerator | UNetGenerator) and name == "image":
        return network(image)
    raise UnsupportedCase(f"output {name!r} of {type(network).__name__}")


def innermost(network: UNetGenerator, image: Tensor) -> Tensor:
    """Gives the innermost level's skip connection: its activated input and what it makes of it."""
    seen: dict[str, Tensor] = {}
    hooks = [
        network.down[-1].register_forward_hook(lambda _, inputs, __: seen.update(skip=inputs[0])),
        network.up_norm[-1].register_forward_hook(lambda _, __, output: seen.update(inside=output)),
    ]
    network(image)
    for hook in hooks:
        hook.remove()
    return torch.cat([seen["skip"], seen["inside"]], 1)


def answer_patch_sampler(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Embeds the patches and computes PatchNCE from them, with both kinds of negatives."""
    sampler = import_network(case, state).build()
    assert isinstance(sampler, PatchSampler)
    layers = range(len(sampler.mlps))
    positions = [inputs[f"positions_{layer}"] for layer in layers]
    keys = [inputs[f"key_{layer}"] for layer in layers]
    queries = [key + 0.5 * inputs[f"query_{layer}"] for layer, key in enumerate(keys)]
    key_vectors, query_vectors = sampler(keys, positions), sampler(queries, positions)
    results: dict[str, Any] = {}
    for layer in layers:
        results |= {f"key_{layer}": key_vectors[layer].numpy(), f"query_{layer}": query_vectors[layer].numpy()}
    for kind in ("within_image", "across_batch"):
        losses = [
            patch_nce(
                query,
                key,
                images=len(keys[0]),
                temperature=case["config"]["temperature"],
                across_batch=kind == "across_batch",
            )
            for query, key in zip(query_vectors, key_vectors, strict=True)
        ]
        results[f"nce_{kind}"] = torch.stack(losses).numpy()
        results[f"nce_total_{kind}"] = torch.stack([loss.mean() for loss in losses]).mean().numpy()
    return results


def answer_preprocessing(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Prepares the decoded file in each of the modes that the case names."""
    systems = case["system"].lower()
    results: dict[str, Any] = {}
    for name, options in case["config"]["modes"].items():
        if options["preprocess"] not in MODES:
            raise UnsupportedCase(f"mode {options['preprocess']!r}")
        prepare = Preprocessing(
            MODES[options["preprocess"]],  # type: ignore[arg-type]
            options["load_size"],
            options["crop_size"],
            round_always="cut" in systems,
            resample="bilinear" if "sincut" in systems else "bicubic",
        )
        results[name] = to_unit_range(prepare(inputs["image_file"].numpy()))
    return results
