"""`Translator`: what people hold. Frames in, translated frames out, whatever runs below."""

from pathlib import Path
from typing import Self

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError
from i2i_rt.runtime import backends
from i2i_rt.runtime.session import Session


class Translator:
    """Translates RGB frames with a session.

    with Translator.load("horse2zebra/") as translator:
        zebra = translator(horse)  # uint8 [H, W, 3] or [N, H, W, 3]
    """

    def __init__(self, session: Session, reason: str = "") -> None:
        self.session = session
        self.reason = reason

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        backend: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
    ) -> Self:
        """Opens a bundle in a backend; `auto` takes the fastest verified artifact that this machine can run.

        Raises:
            BundleError: where the bundle cannot be read.
            UnsupportedError: where the backend or precision cannot be used here.
        """
        bundle = Bundle.open(path)
        choice = backends.choose(bundle, backend, precision)
        return cls(backends.open_session(bundle, choice, threads=threads), choice.reason)

    @property
    def description(self) -> str:
        """Says which backend runs, and why, in one line."""
        session = self.session
        return f"{session.backend} {session.precision} on {session.device} ({self.reason})"

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Translates uint8 RGB frames `[N, H, W, 3]`, or one frame `[H, W, 3]`, of any size.

        Raises:
            I2IError: where `frames` has another shape or dtype.
        """
        if frames.ndim == 3:
            result: np.ndarray = self(frames[None])[0]
            return result
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
            raise I2IError(
                f"frames are {frames.dtype} {list(frames.shape)}; they must be uint8 RGB, [H, W, 3] or [N, H, W, 3]"
            )
        return self.session.run("translate", {"frames": frames})["translated"]

    def warm_up(self, height: int, width: int, *, batch: int = 1) -> None:
        """Pays first-run costs for frames of this size now, so that the first real frame does not."""
        self.session.warm_up(height, width, batch=batch)

    def close(self) -> None:
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
