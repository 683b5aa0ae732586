"""Every system's importer, and the way from official files to a bundle."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from i2i_rt.bundle import Bundle, Provenance, sha256_of
from i2i_rt.errors import CheckpointError, I2IError, closest
from i2i_rt.importers import (
    bicyclegan,
    cycada,
    egscit,
    gpunit,
    munit,
    options_file,
    single,
    spade,
    stargan,
    step,
    swapping,
    tunit,
    unit,
)
from i2i_rt.importers.base import Imported, Options
from i2i_rt.importers.recognise import recognise
from i2i_rt.stages.writing import write_networks

Importer = Callable[[Sequence[Path], Options], Imported]

IMPORTERS: dict[str, Importer] = {
    **{system: partial(single.read, system) for system in single.GENERATORS},
    "gpunit": gpunit.read,
    "bicyclegan": bicyclegan.read,
    "spade": spade.read,
    "swapping": swapping.read,
    "starganv2": stargan.read,
    "smoothing": stargan.read,
    "tunit": tunit.read,
    "munit": munit.read,
    "unit": unit.read,
    "cycada": cycada.read,
    "step": step.read,
    "egscit": egscit.read,
}


def import_checkpoint(
    system: str,
    files: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    options: Mapping[str, str] | None = None,
    options_path: str | Path | None = None,
) -> Bundle:
    """Reads official files and writes a bundle.

    Args:
        system: a key of `IMPORTERS`.
        files: the official checkpoint, or several where the system keeps its networks in several files.
        output: the bundle's folder.
        options: what keys and shapes do not tell, by the official option's name.
        options_path: the official options file; by default the one in the checkpoint's folder, where there is one.

    Raises:
        I2IError: where the system or an option is unknown.
        CheckpointError: where a file cannot be read or holds another network.
        BundleError: where `output` is taken by something else.
    """
    if system not in IMPORTERS:
        raise I2IError(f"no system is called {system!r}; {closest(system, IMPORTERS)}")
    paths = [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]
    saved = Path(options_path) if options_path is not None else options_file.beside(paths[0])
    words = Options(options, options_file.read_options(saved) if saved is not None else None)
    try:
        found = IMPORTERS[system](paths, words)
    except CheckpointError as error:
        named = any(str(path) in str(error) for path in paths)
        where = "" if named else f"{' and '.join(map(str, paths))}: "
        raise CheckpointError(f"{where}{error}{_hint(system, paths)}") from error
    except (IndexError, ValueError, RuntimeError) as error:
        # where a shape is read that has fewer lengths than any such network's
        raise CheckpointError(
            f"{' and '.join(map(str, paths))}: a weight has a shape that no network of {system} has "
            f"({str(error).splitlines()[0]}){_hint(system, paths)}"
        ) from error
    words.refuse_unknown(system)
    sources = found.files or paths
    provenance = Provenance(
        ", ".join(path.name for path in sources), " ".join(sha256_of(path) for path in sources), found.notes
    )
    return write_bundle(found, system, output, provenance)


def _hint(system: str, files: Sequence[Path]) -> str:
    """Says which other system a file looks like; nothing where all are of this one, or of none that is known."""
    guesses = {file: guess for file in files if (guess := recognise([file])) is not None}
    for file, (other, network) in guesses.items():
        if IMPORTERS[other] is IMPORTERS[system]:
            continue
        if other in single.GENERATORS and system in single.GENERATORS:
            continue  # they share networks, and their own sentence names those that fit
        what = "it" if len(files) == 1 else str(file)
        together = " ".join(str(mate) for mate in files if guesses.get(mate, ("", ""))[0] == other)
        return f"; {what} looks like the {network} of {other}: i2i-rt import {other} {together}"
    return ""


def write_bundle(found: Imported, system: str, output: str | Path, provenance: Provenance) -> Bundle:
    """Writes a system's networks, wherever they come from, as a bundle.

    Raises:
        BundleError: where `output` is taken by something else.
    """
    return write_networks(
        output,
        system,
        found.networks,
        provenance,
        preprocessing=asdict(found.preprocessing),
        style=found.style,
        labels=found.labels,
    )
