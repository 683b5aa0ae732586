"""Compares our networks with what the official implementations gave: `python -m tests.parity FOLDER…`.

A case is a folder with `case.json` (what was run) and `tensors.npz` (what came out). Weights and inputs are drawn
again from rules. The checkpoint is written as the official code writes it and goes through the importer, which finds
the architecture from keys and shapes alone. Prints a line a case and exits with 1 if one fails; a case of a network
that is not there yet prints UNSUPPORTED and counts as a failure unless `--supported-only`.
"""

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from i2i_rt.checkpoint import OfficialNetwork, identify, read_state
from i2i_rt.errors import CheckpointError
from i2i_rt.models.norm import FixedDropout
from i2i_rt.models.patch_sampler import PatchSampler
from i2i_rt.models.patchgan import PatchDiscriminator
from i2i_rt.models.resnet import ResidualBlock, ResnetGenerator
from i2i_rt.models.sincut import SinCUTDiscriminator, SinCUTGenerator
from i2i_rt.models.unet import UNetGenerator
from i2i_rt.preprocessing import Preprocessing, to_unit_range
from i2i_rt.systems.losses import patch_nce

# the official options' names for the modes of `Preprocessing`
MODES = {
    "resize_and_crop": "resize",
    "none": "none",
    "scale_width": "scale_width",
    "scale_shortside": "scale_shortside",
}


class UnsupportedCase(Exception):
    """The case is about something that is not there yet."""


@dataclass(frozen=True)
class Result:
    """The largest error of a case's outputs, each relative to its own scale."""

    case: str
    error: float
    tolerance: float
    passed: bool

    def line(self) -> str:
        return (
            f"{self.case:<48} {self.error:9.2e}  (tolerance {self.tolerance:.0e})  {'PASS' if self.passed else 'FAIL'}"
        )


def draw(case: str, key: str, entry: Mapping[str, Any], stored: Mapping[str, np.ndarray]) -> np.ndarray:
    """Draws the tensor `key` (with its group in front) of a case; the same numbers on every machine."""
    rule, shape = entry["rule"], entry["shape"]
    if rule["kind"] == "stored":
        return stored[key]
    seed = hashlib.sha256(f"{case}/{key}".encode()).digest()[:8]
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(seed, "little")))
    if rule["kind"] == "normal":
        drawn = generator.standard_normal(shape, dtype=np.float64) * rule.get("std", 1.0) + rule.get("mean", 0.0)
    elif rule["kind"] == "uniform":
        drawn = generator.random(shape, dtype=np.float64) * (rule["high"] - rule["low"]) + rule["low"]
    elif rule["kind"] == "constant":
        drawn = np.full(shape, rule["value"], dtype=np.float64)
    else:
        raise UnsupportedCase(f"rule {rule['kind']!r}")
    return drawn.astype(rule.get("dtype", "float32"))


def run_case(folder: Path) -> Result:
    """Runs one case.

    Raises:
        UnsupportedCase: where no network, loss or pre-processing of ours answers it.
    """
    case = json.loads((folder / "case.json").read_text())
    with np.load(folder / "tensors.npz") as stored:
        answer = find_answer(case)
        inputs = {
            name: torch.from_numpy(draw(case["case"], f"inputs/{name}", entry, stored))
            for name, entry in case["inputs"].items()
        }
        state = {
            key: torch.from_numpy(np.asarray(draw(case["case"], f"state/{key}", entry, stored)))
            for key, entry in case["state"].items()
        }
        expected = {name: stored[f"outputs/{name}"] for name in case["outputs"]}
    cuts = {name: full_output(name, case.get("slices", {})) for name in expected}
    with torch.no_grad():
        full = answer(case, state, inputs, {whole for whole, _ in cuts.values()})
    errors, passed = [], True
    for name, reference in expected.items():
        whole, index = cuts[name]
        actual = np.asarray(full[whole])[index]
        if actual.size == reference.size == 1:  # a scalar may be stored as [1]
            actual = actual.reshape(reference.shape)
        if actual.shape != reference.shape:
            return Result(folder.name, float("inf"), case["tolerance"], passed=False)
        scale = case.get("scale", {}).get(name) or float(np.abs(reference).max()) or 1.0
        difference = np.abs(actual.astype(np.float64) - reference) / scale
        outliers = case.get("outliers", {})
        share = outliers.get(name, 0.0) if isinstance(outliers, Mapping) else outliers
        # NaN compares as False, so it counts as outside
        passed &= float((~(difference <= case["tolerance"])).mean()) <= share
        errors.append(float(np.nan_to_num(difference, nan=np.inf).max()))
    return Result(folder.name, max(errors), case["tolerance"], passed)


def full_output(name: str, slices: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """Gives the whole output that a stored one was cut from, and the cut."""
    cut = slices.get(name)
    if cut is None:
        return name, ()
    whole, text = (name, cut) if isinstance(cut, str) else (cut["of"], cut["index"])
    return whole, tuple(_index(part.strip()) for part in text.strip("[]").split(","))


def _index(text: str) -> Any:
    if text == "...":
        return Ellipsis
    if ":" not in text:
        return int(text)
    return slice(*(int(part) if part.strip() else None for part in text.split(":")))


Answer = Callable[[Mapping[str, Any], dict[str, Tensor], dict[str, Tensor], set[str]], dict[str, Any]]


def find_answer(case: Mapping[str, Any]) -> Answer:
    """Gives what answers a case, by its system and network."""
    systems = {system.strip().lower() for system in case["system"].split(",")}
    if systems <= {"cut", "fastcut", "sincut", "cyclegan", "pix2pix"}:
        if case["network"] == "preprocessing":
            return answer_preprocessing
        if case["network"].startswith("patch sampler"):
            return answer_patch_sampler
        if case["network"] in ("generator", "discriminator"):
            return answer_network
    raise UnsupportedCase(f"{case['system']}: {case['network']}")


def import_network(case: Mapping[str, Any], state: dict[str, Tensor]) -> OfficialNetwork:
    """Writes the official file and reads it with the importer."""
    nested: dict[str, Any] = {}
    for key, tensor in state.items():
        *groups, name = key.split("::")
        target = nested
        for group in groups:
            target = target.setdefault(group, {})
        target[name] = tensor
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / (case["checkpoint"]["file"] or "network.pth")
        torch.save(nested, file)
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
        return network.features(image, [int(match[1])])[0]
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


def case_folders(paths: Iterable[Path]) -> list[Path]:
    """Gives the folders that are cases: those named, and those inside the named ones."""
    folders = []
    for path in paths:
        folders += (
            [path] if (path / "case.json").is_file() else sorted(file.parent for file in path.glob("*/case.json"))
        )
    return folders


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a case, or a folder of cases")
    parser.add_argument("--supported-only", action="store_true", help="leave out what is not there yet")
    options = parser.parse_args(arguments)
    empty = [path for path in options.folders if not case_folders([path])]
    if empty:
        print(f"no case.json in {', '.join(map(str, empty))}", file=sys.stderr)
        return 2
    folders = case_folders(options.folders)
    failures = 0
    for folder in folders:
        try:
            result = run_case(folder)
        except UnsupportedCase as reason:
            if not options.supported_only:
                failures += 1
                print(f"{folder.name:<48} UNSUPPORTED  {reason}")
            continue
        except (CheckpointError, ValueError, KeyError, OSError) as error:
            failures += 1
            print(f"{folder.name:<48} FAIL  {type(error).__name__}: {error}")
            continue
        failures += not result.passed
        print(result.line())
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
