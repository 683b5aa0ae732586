"""What the answers share: their type, and the official file that a case's weights make."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# case, state, inputs, names of the whole outputs that are wanted -> those outputs by name
Answer = Callable[[Mapping[str, Any], dict[str, Tensor], dict[str, Tensor], set[str]], dict[str, Any]]


class UnsupportedCase(Exception):
    """The case is about something that is not there yet."""


def nested(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Nests a case's weights as the official file does: `a::b.weight` is `{"a": {"b.weight": …}}`."""
    content: dict[str, Any] = {}
    for key, tensor in state.items():
        *groups, name = key.split("::")
        target = content
        for group in groups:
            target = target.setdefault(group, {})
        target[name] = tensor
    return content


def write_checkpoint(state: Mapping[str, Tensor], file: Path) -> Path:
    """Writes a case's weights as the official code does, in one file."""
    file.parent.mkdir(parents=True, exist_ok=True)  # cases name files with the folders that they lie in
    torch.save(nested(state), file)
    return file


def write_checkpoints(state: Mapping[str, Tensor], folder: Path) -> list[Path]:
    """Writes a case's weights into one file, or into those that the first groups of all keys name."""
    content = nested(state)
    if not all(name.endswith((".pth", ".pt", ".ckpt")) for name in content):
        content = {"checkpoint.pth": content}
    files = [folder / f"{number}-{Path(name).name}" for number, name in enumerate(content)]
    for file, part in zip(files, content.values(), strict=True):
        torch.save(part, file)
    return files
