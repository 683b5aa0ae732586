"""A bundle as the server needs it: what describes it, without its weights."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from i2i_rt.bundle import WEIGHTS_SHA256, Artifact, Bundle, write_json

# fitted styles, and the cases by which the server is judged
KEPT = ("bundle.json", "verification.json", "styles.npz")


def copy_bundle(bundle: Bundle, target: Path, artifacts: Sequence[Artifact] = ()) -> None:
    """Copies a bundle without its weights, of which the hash stays, and with only the graphs that are named.

    Args:
        bundle: what to copy.
        target: a folder that is not there yet.
        artifacts: of the bundle, for models that run graphs from this copy.
    """
    target.mkdir(parents=True)
    for name in KEPT:
        if (bundle.path / name).is_file():
            shutil.copyfile(bundle.path / name, target / name)
    if (bundle.path / "golden").is_dir():
        shutil.copytree(bundle.path / "golden", target / "golden")
    (target / WEIGHTS_SHA256).write_text(bundle.weights_sha256() + "\n")
    for artifact in artifacts:
        # with files of the same stem beside it, such as OpenVINO's `.bin` and the key
        source, copy = bundle.path / artifact.file, target / artifact.file
        copy.parent.mkdir(parents=True, exist_ok=True)
        for part in source.parent.glob(f"{source.stem}.*"):
            shutil.copyfile(part, copy.with_name(part.name))
    if artifacts:
        write_json(target / "artifacts.json", [asdict(artifact) for artifact in artifacts])
