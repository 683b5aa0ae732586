"""A run's folder. Whatever is killed when: what stood there before stays usable until the new file is complete.

training.json   the options
state.pt        weights, optimisers and the step: what `--resume` reads
bundle/         what was trained, as `i2i-rt export` takes it
scores.jsonl    scores of held-out pictures, a line each time
samples/        grids of inputs and translations
tensorboard/    losses, speed and samples
"""

import json
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from i2i_rt.bundle import Bundle, Provenance, write_json
from i2i_rt.errors import I2IError
from i2i_rt.stages.writing import write_networks
from i2i_rt.systems.base import Product
from i2i_rt.training.options import TrainingOptions

SCORES = "scores.jsonl"


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes the files of a run."""

    path: Path

    @property
    def state_file(self) -> Path:
        return self.path / "state.pt"

    def start(self, options: TrainingOptions) -> None:
        """Makes the folder.

        Raises:
            I2IError: where another run or other files are in it.
        """
        if self.state_file.exists():
            raise I2IError(f"{self.path} holds a run already; add --resume to go on with it, or name another folder")
        others = [file.name for file in self.path.iterdir()] if self.path.is_dir() else []
        if self.path.is_file() or (others and "training.json" not in others):
            raise I2IError(f"{self.path} exists and is no run; name another folder with -o")
        # what an earlier run left that never came to a checkpoint
        for name in ("samples", "tensorboard"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        (self.path / SCORES).unlink(missing_ok=True)
        try:
            (self.path / "samples").mkdir(parents=True)
            write_json(self.path / "training.json", options.to_json())
        except OSError as error:
            raise I2IError(f"the run's folder {self.path} cannot be made: {error.strerror}") from error

    def options(self) -> dict[str, Any]:
        """Reads the options of the run that is to go on.

        Raises:
            I2IError: where there is no run, or none that has come to a checkpoint.
        """
        file = self.path / "training.json"
        if not file.is_file():
            raise I2IError(f"{self.path} holds no run; 'i2i-rt train' without --resume starts one")
        if not self.state_file.is_file():
            raise I2IError(
                f"the run in {self.path} was stopped before its first checkpoint; start it again, without --resume"
            )
        try:
            content: dict[str, Any] = json.loads(file.read_text())
        except ValueError as error:
            raise I2IError(f"{file} cannot be read: {error}") from error
        return content

    def tidy(self) -> None:
        """Takes away what a killed process left half written."""
        for leftover in (file for pattern in (".*.part*", "samples/.*.part") for file in self.path.glob(pattern)):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()

    def read_state(self, device: torch.device) -> dict[str, Any]:
        """Reads the last checkpoint.

        Raises:
            I2IError: where the file is damaged.
        """
        try:
            state: dict[str, Any] = torch.load(self.state_file, map_location=device, weights_only=True)
        # a damaged file can fail anywhere inside the unpickler, with any exception
        except Exception as error:
            raise I2IError(f"the checkpoint {self.state_file} is damaged; start again without --resume") from error
        return state

    def networks(self, device: torch.device, averaged: Collection[str] = ()) -> dict[str, dict[str, torch.Tensor]]:
        """Reads the weights of a run's networks, by their names, for another run to begin with.

        Of the networks `averaged` it takes the moving averages, where the run keeps them.

        Raises:
            I2IError: where there is no run, or its file is damaged.
        """
        if not self.state_file.is_file():
            raise I2IError(f"{self.path} holds no run with a checkpoint; --from names the folder of one")
        found: dict[str, dict[str, torch.Tensor]] = {}
        state = self.read_state(device)
        for key, tensor in state["system"].items():
            name, _, parameter = key.partition(".")
            found.setdefault(name, {})[parameter] = state["averages"].get(key, tensor) if name in averaged else tensor
        return found

    def write_state(self, state: dict[str, Any]) -> None:
        """Writes a checkpoint beside the last one, and takes its place once it is on the disk.

        Raises:
            I2IError: where the disk is full, or may not be written to.
        """
        temporary = self.state_file.with_name(".state.pt.part")
        try:
            with temporary.open("wb") as stream:
                torch.save(state, stream)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self.state_file)
            _sync_folder(self.path)
        except (OSError, RuntimeError) as error:  # PyTorch's writer turns a full disk into the latter
            temporary.unlink(missing_ok=True)
            raise I2IError(
                f"the checkpoint {self.state_file} cannot be written ({error}); the one before is kept: "
                "make room, then go on with --resume"
            ) from error

    def add_scores(self, step: int, scores: dict[str, float]) -> None:
        """Adds a line to `scores.jsonl`; lines of steps that a resumed run does anew give way."""
        file = self.path / SCORES
        lines = file.read_text().splitlines() if file.is_file() else []
        lines = [line for line in lines if json.loads(line)["step"] < step]
        fresh = file.with_name(f".{SCORES}.part")
        fresh.write_text("\n".join([*lines, json.dumps({"step": step, **scores})]) + "\n")
        fresh.replace(file)

    def write_bundle(self, name: str, product: Product, system: str, provenance: Provenance) -> Path:
        """Writes a bundle, or brings its weights up to date; there is never a moment without a complete one."""
        path, fresh = self.path / name, self.path / f".{name}.part"
        create_bundle(fresh, product, system, provenance)
        if path.is_dir():
            # same network, other weights; exported graphs stay, and are refused by their weights' digest
            for file in fresh.iterdir():
                file.replace(path / file.name)
            fresh.rmdir()
        else:
            fresh.rename(path)
        return path


def create_bundle(path: Path, product: Product, system: str, provenance: Provenance) -> Bundle:
    """Writes a bundle of what the training of a system gave.

    Raises:
        BundleError: where `path` holds something that is no bundle.
    """
    return write_networks(path, product.system or system, product.networks, provenance, **product.description())


def _sync_folder(path: Path) -> None:
    """Makes a rename survive a power cut, where the system can."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
