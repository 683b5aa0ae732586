"""What a compiled artifact is bound to: kept as JSON beside it, compared before it is loaded.

A TensorRT engine or a compiled package runs on the device and with the library that it was made for, and elsewhere
fails with a message that helps nobody. So the key is compared first, and a difference is said in words.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from i2i_rt import __version__
from i2i_rt.bundle import sha256_of, write_json


@dataclass(frozen=True)
class ArtifactKey:
    """Two equal keys mean that an artifact made under the one can be used under the other.

    Attributes:
        stage: what it computes.
        precision: in which.
        weights_sha256: from which weights.
        device: the name of the device, such as "NVIDIA H100 80GB HBM3".
        capability: what the device's generation is called, such as "9.0".
        library: that runs it, such as "TensorRT".
        library_version: with which it was made.
        shapes: of each input by name, least, usual and greatest, for each optimisation profile.
        options: other choices that made it what it is, in words.
        i2i_rt: version of this package.
    """

    stage: str
    precision: str
    weights_sha256: str
    device: str
    capability: str
    library: str
    library_version: str
    shapes: list[dict[str, list[list[int]]]] = field(default_factory=list)
    options: Mapping[str, str] = field(default_factory=dict)
    i2i_rt: str = __version__

    def difference(self, here: "ArtifactKey") -> str | None:
        """Says in words how the artifact of this key differs from what `here` asks for; None where it does not."""
        if (self.device, self.capability, self.library, self.library_version) != (
            here.device,
            here.capability,
            here.library,
            here.library_version,
        ):
            return f"it was made for {self._place()}, and here is {here._place()}"
        if self.weights_sha256 != here.weights_sha256:
            return "it was made from other weights than the bundle has now"
        if (self.stage, self.precision) != (here.stage, here.precision):
            return f"it is {self.stage} in {self.precision}, not {here.stage} in {here.precision}"
        if self.shapes != here.shapes:
            return f"it was made for {describe(self.shapes)}, not for {describe(here.shapes)}"
        for name in sorted({*self.options, *here.options}):
            before, now = self.options.get(name, "none"), here.options.get(name, "none")
            if before != now:
                return f"it was made with {name} {before}, not {now}"
        if self.i2i_rt != here.i2i_rt:
            return f"it was made by i2i_rt {self.i2i_rt}, and this is {here.i2i_rt}"
        return None

    def _place(self) -> str:
        return f"{self.device} ({self.capability}) with {self.library} {self.library_version}"

    def write(self, artifact: Path) -> None:
        """Writes the key beside an artifact, with the artifact's SHA-256."""
        write_json(key_file(artifact), {"sha256": sha256_of(artifact), **asdict(self)})

    @classmethod
    def read(cls, artifact: Path) -> "ArtifactKey | None":
        """Reads the key beside an artifact; None where there is none, or it is another file's."""
        try:
            entries = json.loads(key_file(artifact).read_text())
            return cls(**entries) if entries.pop("sha256") == sha256_of(artifact) else None
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return None


def key_file(artifact: Path) -> Path:
    """Gives the file of an artifact's key: the same name, ending in `.json`."""
    return artifact.with_suffix(".json")


def describe(shapes: list[dict[str, list[list[int]]]]) -> str:
    """Gives shapes in words, such as "frames 1x64x64x3 to 4x1024x1024x3"."""
    if not shapes:
        return "any shapes"
    ranges = []
    for profile in shapes:
        for name, (least, _, greatest) in profile.items():
            low, high = ("x".join(map(str, shape)) for shape in (least, greatest))
            ranges.append(f"{name} {low}" if low == high else f"{name} {low} to {high}")
    return ", ".join(dict.fromkeys(ranges))


@contextlib.contextmanager
def locked(artifact: Path) -> Iterator[None]:
    """Lets one process at a time make an artifact; the others wait, and then find it made.

    Where the file system or the platform has no locks, or the folder cannot be written, nobody waits.
    """
    try:
        import fcntl

        handle = os.open(artifact.with_name(f".{artifact.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which unlocks; the file stays, because another process may be waiting with it open
