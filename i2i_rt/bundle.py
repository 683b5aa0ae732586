"""A bundle: the model on disk. A folder of JSON and safetensors; nothing in it is executable or pickled.

bundle.json           system, networks with their configs, stages, preprocessing, styles, labels, provenance
weights.safetensors   every network's weights, keys `<network>.<parameter>`
artifacts/<format>/   exported graphs, each beside an entry of artifacts.json
verification.json     how each artifact compares with the PyTorch network
golden/<case>.npz     what the PyTorch network gives for fixed inputs, by which a server is judged
"""

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from i2i_rt import __version__
from i2i_rt.errors import BundleError
from i2i_rt.spec import LabelInfo, StageSpec, StyleInfo

FORMAT_VERSION = 1
WEIGHTS_SHA256 = "weights.sha256"  # in a bundle that was deployed without its weights: their hash


@dataclass(frozen=True)
class Network:
    """A network's kind (a name in `i2i_rt.models.table.NETWORKS`) and the fields of its config."""

    kind: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Provenance:
    """Where the weights came from: the source file and its SHA-256, and what was noticed on the way."""

    source: str
    sha256: str
    notes: tuple[str, ...] = ()
    created_by: str = f"i2i_rt {__version__}"


@dataclass(frozen=True)
class Quantization:
    """How an artifact in 8 bits came about.

    Attributes:
        pictures: digests of those that its ranges were measured on.
        kept: names of the layers that compute in a higher precision.
        steps: the search for them, in order: of each, how many were kept, and what came of it.
    """

    pictures: tuple[str, ...]
    kept: tuple[str, ...]
    steps: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Artifact:
    """An exported graph. `weights_sha256` says which weights it was made from."""

    format: str
    stage: str
    precision: str
    file: str  # below the bundle's folder
    sha256: str
    weights_sha256: str
    size_bytes: int
    seconds: float
    versions: Mapping[str, str]
    quantization: Quantization | None = None  # of artifacts in 8 bits

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Artifact":
        found = data.get("quantization")
        return cls(
            **{
                **data,
                "quantization": found and Quantization(**{name: tuple(value) for name, value in found.items()}),
            }
        )


@dataclass(frozen=True)
class Golden:
    """What the PyTorch network in float32 gives for fixed inputs, of a stage or of several in a row."""

    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. Opening reads JSON only; weights are read on demand."""

    path: Path
    system: str
    networks: Mapping[str, Network]
    stages: Mapping[str, StageSpec]
    provenance: Provenance
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    style: StyleInfo | None = None  # of systems with a style
    labels: LabelInfo | None = None  # of systems that translate label maps
    format_version: int = FORMAT_VERSION

    @classmethod
    def open(cls, path: str | Path) -> "Bundle":
        """Opens a bundle's folder.

        Raises:
            BundleError: where the folder is missing, is no bundle, or was written by a newer version.
        """
        path = Path(path)
        file = path / "bundle.json"
        if not path.is_dir():
            raise BundleError(f"there is no bundle at {path}; 'i2i-rt import' and 'i2i-rt train' write one")
        if not file.is_file():
            inner = path / "bundle"
            hint = f"; did you mean {inner}?" if (inner / "bundle.json").is_file() else ""
            raise BundleError(f"{path} is no bundle: it has no bundle.json{hint}")
        data = _read_json(file)
        try:
            if data["format_version"] > FORMAT_VERSION:
                raise BundleError(
                    f"{path} has format {data['format_version']}, this i2i_rt reads up to {FORMAT_VERSION}; "
                    "update it: pip install -U i2i-rt"
                )
            return cls(
                path=path,
                system=data["system"],
                networks={name: Network(**entry) for name, entry in data["networks"].items()},
                stages={name: StageSpec.from_json(entry) for name, entry in data["stages"].items()},
                provenance=Provenance(**{**data["provenance"], "notes": tuple(data["provenance"]["notes"])}),
                preprocessing=data["preprocessing"],
                style=StyleInfo.from_json(data["style"]) if data.get("style") else None,
                labels=LabelInfo.from_json(data["labels"]) if data.get("labels") else None,
                format_version=data["format_version"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{file} is not what i2i_rt writes ({error}); import or train again") from error

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        system: str,
        networks: Mapping[str, Network],
        stages: Mapping[str, StageSpec],
        weights: Mapping[str, np.ndarray],
        provenance: Provenance,
        preprocessing: Mapping[str, Any] | None = None,
        style: StyleInfo | None = None,
        labels: LabelInfo | None = None,
    ) -> "Bundle":
        """Writes a new bundle; an older bundle at `path` is replaced once the new one is complete.

        Raises:
            BundleError: where `path` holds something that is no bundle.
        """
        path = Path(path)
        check_replaceable(path)
        bundle = cls(path, system, dict(networks), dict(stages), provenance, dict(preprocessing or {}), style, labels)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as name:
            fresh = Path(name) / "new"
            fresh.mkdir()
            save_file(
                {key: np.ascontiguousarray(array) for key, array in weights.items()},
                fresh / "weights.safetensors",
            )
            content = {key: value for key, value in asdict(bundle).items() if key not in ("path", "stages")}
            content["stages"] = {stage: spec.to_json() for stage, spec in bundle.stages.items()}
            write_json(fresh / "bundle.json", content)
            if path.exists():
                path.rename(Path(name) / "old")
            fresh.rename(path)
        return bundle

    @property
    def main_stage(self) -> str:
        """The stage that the bundle is for: `translate`, or the first one of a network that translates nothing."""
        return "translate" if "translate" in self.stages else next(iter(self.stages))

    def weights(self, prefix: str = "") -> dict[str, np.ndarray]:
        """Reads the weights, keys `<network>.<parameter>`; with a prefix, those whose keys begin with it.

        Raises:
            BundleError: where the file is missing or damaged.
        """
        try:
            with safe_open(self._weights_file, framework="numpy") as content:
                return {key: content.get_tensor(key) for key in content.keys() if key.startswith(prefix)}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise BundleError(f"the weights {self._weights_file} cannot be read: {error}") from error

    def weights_sha256(self) -> str:
        """Gives the hash of the weights, also where the bundle was deployed without them.

        Raises:
            BundleError: where there is neither.
        """
        kept = self.path / WEIGHTS_SHA256
        if self._weights_file.is_file():
            return sha256_of(self._weights_file)
        if kept.is_file():
            return kept.read_text().strip()
        raise BundleError(f"the bundle {self.path} has no {self._weights_file.name}; copy it whole, or import again")

    @property
    def _weights_file(self) -> Path:
        return self.path / "weights.safetensors"

    def artifacts(self) -> list[Artifact]:
        """Lists the exported graphs whose files are there."""
        entries = _read_json(self.path / "artifacts.json", missing=[])
        try:
            artifacts = [Artifact.from_json(entry) for entry in entries]
        except (TypeError, AttributeError) as error:
            raise BundleError(f"{self.path / 'artifacts.json'} is damaged ({error}); export again") from error
        return [artifact for artifact in artifacts if (self.path / artifact.file).is_file()]

    def add_artifact(self, artifact: Artifact) -> None:
        """Records an exported graph in place of an older one of the same file."""
        kept = [entry for entry in self.artifacts() if entry.file != artifact.file]
        write_json(self.path / "artifacts.json", [asdict(entry) for entry in [*kept, artifact]])

    def verification(self) -> list[dict[str, Any]]:
        """Reads the records that `i2i-rt verify` wrote, one per backend, artifact and precision."""
        records: list[dict[str, Any]] = _read_json(self.path / "verification.json", missing=[])
        return records

    def write_verification(self, records: list[dict[str, Any]]) -> None:
        write_json(self.path / "verification.json", records)

    def golden(self, case: str) -> Golden | None:
        """Reads what `i2i-rt export` recorded; None where it did not, or with other weights.

        Raises:
            BundleError: where the file is damaged.
        """
        file = self._golden_file(case)
        if not file.is_file():
            return None
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
                arrays = dict(content)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise BundleError(f"{file} cannot be read: {error}; export again") from error
        if str(arrays.pop("weights_sha256", "")) != self.weights_sha256():
            return None
        sides: dict[str, dict[str, np.ndarray]] = {"in": {}, "out": {}}
        for key, array in arrays.items():
            side, _, name = key.partition(".")
            sides[side][name] = array
        return Golden(sides["in"], sides["out"])

    def write_golden(self, case: str, golden: Golden) -> None:
        file = self._golden_file(case)
        file.parent.mkdir(exist_ok=True)
        temporary = file.with_name(f".{file.name}.part.npz")
        arrays: dict[str, Any] = {f"in.{name}": array for name, array in golden.inputs.items()}
        arrays |= {f"out.{name}": array for name, array in golden.outputs.items()}
        np.savez_compressed(temporary, weights_sha256=np.array(self.weights_sha256()), **arrays)
        temporary.replace(file)

    def _golden_file(self, case: str) -> Path:
        return self.path / "golden" / f"{case}.npz"


def check_replaceable(path: Path) -> None:
    """Checks that a bundle can be written to a folder: that there is none, an empty one, or a bundle.

    Raises:
        BundleError: where `path` holds something else.
    """
    if path.exists() and not (path / "bundle.json").is_file() and (path.is_file() or any(path.iterdir())):
        raise BundleError(f"{path} exists and is no bundle; name another folder")


def sha256_of(file: Path) -> str:
    """Gives a file's SHA-256 in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(file: Path, content: Any) -> None:
    """Writes JSON so that a crash leaves either the old file or the new one."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(file)


def _read_json(file: Path, missing: Any = None) -> Any:
    if missing is not None and not file.is_file():
        return missing
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise BundleError(f"{file} cannot be read: {error}") from error
