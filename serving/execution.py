"""How a model of the repository computes: what its Python code must know beside what clients may."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from i2i_rt.style import DRAWS_AT_ONCE

PARAMETER = "i2i_rt_execution"  # the key in config.pbtxt


@dataclass(frozen=True)
class Execution:
    """Where a model finds its bundle, and what runs the bundle's stages.

    Attributes:
        bundle: its folder; a relative one begins at the repository's.
        stages: what runs them: a session in the model's own process, or the server's models `<bundle>-<stage>`.
        backend, precision: of that session.
        threads: CPU threads that it computes with; None: the backend's own choice.
        cache_size: style codes that are kept.
        rows: that those models take at once, such as drawn codes for the mean of them.
        idle_s: seconds after which a stream that sends nothing is forgotten; as long an open one holds back the
            server's end.
        streams: that are open at once; more are refused.
    """

    bundle: str
    stages: Literal["session", "server"] = "session"
    backend: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    cache_size: int = 256
    rows: int = DRAWS_AT_ONCE
    idle_s: float = 5.0
    streams: int = 64

    def to_text(self) -> str:
        """Gives the value of the config's parameter."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Execution":
        return cls(**json.loads(text))
