"""StarGAN v2 and Smoothing: the networks, FAN and its masks, pre- and post-processing, the losses."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i_rt.checkpoint import read_nested
from i2i_rt.importers import stargan as importer
from i2i_rt.models.fan import FaceAlignment, masks_of
from i2i_rt.models.stargan import filter_of
from i2i_rt.preprocessing import Preprocessing, to_unit_range
from i2i_rt.stages.base import to_frames
from i2i_rt.systems.base import DomainBatch
from i2i_rt.systems.smoothing import style_regularization, triplet_loss
from i2i_rt.systems.starganv2 import StarGANv2, StarGANv2Settings
from tests.parity.case import Answer, UnsupportedCase, write_checkpoints

SYSTEMS = {"stargan v2", "smoothing the latent style space", "smoothing"}
NETWORKS = ("generator", "mapping network", "style encoder", "discriminator", "fan", "heat-map")


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of these systems; None for other cases."""
    systems = {system.strip().lower() for system in case["system"].split(",")}
    network = case["network"].lower()
    if systems <= SYSTEMS and "losses" in network:
        return answer_losses
    if systems <= {*SYSTEMS, "tunit"} and "processing of the test" in network:
        return answer_processing
    if systems <= SYSTEMS and "loss" not in network and any(name in network for name in NETWORKS):
        return answer_networks
    return None


def import_networks(case: Mapping[str, Any], state: dict[str, Tensor]) -> dict[str, Any]:
    """Writes the official file and reads each of its networks with the importer."""
    if not state:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        content = {file.name: read_nested(file) for file in write_checkpoints(state, Path(folder))}
    networks: dict[str, Any] = {}
    for group in groups(content):
        if "conv_last0.weight" in group:
            networks["fan"] = importer.load("fan", group, "")
        found = [name for name in importer.READERS if name in group and name != "fan"]
        networks |= {name: importer.load(name, group[name], "") for name in found}
        if "generator" in group:
            w_hpf = filter_of(group["generator"]) or float(case["config"].get("w_hpf", 0))
            networks["generator"] = importer.load_generator(group["generator"], w_hpf, "")
    return networks


def groups(content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Gives a nested dict and every dict in it."""
    yield content
    for value in content.values():
        if isinstance(value, Mapping):
            yield from groups(value)


def answer_networks(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Gives the wanted outputs, each by its name."""
    networks = import_networks(case, state)
    domain = inputs.get("target_domain", inputs.get("domain"))

    @cache
    def style_latent() -> Tensor:
        return networks["mapping_network"](inputs["latent"], domain)

    @cache
    def style_reference() -> Tensor:
        return networks["style_encoder"](inputs["reference"], domain)

    @cache
    def masks() -> tuple[Tensor, ...] | None:
        if "mask_1" in inputs:
            return inputs["mask_1"], inputs["mask_2"]
        if "heatmaps" in inputs:
            return masks_of(inputs["heatmaps"].float())
        return masks_of(heatmaps()) if "fan" in networks else None

    @cache
    def heatmaps() -> Tensor:
        fan: FaceAlignment = networks["fan"]
        return fan(inputs["image"])

    def translated(style: Tensor, masks: tuple[Tensor, ...] | None) -> Tensor:
        return networks["generator"](inputs["image"], style, masks)

    def chosen_masks(index: int) -> Tensor:
        both = masks()
        if both is None:
            raise UnsupportedCase("masks without heat maps or FAN")
        return both[index]

    def logits() -> Tensor:
        return networks["discriminator"](inputs["image"])

    ways: dict[str, Callable[[], Tensor]] = {
        "style_latent": style_latent,
        "style_reference": style_reference,
        "content": lambda: networks["generator"].content(inputs["image"]),
        "image": lambda: translated(inputs["style"], masks()),
        "image_latent": lambda: translated(style_latent(), masks()),
        "image_reference": lambda: translated(style_reference(), masks()),
        "image_without_masks": lambda: translated(style_latent(), None),
        "heatmaps": heatmaps,
        "mask_1": lambda: chosen_masks(0),
        "mask_2": lambda: chosen_masks(1),
        "landmarks": lambda: landmarks(heatmaps(), inputs["image"].shape[2] // 64),
        "logits": logits,
        "logits_all": logits,
        "logit": lambda: logits().gather(1, domain[:, None])[:, 0],  # type: ignore[index]
    }
    for name in wanted - set(ways):
        raise UnsupportedCase(f"output {name!r}")
    return {name: ways[name]().numpy() for name in wanted}


def answer_losses(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Gives the losses of both passes, unweighted as the cases have them, and their weighted totals."""
    config, networks = case["config"], import_networks(case, state)
    weights = {"sty": config["lambda_sty"], "ds": -config["lambda_ds"], "cyc": config["lambda_cyc"]}
    system = StarGANv2(
        tuple(networks[name] for name in ("generator", "mapping_network", "style_encoder", "discriminator")),  # type: ignore[arg-type]
        StarGANv2Settings(style=weights["sty"], diversity=config["lambda_ds"], cycle=weights["cyc"]),
        (),
    )
    batch = DomainBatch(*(inputs[name] for name in ("x_real", "y_org", "x_ref", "x_ref2", "y_trg")))
    kept = {"noise": inputs["z_trg"], "other noise": inputs["z_trg2"]}
    short = {"R1": "reg", "GAN": "adv", "style": "sty", "diversity": "ds", "cycle": "cyc"}
    results: dict[str, Tensor] = {"logits_all": networks["discriminator"](inputs["x_real"])}
    results["logit_real"] = system.judge(inputs["x_real"], inputs["y_org"])[:, 0]
    for phase in system.phases:
        with torch.enable_grad():
            losses = {
                name.rpartition("_")[2]: loss.detach() for name, loss in system.losses(batch, phase, kept).items()
            }
        network, _, source = phase.partition("-")
        prefix, total = f"{network[0]}_{source}_", torch.stack(list(losses.values())).sum()
        if network == "generator" and "kl_weight" in config:
            # the official code asks for the codes' losses in both passes, and in both takes the source's code of E
            system.step = ("latent", "reference").index(source)
            triplet = system.triplet(batch, kept)
            losses["tri"] = triplet_loss(triplet, config["triplet_margin"])
            losses["kl"] = style_regularization(triplet.anchor, kept["own style"])
            total = total + config["lambda_tri"] * losses["tri"] + config["kl_weight"] * losses["kl"]
        results[f"{prefix}total"] = total
        for name, loss in losses.items():
            their = short.get(name, name)
            results[prefix + their] = loss / weights.get(their, 1)
    return {name: results[name].numpy() for name in wanted}


def landmarks(heatmaps: Tensor, scale: int) -> Tensor:
    """Finds each landmark's (x, y) `[N, 98, 2]`: the hottest cell, a quarter of a cell towards its hotter neighbour."""
    batch, count, height, width = heatmaps.shape
    peak = heatmaps.flatten(2).argmax(2)
    rows, columns = peak // width, peak % width
    found = torch.stack([columns, rows], 2).float()
    for n in range(batch):
        for c in range(count):
            heat, row, column = heatmaps[n, c], int(rows[n, c]), int(columns[n, c])
            if 0 < row < height - 1 and 0 < column < width - 1:
                found[n, c, 0] += 0.25 * torch.sign(heat[row, column + 1] - heat[row, column - 1])
                found[n, c, 1] += 0.25 * torch.sign(heat[row + 1, column] - heat[row - 1, column])
    return (found + 0.5) * scale


def answer_processing(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Prepares a decoded picture, for the network and for Inception, and writes a network's output as a picture."""
    size = case["config"]["image_size"]
    resized = Preprocessing("resize", size, size, resample="bilinear")(inputs["pixels"].numpy())
    for_inception = Preprocessing("resize", 299, 299, resample="bilinear")(resized).astype(np.float32) / 255
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return {
        "tensor": to_unit_range(resized),
        "inception_tensor": ((for_inception - mean) / std).transpose(2, 0, 1)[None],
        "written_pixels": to_frames(inputs["network_output"])[0].numpy(),
    }
