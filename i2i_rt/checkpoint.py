"""Reads official checkpoints: containers safely, then the network from key names and shapes alone."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from i2i_rt.bundle import Network
from i2i_rt.errors import CheckpointError
from i2i_rt.models import patch_sampler, patchgan, resnet, sincut, unet
from i2i_rt.models.table import build
from i2i_rt.official import noted, official_name

READERS = {
    "resnet-generator": resnet.read_official,
    "unet-generator": unet.read_official,
    "patch-discriminator": patchgan.read_official,
    "patch-sampler": patch_sampler.read_official,
    "sincut-generator": sincut.read_official_generator,
    "sincut-discriminator": sincut.read_official_discriminator,
}

# Training scripts keep a loss or a learning rate beside the weights as a NumPy number; reading one runs no code.
# NumPy 2 renamed the module that the file names.
_SCALAR = np.float32(0).__reduce__()[0]
NUMPY_NUMBERS: list[Any] = [
    np.dtype,
    *{type(np.dtype(code)) for code in "?bhilqBHILQefd"},
    *((_SCALAR, f"numpy.{module}.multiarray.scalar") for module in ("core", "_core")),
]


@dataclass(frozen=True)
class OfficialNetwork:
    """A network that was found in an official checkpoint, and what had to be left out of the file."""

    network: Network
    state: Mapping[str, Tensor]
    notes: tuple[str, ...]

    def build(self, **changes: Any) -> nn.Module:
        """Makes the network with the checkpoint's weights; `changes` replace fields of the config.

        Raises:
            CheckpointError: where weights are missing, left over, or of the wrong shape.
        """
        module = build(Network(self.network.kind, {**self.network.config, **changes}))
        own = module.state_dict()
        require_fit(own, self.state, f"the checkpoint is not a complete {self.network.kind}")
        module.load_state_dict({**own, **self.state})
        return module.eval()


def require_fit(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], sentence: str) -> None:
    """Compares an official file's weights, already under our names, with a network's own state dict.

    Files older than PyTorch 0.4.1 have no `num_batches_tracked`, which nothing reads.

    Raises:
        CheckpointError: where keys are missing or left over, or a shape differs: `sentence`, and the first ones by
            the file's own keys.
    """
    problems = []
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    extra = [key for key in weights if key not in own]
    if missing:
        problems.append(f"it lacks {_first(missing, weights)}")
    if extra:
        problems.append(f"it has {_first(extra, weights)} too many")
    for key in own:
        if key in weights and own[key].shape != weights[key].shape:
            found, needed = list(weights[key].shape), list(own[key].shape)
            problems.append(f"{official_name(key, weights)!r} has shape {found} where {needed} is needed")
            break
    if problems:
        raise CheckpointError(f"{sentence}: {'; '.join(problems)}")


def require_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Raises `CheckpointError` where a weight is not finite; it names the first one by the file's own key."""
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"{source} has NaN or infinite values in {official_name(key, weights)!r}")


def _first(keys: Sequence[str], weights: Mapping[str, Tensor], count: int = 3) -> str:
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(repr(official_name(key, weights)) for key in keys[:count]) + more


def read_state(file: str | Path) -> dict[str, Tensor]:
    """Reads a `.pth` or `.safetensors` file as a flat state dict, without `module.` prefixes; runs none of its code.

    Raises:
        CheckpointError: where the file is missing, damaged, holds code, or holds no tensors.
    """
    content = _open(Path(file))
    state = _flat(content)
    if not state:
        several = ", ".join(map(repr, list(_tensors_of(content))[:5]))
        raise CheckpointError(f"{file} holds no tensors" + (f" of one network alone, but {several}" if several else ""))
    return state


def _open(file: Path) -> Any:
    """Opens a file of tensors read-only; large ones are mapped, not read."""
    if not file.is_file():
        raise CheckpointError(f"there is no checkpoint file at {file}")
    if file.stat().st_size == 0:
        raise CheckpointError(f"{file} is empty")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings():
            # of pickle protocols that torch does not expect: what cannot be read is told below
            warnings.simplefilter("ignore")
            # files of PyTorch before 1.6 are no zip archives, and cannot be mapped
            with torch.serialization.safe_globals(NUMPY_NUMBERS):
                return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except SafetensorError as error:
        raise CheckpointError(f"{file} is no complete safetensors file: {error}") from error
    # a damaged file can fail anywhere inside the unpickler, with any exception
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise CheckpointError(
                f"{file} holds more than tensors and could run code, so it was not opened; "
                "save its state dict alone: torch.save(network.state_dict(), file)"
            ) from error
        raise CheckpointError(f"{file} is damaged, truncated or no PyTorch checkpoint") from error


def read_nested(file: str | Path) -> dict[str, Any]:
    """Reads a file of several networks: nested dicts as in the file, of tensors only, without `module.` prefixes.

    Raises:
        CheckpointError: as `read_state`.
    """
    content = _tensors_of(_open(Path(file)))
    if not content:
        raise CheckpointError(f"{file} holds no tensors")
    return content


def _tensors_of(content: Any) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in content.items() if isinstance(content, Mapping) else ():
        inner = value if isinstance(value, Tensor) else _tensors_of(value)
        if isinstance(inner, Tensor) or inner:
            kept[re.sub(r"^(module\.)+", "", str(key))] = noted(inner, str(key)) if isinstance(inner, Tensor) else inner
    return kept


def _flat(content: Any) -> dict[str, Tensor]:
    """Unwraps `{"state_dict": {…}}` and the like where a single dict of tensors lies inside."""
    while isinstance(content, Mapping) and not any(isinstance(value, Tensor) for value in content.values()):
        inner = [value for value in content.values() if isinstance(value, Mapping)]
        if len(inner) != 1:
            return {}
        content = inner[0]
    if not isinstance(content, Mapping):
        return {}
    tensors = {str(key): noted(value, str(key)) for key, value in content.items() if isinstance(value, Tensor)}
    return {re.sub(r"^(module\.)+", "", key): tensor for key, tensor in tensors.items()}


def identify(state: Mapping[str, Tensor], source: str = "the checkpoint") -> OfficialNetwork:
    """Finds which network a flat official state dict belongs to, from its keys and shapes.

    Raises:
        CheckpointError: where no known network has such keys, or values are not finite.
    """
    for kind, read in READERS.items():
        try:
            found = read(state)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{source} looks like a {kind} but is not complete: {error} is missing") from error
        if found is None:
            continue
        config, weights = found
        require_finite(weights, source)
        notes = []
        if any(key.endswith("running_mean") for key in state) and not any(
            key.endswith("running_mean") for key in weights
        ):
            notes.append("stored statistics of instance norm were left out, as the official loader does")
        weights = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
        return OfficialNetwork(Network(kind, vars(config)), weights, tuple(notes))
    keys = ", ".join(list(state)[:3])
    raise CheckpointError(
        f"{source} is of no network that is known here (its keys begin with {keys}); known: {', '.join(READERS)}"
    )
