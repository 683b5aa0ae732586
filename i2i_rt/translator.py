"""`Translator`: what people hold. Frames in, translated frames out, whatever runs below."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError, UnsupportedError
from i2i_rt.label_translator import LabelTranslator
from i2i_rt.runtime import backends
from i2i_rt.runtime.session import Session, zeros
from i2i_rt.spec import StageSpec
from i2i_rt.style import Style, StyleMaker, one_for_each

WARM_UP_RUNS = 2


class Translator:
    """Translates RGB frames with a session.

    with Translator.load("horse2zebra/") as translator:
        zebra = translator(horse)  # uint8 [H, W, 3] or [N, H, W, 3]

    Of a system with styles:

        ginger = translator.style(image=photograph, domain="cat")
        cat = translator(dog, style=ginger)

    Attributes:
        current_style: what translates when no style is given; at first the mean style, where the system has one.
    """

    def __init__(self, session: Session, reason: str = "", bundle: Bundle | None = None) -> None:
        self.session = session
        self.reason = reason
        self.bundle = bundle
        self.current_style: Style | None = None
        self._label_maps = LabelTranslator(session) if LabelTranslator.serves(session) else None

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        backend: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        build: bool = True,
        fused: backends.Fused = "auto",
        server: str | None = None,
    ) -> Self:
        """Opens a bundle in a backend; `auto` takes the fastest verified artifact that this machine can run.

        Args:
            path: the bundle's folder.
            backend: a name in `i2i_rt.runtime.backends.BACKENDS`, or "auto".
            precision: "fp32", "bf16", "fp16" or "auto".
            threads: CPU threads to compute with; by default the backend's own choice.
            build: whether a TensorRT engine that was built for another machine is built anew, which takes minutes.
            fused: "off" keeps PyTorch from the fused kernels, which "auto" uses where their tests pass.
            server: the address of a server that serves the bundle, such as `grpc://host:8001`; it translates then.

        Raises:
            BundleError: where the bundle cannot be read, or its system is no translation.
            UnsupportedError: where the backend or precision cannot be used here.
        """
        bundle = Bundle.open(path)
        if "translate" not in bundle.stages:
            raise UnsupportedError(f"{path} translates nothing; it has the stages {', '.join(bundle.stages)}")
        choice = replace(backends.choose(bundle, backend, precision, server=server), build=build, fused=fused)
        return cls(backends.open_session(bundle, choice, threads=threads), choice.reason, bundle)

    @property
    def description(self) -> str:
        """Says which backend runs, and why, in one line."""
        session = self.session
        return f"{session.backend} {session.precision} on {session.device} ({self.reason})"

    @cached_property
    def styles(self) -> StyleMaker:
        """What makes this model's styles.

        Raises:
            UnsupportedError: where its system has no style.
        """
        if self.bundle is None or self.bundle.style is None:
            raise UnsupportedError("this model has no style; a style can be given to systems such as StarGAN v2 only")
        return StyleMaker(self.bundle, self.session)

    @property
    def has_style(self) -> bool:
        """Says whether `translate` takes a style."""
        return any(tensor.name == "style" for tensor in self._spec.inputs)

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The height and width of frames that the model is bound to; None where it takes any."""
        return self._spec.fixed_size

    def fork(self) -> "Translator":
        """Gives a translator for another video in the same session, with a current style and label maps of its own."""
        other = Translator(self.session, self.reason, self.bundle)
        if self.bundle is not None and self.bundle.style is not None:
            other.styles = self.styles  # it knows the hash of the weights, which takes long to compute
        return other

    def style(self, *, image: np.ndarray | None = None, seed: int | None = None, domain: str | None = None) -> Style:
        """Makes a style: of a picture (RGB `[H, W, 3]`, uint8), drawn with a seed, or, given neither, the mean.

        Raises:
            UnsupportedError: where the system has no such style.
            I2IError: where the domain is missing or unknown; the sentence lists them.
        """
        if image is not None and seed is not None:
            raise I2IError("a style comes from a picture or from a seed, not from both")
        if image is not None:
            return self.styles.from_image(image, domain)
        return self.styles.mean(domain) if seed is None else self.styles.from_seed(seed, domain)

    def mix(self, a: Style, b: Style, share: float) -> Style:
        """Gives the style between two: `share` 0 is `a`, 1 is `b`."""
        return self.styles.mix(a, b, share)

    def __call__(
        self, frames: np.ndarray, style: Style | Sequence[Style] | None = None, *, edges: np.ndarray | None = None
    ) -> np.ndarray:
        """Translates uint8 RGB frames `[N, H, W, 3]`, or one frame `[H, W, 3]`, of any size.

        One style is for all frames; a sequence has one for each.

        A system that translates label maps takes `[N, H, W]` or `[H, W]` instead, and `edges` of the same shape where
        it knows instances (0 and 1; none by default).

        Raises:
            I2IError: where `frames` has another shape or dtype, or the style is of another model.
        """
        source = self._spec.inputs[0]
        rank = len(source.axes)
        if frames.ndim == rank - 1:
            result: np.ndarray = self(frames[None], style, edges=None if edges is None else edges[None])[0]
            return result
        if frames.ndim != rank or frames.dtype != np.uint8 or (rank == 4 and frames.shape[3] != 3):
            wanted = "RGB, [H, W, 3] or [N, H, W, 3]" if rank == 4 else "label maps, [H, W] or [N, H, W]"
            raise I2IError(f"{source.name} are {frames.dtype} {list(frames.shape)}; they must be uint8 {wanted}")
        inputs = {source.name: frames}
        if any(tensor.name == "edges" for tensor in self._spec.inputs):
            inputs["edges"] = np.zeros_like(frames) if edges is None else edges
        if self.has_style:
            inputs["style"] = self._codes(style, len(frames))
        elif style is not None:
            raise UnsupportedError("this model takes no style: its system has none, or one is baked into it")
        return self._run(inputs)

    def begin(
        self, frames: np.ndarray, style: Style | Sequence[Style] | None = None
    ) -> np.ndarray | Future[np.ndarray]:
        """Begins to translate; gives the frames, or their future where the session works on several at once."""
        workers = self.session.workers
        if workers is None:
            return self(frames, style)
        # the style is that of now, whatever is current when the frames' turn comes
        style = self._current() if style is None and self.has_style else style
        return workers.submit(self, frames, style)

    def _run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        if self._label_maps is not None:
            return self._label_maps(inputs)
        return self.session.run("translate", inputs)["translated"]

    @property
    def _spec(self) -> StageSpec:
        return self.session.stages["translate"]

    def _codes(self, style: Style | Sequence[Style] | None, count: int) -> np.ndarray:
        """Gives the codes of `count` frames, `[N, S]`."""
        if style is None:
            style = self._current()
        styles = one_for_each(style, count)
        for one in styles:
            self.styles.check(one)
        return np.stack([one.code for one in styles])

    def _current(self) -> Style:
        if self.current_style is None:
            self.current_style = self.style()
        return self.current_style

    def warm_up(self, height: int, width: int, *, batch: int = 1) -> None:
        """Pays first-run costs for frames of this size now, so that the first real frame does not."""
        inputs = zeros(self._spec, {"N": batch, "H": height, "W": width})
        for _ in range(WARM_UP_RUNS):
            self._run(inputs)

    def close(self) -> None:
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
