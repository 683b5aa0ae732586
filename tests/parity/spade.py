"""SPADE: generator, image encoder, discriminator with its losses, pre-processing of label maps."""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from i2i_rt import label_maps
from i2i_rt.checkpoint import read_state
from i2i_rt.importers.base import Options, load_weights
from i2i_rt.importers.spade import read, read_encoder
from i2i_rt.models import multiscale
from i2i_rt.models.spade import SpadeGenerator, SpadeGeneratorConfig, semantics_of
from i2i_rt.preprocessing import Preprocessing, to_unit_range
from i2i_rt.spec import LabelInfo
from i2i_rt.systems.losses import feature_matching, hinge, kl_divergence
from tests.parity.case import Answer, UnsupportedCase, write_checkpoints

BLOCKS = ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3", "up_4")


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of SPADE; None for other cases."""
    if not case["system"].lower().startswith("spade"):
        return None
    network = case["network"].lower()
    if network == "preprocessing":
        return answer_preprocessing
    if "discriminator" in network:
        return answer_discriminator
    if "encoder" in network and "generator" not in network:
        return answer_encoder
    if network.startswith("generator"):
        return answer_generator
    return None


def answer_generator(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Makes the picture, and what comes out of each block on the way."""
    config = case["config"]
    options = {
        "label_nc": config["label_classes"],
        "contain_dontcare_label": config["dont_care_channel"],
        "no_instance": not config["instance_edge_channel"],
        "num_upsampling_layers": config["upsampling_layers"],
        "crop_size": config["crop_size"],
        "aspect_ratio": config["aspect_ratio"],
    }
    with tempfile.TemporaryDirectory() as folder:
        files = write_checkpoints(state, Path(folder))
        networks = read(files, Options({name: str(value) for name, value in options.items()})).networks
    generator, encoder = networks["generator"], networks.get("encoder")
    assert isinstance(generator, SpadeGenerator)
    # the official first tensor has one size, whatever the label map's
    generator.config = dataclasses.replace(generator.config, first_size=tuple(config["first_size"]))
    labels, instances = inputs["label"].long(), inputs.get("instance")
    edges = None if instances is None else edges_of(instances)
    semantics = semantics_of(labels[:, 0], edges, generator.config, torch.float32)
    results: dict[str, Any] = {"semantics": semantics.numpy()}
    for name, block in zip(BLOCKS, generator.blocks, strict=False):
        block.register_forward_hook(lambda _, __, output, name=name: results.update({f"after_{name}": output.numpy()}))
    style = inputs.get("z")
    if encoder is not None and style is None:
        found, style = encoded(encoder, inputs)
        results |= found
    results["image"] = generator(semantics, style).numpy()
    return results


def edges_of(instances: Tensor) -> Tensor:
    """Gives the edges of instance maps `[N, 1, H, W]` as `[N, H, W]`."""
    return torch.from_numpy(np.stack([label_maps.edges_of(plane) for plane in instances[:, 0].numpy()]))


def answer_encoder(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Gives the distribution of a picture's style, and a draw from it."""
    with tempfile.TemporaryDirectory() as folder:
        (file,) = write_checkpoints(state, Path(folder))
        encoder = read_encoder(read_state(file), str(file))
    return encoded(encoder, inputs)[0]


def encoded(encoder: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Any], Tensor]:
    """Gives what an encoder makes of the image, and the style: drawn where there is an `epsilon`, else the mean."""
    mean, log_variance = encoder(inputs["image"])
    style = mean + inputs["epsilon"] * torch.exp(log_variance / 2) if "epsilon" in inputs else mean
    divergence = kl_divergence(mean, log_variance)
    results = {"mean": mean, "log_variance": log_variance, "z": style, "kl_divergence": divergence}
    return {name: result.numpy() for name, result in results.items()}, style


def answer_discriminator(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Scores a made and a real picture of one label map in one batch, and computes the losses from that."""
    with tempfile.TemporaryDirectory() as folder:
        (file,) = write_checkpoints(state, Path(folder))
        found = multiscale.read_official(read_state(file))
    assert found is not None
    config, weights = found
    discriminator = load_weights(multiscale.MultiscaleDiscriminator(config), weights, "the case")
    classes, unknown = case["config"]["label_classes"], case["config"]["dont_care_channel"]
    coding = SpadeGeneratorConfig(classes, unknown, edges="instance" in inputs)
    edges = edges_of(inputs["instance"]) if "instance" in inputs else None
    semantics = semantics_of(inputs["label"].long()[:, 0], edges, coding, torch.float32)
    pairs = torch.cat([torch.cat([semantics, inputs[name]], 1) for name in ("fake", "real")])
    results: dict[str, Any] = {}
    fooling, matching, on_fake, on_real = [], [], [], []
    for scale, outputs in enumerate(discriminator(pairs)):
        fakes, reals = zip(*(output.chunk(2) for output in outputs), strict=True)
        for name, kind in (("fake", fakes), ("real", reals)):
            results[f"{name}_prediction_{scale}"] = kind[-1].numpy()
            for layer, feature in enumerate(kind[:-1]):
                results[f"{name}_feature_{scale}_{layer}"] = feature.numpy()
        fooling.append(-fakes[-1].mean())
        on_fake.append(hinge(fakes[-1], real=False))
        on_real.append(hinge(reals[-1], real=True))
        matching.append(feature_matching(fakes[:-1], reals[:-1]))
    losses = {
        "generator_hinge_loss": fooling,
        "discriminator_hinge_loss_fake": on_fake,
        "discriminator_hinge_loss_real": on_real,
        "feature_matching_loss": [10 * loss for loss in matching],
    }
    return {**results, **{name: torch.stack(values).mean().numpy() for name, values in losses.items()}}


def answer_preprocessing(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Prepares decoded label, instance and photo files as the official test script does."""
    config = case["config"]
    modes = {"resize_and_crop": "resize", "fixed": "fixed"}
    if config["preprocess_mode"] not in modes:
        raise UnsupportedCase(f"mode {config['preprocess_mode']!r}")
    prepare = Preprocessing(
        modes[config["preprocess_mode"]],  # type: ignore[arg-type]
        config["load_size"],
        config["crop_size"],
        aspect_ratio=config["aspect_ratio"],
    )

    def resized(name: str) -> np.ndarray:
        values = inputs[name].numpy()
        return label_maps.resize(values, *prepare.size(values.shape[1], values.shape[0]))

    unknown, with_edges = config["contain_dontcare_label"], not config["no_instance"]
    # of ADE20K's labels, 0 is the unknown one and the classes follow, so that the last has the index `label_nc`
    names = tuple(map(str, range(config["label_nc"] + unknown)))
    labels = label_maps.check_labels(resized("label_file"), LabelInfo(names, (), unknown, with_edges))
    edges = label_maps.edges_of(resized("instance_file")) if with_edges else None
    coding = SpadeGeneratorConfig(config["label_nc"], unknown, with_edges)
    semantics = semantics_of(
        torch.from_numpy(labels)[None], None if edges is None else torch.from_numpy(edges)[None], coding, torch.float32
    )
    results = {
        "label_map": np.where(labels == label_maps.UNKNOWN, config["label_nc"], labels)[None, None],
        "semantic_channel_sums": semantics.sum((0, 2, 3)).numpy(),
        "image": to_unit_range(prepare(inputs["image_file"].numpy())),
    }
    if edges is not None:
        results |= {"edges": edges[None, None], "instance_map": resized("instance_file")[None, None]}
    return results
