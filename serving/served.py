"""What a client, and what stands in front of the server, must know of a model; kept in the model's own config."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from i2i_rt.serving.limits import Limits
from i2i_rt.spec import LabelInfo, StageSpec, StyleInfo

# stage: one of the bundle's graphs, batch and all; the others are described in docs/serving.md
Kind = Literal["stage", "style", "pipeline", "stream", "image"]
PARAMETER = "i2i_rt"  # the key in config.pbtxt


@dataclass(frozen=True)
class ServedModel:
    """One model of the server's repository.

    Attributes:
        name: in the repository: `<bundle>-<stage or kind>`.
        kind: what it does.
        bundle: the name of the bundle that it is of.
        system, weights_sha256: of that bundle.
        precision: what it computes in.
        spec: its inputs and outputs; with the batch axis N where it takes batches.
        limits: what it refuses.
        optional: names of inputs that may be left out.
        style, labels: of the bundle.
    """

    name: str
    kind: Kind
    bundle: str
    system: str
    weights_sha256: str
    precision: str
    spec: StageSpec
    limits: Limits
    optional: tuple[str, ...] = ()
    style: StyleInfo | None = None
    labels: LabelInfo | None = None

    def to_text(self) -> str:
        """Gives the value of the config's parameter `i2i_rt`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "ServedModel":
        data: dict[str, Any] = json.loads(text)
        data["spec"] = StageSpec.from_json(data["spec"])
        data["optional"] = tuple(data["optional"])
        data["limits"] = Limits(**data["limits"])
        data["style"] = StyleInfo.from_json(data["style"]) if data["style"] else None
        data["labels"] = LabelInfo.from_json(data["labels"]) if data["labels"] else None
        return cls(**data)
