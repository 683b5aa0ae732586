"""What is known of the server and its models, by those who ask them: the truth behind every answer about health."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

# waiting: not asked since the server started; absent: unloaded by the administrator
State = Literal["waiting", "good", "bad", "absent"]

HOPELESS_S = 300.0  # without a server, while it was started again and again


@dataclass
class ModelHealth:
    """One model, as its canary found it.

    Attributes:
        reason: what is wrong with it.
        answered: when it last answered somebody, on the monotonic clock.
        canaries, failures: how many were sent, and how many came back wrong or not at all.
        seconds: that the last one took.
    """

    state: State = "waiting"
    reason: str = "it has not answered yet"
    answered: float = 0.0
    canaries: int = 0
    failures: int = 0
    seconds: float = 0.0

    def seen(self) -> None:
        """Says that it answered somebody just now."""
        self.answered = time.monotonic()

    def good(self) -> None:
        self.state, self.reason = "good", ""
        self.seen()

    def bad(self, reason: str) -> None:
        self.state, self.reason = "bad", reason


@dataclass
class Health:
    """The server and all its models.

    Attributes:
        models: by name.
        is_up: whether there is a server that takes requests; `went_up` and `went_down` set it.
        is_draining: whether the end has begun: no new request is taken.
        restarts: how often the server was started again.
        judge: sends the canaries of models, by their names, and returns when they have come back.
        suspect: is called where a model's answer looks like its end; its canary is then sent at once.
    """

    models: dict[str, ModelHealth]
    is_up: bool = False
    down_since: float | None = None  # on the monotonic clock; None while it is up, and before it first was
    is_draining: bool = False
    restarts: int = 0
    judge: Callable[[Iterable[str]], Awaitable[None]] = field(default=lambda names: asyncio.sleep(0))
    suspect: Callable[[str], None] = field(default=lambda model: None)

    @classmethod
    def of(cls, names: Iterable[str]) -> "Health":
        return cls({name: ModelHealth() for name in names})

    def went_up(self) -> None:
        self.is_up, self.down_since = True, None

    def went_down(self) -> None:
        self.is_up, self.down_since = False, time.monotonic()

    @property
    def is_live(self) -> bool:
        """Whether there is hope without a restart of everything: the server did not stay away for too long."""
        return self.down_since is None or time.monotonic() - self.down_since < HOPELESS_S

    @property
    def is_ready(self) -> bool:
        """Whether every model that is loaded answers right."""
        return self.takes_requests and all(model.state in ("good", "absent") for model in self.models.values())

    @property
    def takes_requests(self) -> bool:
        return self.is_up and not self.is_draining

    def is_model_ready(self, name: str) -> bool:
        return self.takes_requests and name in self.models and self.models[name].state == "good"
