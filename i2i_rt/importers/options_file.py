"""Reads the options that official training code saves beside a checkpoint: `opt.txt` and YAML; no code in them runs."""

import re
from pathlib import Path

from i2i_rt.errors import CheckpointError


def read_options(file: Path) -> dict[str, str]:
    """Gives the options by name, as text.

    `opt.txt` has lines such as `ngf: 64 [default: 32]` between rules of dashes; a YAML file's nested names are given
    by their last part, the first one found winning.

    Raises:
        CheckpointError: where the file is missing, or has no such line.
    """
    if file.suffix in (".pkl", ".pickle"):
        raise CheckpointError(f"{file} is a pickle, which could run code; give the opt.txt beside it")
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"the options file {file} cannot be read: {error}") from error
    options: dict[str, str] = {}
    for line in text.splitlines():
        plain = re.sub(r"\s*(#.*|\[default:.*\])$", "", line)
        if match := re.fullmatch(r"\s*(?:--)?([A-Za-z_]\w*)\s*[:=]\s*(\S.*?)\s*", plain):
            options.setdefault(match[1], match[2].strip("'\""))
    if not options:
        raise CheckpointError(f"{file} has no line such as 'ngf: 64'; it is no options file")
    return options


def beside(checkpoint: Path) -> Path | None:
    """Finds the options file that the official code saves in the checkpoint's folder."""
    for name in ("opt.txt", "train_opt.txt", "config.yaml"):
        if (checkpoint.parent / name).is_file():
            return checkpoint.parent / name
    return None
