"""What every importer takes and gives: official files and options in, networks and their description out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from i2i_rt.checkpoint import require_finite, require_fit
from i2i_rt.errors import CheckpointError, I2IError, closest
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import LabelInfo, StyleInfo


@dataclass(frozen=True)
class Imported:
    """A system as it was found in official files.

    Attributes:
        networks: by the names under which the system's stages ask for them; built, with weights, in `eval` mode.
        notes: what a user should know: what was left out, what is done in another way.
        preprocessing: what the official test script does to a picture.
        style, labels: of systems that have them.
        files: that were read, where what was given only leads to them, as the folder of a TensorFlow checkpoint does.
    """

    networks: Mapping[str, nn.Module]
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    style: StyleInfo | None = None
    labels: LabelInfo | None = None
    files: tuple[Path, ...] = ()


class Options:
    """What keys and shapes do not tell: from `--set NAME=VALUE`, else from the official options file.

    An importer asks by the official option's name; the CLI's words win over the file's.
    """

    def __init__(self, given: Mapping[str, str] | None = None, file: Mapping[str, str] | None = None) -> None:
        self._given, self._file = dict(given or {}), dict(file or {})
        self._asked: set[str] = set()

    def text(self, name: str, default: str | None = None) -> str:
        """Gives an option's text.

        Raises:
            CheckpointError: where it is neither given nor has a default; the sentence names the flag.
        """
        self._asked.add(name)
        value = self._given.get(name, self._file.get(name, default))
        if value is None:
            raise CheckpointError(
                f"the checkpoint alone does not tell {name!r}: add --set {name}=…, or --options with the options file "
                "that the official code saved beside it"
            )
        return value

    def number(self, name: str, default: float | None = None) -> float:
        text = self.text(name, None if default is None else str(default))
        try:
            return float(text)
        except ValueError as error:
            raise I2IError(f"{name} is {text!r}; it must be a number") from error

    def integer(self, name: str, default: int | None = None) -> int:
        value = self.number(name, default)
        if value != int(value):
            raise I2IError(f"{name} is {value}; it must be a whole number")
        return int(value)

    def flag(self, name: str, *, default: bool = False) -> bool:
        text = self.text(name, str(default)).lower()
        if text not in ("true", "false", "1", "0", "yes", "no"):
            raise I2IError(f"{name} is {text!r}; it must be true or false")
        return text in ("true", "1", "yes")

    def names(self, name: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """Gives a list of names, separated by commas."""
        text = self.text(name, None if default is None else ",".join(default))
        return tuple(part.strip() for part in text.split(",") if part.strip())

    def refuse_unknown(self, system: str) -> None:
        """Raises `I2IError` where something was given that the importer did not ask for."""
        for name in self._given:
            if name not in self._asked:
                known = closest(name, sorted(self._asked)) if self._asked else "it has none"
                raise I2IError(f"--set {name}: {system} has no such option; {known}")


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> nn.Module:
    """Puts an official file's weights, already under our names, into a network, and switches it to `eval` mode.

    Raises:
        CheckpointError: where keys are missing or left over, a shape differs, or a value is not finite; it names the
            first ones.
    """
    own = module.state_dict()
    require_fit(own, weights, f"{source} does not fit {type(module).__name__}")
    require_finite(weights, source)
    state = {key: weights.get(key, tensor) for key, tensor in own.items()}
    state = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def require_frames(in_channels: int, out_channels: int) -> None:
    """Raises `CheckpointError` where a translation does not take and make frames, which have three channels."""
    if (in_channels, out_channels) != (3, 3):
        raise CheckpointError(
            f"the network makes pictures of {out_channels} channels from {in_channels}; frames have 3, and no others "
            "can be imported"
        )


def groups_of(content: Mapping[str, object], wanted: Sequence[str], source: str) -> dict[str, Mapping[str, Tensor]]:
    """Picks the state dicts of several networks out of `checkpoint.read_nested`.

    Raises:
        CheckpointError: where one is not there.
    """
    found: dict[str, Mapping[str, Tensor]] = {}
    for name in wanted:
        group = content.get(name)
        if not isinstance(group, Mapping):
            raise CheckpointError(f"{source} has no {name!r}; it has {', '.join(map(repr, list(content)[:5]))}")
        found[name] = group
    return found
