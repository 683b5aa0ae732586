"""MUNIT and UNIT: both domains' networks, the discriminator, pre-processing."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from i2i_rt.checkpoint import read_nested, read_state
from i2i_rt.importers import munit, unit
from i2i_rt.importers.base import Options, groups_of, load_weights
from i2i_rt.models.munit import ScalesDiscriminator, read_official_discriminator
from i2i_rt.preprocessing import to_unit_range
from i2i_rt.systems.base import Batch
from i2i_rt.systems.munit import Munit, MunitSettings
from tests.parity.case import Answer, UnsupportedCase, nested, write_checkpoint


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of these systems; None for other cases."""
    if case["system"] not in ("MUNIT", "UNIT"):
        return None
    network, config = case["network"], case["config"]
    if network.startswith("preprocessing"):
        return answer_preprocessing
    if "loss" in network:
        return answer_losses
    if config.get("pad_type", "reflect") != "reflect" or config.get("norm", "none") != "none":
        return None
    if network == "multi-scale discriminator" and config.get("activ", "lrelu") == "lrelu":
        return answer_discriminator
    if config.get("activ", "relu") != "relu":
        return None
    if network.startswith("shared-latent generator"):
        return answer_shared
    if network.startswith(("content encoder", "encoder + decoder")):
        return answer_munit if case["system"] == "MUNIT" else answer_unit
    return None


def answer_munit(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Runs every pair of the domains' networks that MUNIT's training runs."""
    with tempfile.TemporaryDirectory() as folder:
        parts = munit.read_domains("munit", [write_checkpoint(state, Path(folder) / "gen_00000001.pt")])
    content = {name: munit.read_content_encoder(parts[name], name) for name in parts}
    style = {name: munit.read_style_encoder(parts[name], name) for name in parts}
    decode = {name: munit.read_decoder(parts[name], name) for name in parts}
    contents = {name: content[name](inputs[f"image_{name}"]) for name in parts}
    styles = {name: style[name](inputs[f"image_{name}"]) for name in parts}
    drawn = inputs["style"].flatten(1)
    results: dict[str, Tensor] = {}
    for name, other in (("a", "b"), ("b", "a")):
        results |= {
            f"content_{name}": contents[name],
            f"style_{name}": styles[name][:, :, None, None],
            f"adain_{name}": decode[name].parameters_of(drawn),
            f"reconstruction_{name}": decode[name](contents[name], styles[name]),
            f"{name}{other}_sampled": decode[other](contents[name], drawn),
            f"{name}{other}_guided": decode[other](contents[name], styles[other]),
        }
    return _wanted(results, wanted)


def answer_unit(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Translates in both directions without noise, and with the given noise as in training."""
    with tempfile.TemporaryDirectory() as folder:
        parts = munit.read_domains("unit", [write_checkpoint(state, Path(folder) / "gen_00000001.pt")])
    encode = {name: munit.read_content_encoder(parts[name], name) for name in parts}
    decode = {name: munit.read_decoder(parts[name], name) for name in parts}
    results: dict[str, Tensor] = {}
    for name, other in (("a", "b"), ("b", "a")):
        hidden = encode[name](inputs[f"image_{name}"])
        results |= {
            f"hidden_{name}": hidden,
            f"reconstruction_{name}": decode[name](hidden),
            f"{name}{other}": decode[other](hidden),
        }
        if "noise" in inputs and inputs["noise"].shape == hidden.shape:
            results[f"{name}{other}_training"] = decode[other](hidden + inputs["noise"])
    return _wanted(results, wanted)


def answer_shared(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Translates in both directions with the layers that the domains share."""
    with tempfile.TemporaryDirectory() as folder:
        found = read_state(write_checkpoint(state, Path(folder) / "unit_gen_00000001.pkl"))
    norm = unit.variant(found, Options({"gen": case["config"]["cls"]}))
    domains: tuple[Any, ...] = ("A", "B")
    encode = {name.lower(): unit.read_shared_encoder(found, name, norm) for name in domains}
    decode = {name.lower(): unit.read_shared_decoder(found, name, norm) for name in domains}
    results: dict[str, Tensor] = {}
    for name in encode:
        code = encode[name](inputs[f"image_{name}"])
        results[f"shared_{name}"] = code
        results |= {f"{name}{other}": decode[other](code) for other in decode}
    return _wanted(results, wanted)


def answer_discriminator(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Gives the logits of every scale."""
    with tempfile.TemporaryDirectory() as folder:
        content = read_nested(write_checkpoint(state, Path(folder) / "dis_00000001.pt"))
    domain = next(iter(content))
    config, weights = read_official_discriminator(groups_of(content, [domain], "dis_00000001.pt")[domain])
    network = ScalesDiscriminator(config)
    load_weights(network, weights, "the discriminator")
    return _wanted({f"logits_{scale}": logits for scale, logits in enumerate(network(inputs["image"]))}, wanted)


class GivenStyles(Munit):
    """Takes the styles of a case in place of drawn ones."""

    styles: list[Tensor]

    def drawn(self, images: Tensor) -> Tensor:
        return self.styles.pop(0).flatten(1)


# our losses without the domain: what the case calls them, and the weight in its config
LOSSES = {
    "reconstruction": ("gen_recon_x", "recon_x_w"),
    "style": ("gen_recon_s", "recon_s_w"),
    "content": ("gen_recon_c", "recon_c_w"),
    "cycle": ("gen_cycrecon_x", "recon_x_cyc_w"),
    "G_GAN": ("gen_adv", "gan_w"),
    "D": ("dis", "gan_w"),
}


def answer_losses(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Gives the losses of a step without their weights, the generators' total, and gradients."""
    config = case["config"]
    networks: dict[str, nn.Module] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}_00000001.pt" for name in ("gen", "dis")}
        for name, part in nested(state).items():
            torch.save(part, files[name])
        judges = groups_of(read_nested(files["dis"]), ("a", "b"), "dis_00000001.pt")
        for side, parts in munit.read_domains("munit", [files["gen"]]).items():
            networks[f"content_encoder_{side}"] = munit.read_content_encoder(parts, side)
            networks[f"style_encoder_{side}"] = munit.read_style_encoder(parts, side)
            networks[f"decoder_{side}"] = munit.read_decoder(parts, side)
            judge, weights = read_official_discriminator(judges[side])
            networks[f"discriminator_{side}"] = ScalesDiscriminator(judge)
            load_weights(networks[f"discriminator_{side}"], weights, "the discriminator")
    settings = MunitSettings(
        gan=config["gan_w"],
        reconstruction=config["recon_x_w"],
        style=config["recon_s_w"],
        content=config["recon_c_w"],
        cycle=config["recon_x_cyc_w"],
        vgg=config["vgg_w"],
    )
    system = GivenStyles(networks, settings, inputs["image_a"].shape[2])
    results: dict[str, Tensor] = {}
    for phase in system.phases:
        system.styles = [inputs[f"{phase[0]}_style_{side}"] for side in ("a", "b")]
        system.zero_grad()
        with torch.enable_grad():
            losses = system(Batch(inputs["image_a"], inputs["image_b"]), phase, {})
            total = losses.pop("total")
            total.backward()
        results[f"{phase[:3]}_total"] = total.detach()
        for name, loss in losses.items():
            kind, _, side = name.rpartition("_")
            called, weight = LOSSES[kind]
            results[f"{called}_{side}"] = loss / config[weight]
        if phase == "discriminator":
            results["gradient_dis_a_first_conv"] = _gradient(system, "discriminator_a.scales.0.0.weight")
    results["gradient_gen_a_style_out"] = _gradient(system, "style_encoder_a.last.weight")
    results["gradient_gen_b_mlp_first"] = _gradient(system, "decoder_b.perceptron.0.weight")
    return _wanted({name: value.reshape(value.shape or (1,)) for name, value in results.items()}, wanted)


def _gradient(system: nn.Module, name: str) -> Tensor:
    gradient = system.get_parameter(name).grad
    assert gradient is not None
    return gradient.clone()


def answer_preprocessing(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Prepares the pictures as the official test script; `uint8` is how it saves them, which the bundle does not do."""
    results: dict[str, Any] = {}
    for name, options in case["config"].items():
        prepare = munit.preprocessing(options["new_size"])
        results[name] = to_unit_range(prepare(inputs[options["of"]].numpy()))
    if "network_output" in inputs:
        picture = (inputs["network_output"] + 1) / 2
        low, high = picture.min(), picture.max()
        levels = ((picture - low) / (high - low).clamp(min=1e-5) * 255 + 0.5).clamp(0, 255).to(torch.uint8)
        results["uint8"] = levels[0].permute(1, 2, 0).numpy()
    return results


def _wanted(results: Mapping[str, Tensor], wanted: set[str]) -> dict[str, Any]:
    missing = wanted - set(results)
    if missing:
        raise UnsupportedCase(f"output {sorted(missing)[0]!r}")
    return {name: results[name].numpy() for name in wanted}
