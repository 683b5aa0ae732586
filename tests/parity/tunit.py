"""TUNIT: the generator, the guiding network, the discriminator, and the losses of training."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i_rt.checkpoint import read_nested
from i2i_rt.importers import tunit as importer
from i2i_rt.importers.base import load_weights
from i2i_rt.models import tunit as models
from i2i_rt.models.tunit_discriminator import TUNITDiscriminator, TUNITDiscriminatorConfig
from i2i_rt.systems.base import ViewsBatch
from i2i_rt.systems.tunit import TUNIT, TUNITSettings, clustering_loss
from tests.parity.case import Answer, UnsupportedCase, nested, write_checkpoints


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of this system; None for other cases."""
    network = case["network"].lower()
    if case["system"].strip().lower() != "tunit":
        return None
    if "loss" in network:
        return answer_losses
    return answer_networks if "generator" in network else None


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


def answer_losses(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Makes the system of the official file's networks, in training mode, and gives its losses, all weights 1."""
    system = read_system(case, nested(state))
    system.queue.copy_(inputs["queue"])
    system.queued.fill_(len(system.queue))
    image, order, domain = inputs["x_org"], inputs["ref_index"], inputs["y_org"]
    batch, kept = ViewsBatch(image, inputs["x_tf"], domain, torch.arange(len(image))), dict[str, Tensor]()
    found = system.guiding_losses(batch, kept)
    first, second = inputs["logits_1"], inputs["logits_1"] + 0.5 * inputs["logits_2"]
    results = {
        "query": system.guiding_network(image)[0],
        "key": kept["key"],
        "moco": found["C_style"],
        "iic": found["C_cluster"],
        "iic_of_logits": clustering_loss(first, second, torch.ones(len(first), dtype=torch.bool)),
        "logits_all": system.discriminator(image[order]),
        "logit_real": system.judge(image[order], domain[order])[:, 0],
    }
    system.settings = replace(system.settings, labelled=1.0)  # the case gives the pseudo-domains
    with torch.enable_grad():
        system.translate(batch, order, kept)
        found |= system.discriminator_losses(batch, kept) | system.generator_losses(batch, kept)
    names = {
        "D_real": "d_adv_real",
        "D_fake": "d_adv_fake",
        "D_penalty": "d_gp",
        "G_fake": "g_adv_fake",
        "G_rebuilt": "g_adv_rec",
        "G_reconstruction": "g_imgrec",
        "G_style": "g_style_contrastive",
    }
    results |= {"image_fake": kept["translated"]} | {theirs: found[ours] for ours, theirs in names.items()}
    for name in wanted - set(results):
        raise UnsupportedCase(f"output {name!r}")
    return {name: results[name].detach().numpy() for name in wanted}


def read_system(case: Mapping[str, Any], content: Mapping[str, Any]) -> TUNIT:
    """Makes the system of networks with the official keys; the discriminator has the same ones."""
    config = case["config"]
    generator_config, weights = models.read_generator(content["G_state_dict"])
    generator = load_weights(models.TUNITGenerator(generator_config), weights, "G")
    guiding_config, weights = models.read_guiding_network(content["C_state_dict"])
    guiding_network = load_weights(models.GuidingNetwork(guiding_config), weights, "C")
    discriminator = TUNITDiscriminator(
        TUNITDiscriminatorConfig(
            config["base_width"], config["discriminator_max_width"], config["image_size"], config["num_domains"]
        )
    )
    load_weights(discriminator, content["D_state_dict"], "D")
    settings = TUNITSettings(
        clusters=config["num_domains"],
        style_dim=config["style_dim"],
        queue=case["inputs"]["queue"]["shape"][0],
        separated=1.0,
        clustering=1.0,
        reconstruction=1.0,
        style=1.0,
        penalty=1.0,
    )
    system = TUNIT((generator, guiding_network, discriminator), settings)
    system.guiding_average.load_state_dict(models.read_guiding_network(content["C_EMA_state_dict"])[1])
    return system.train()
