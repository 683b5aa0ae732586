"""`Client` and `AsyncClient`: the models of a server as functions on arrays."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Self, TypeVar

import numpy as np

from i2i_rt.serving.client.address import Address, Tls
from i2i_rt.serving.client.calls import Answer
from i2i_rt.serving.client.connection import connect, connect_async
from i2i_rt.serving.client.retry import Retry
from i2i_rt.serving.client.steps import (
    DEADLINE_S,
    Exchange,
    Pause,
    Requests,
    ServedStyle,
    SharedMemory,
    Steps,
    StyleRequest,
)
from i2i_rt.serving.client.stream import AsyncStream, Frames, Stream
from i2i_rt.serving.errors import ServingError
from i2i_rt.serving.keys import find_key
from i2i_rt.serving.served import ServedModel
from i2i_rt.style import Style

T = TypeVar("T")
StyleLike = Style | np.ndarray | Sequence[Style]  # a code `[S]`, codes `[N, S]`, or styles


class _Settings:
    """What both clients take, and keep.

    Attributes:
        address: of the server.
    """

    def __init__(
        self,
        url: str,
        *,
        bundle: str | None = None,
        deadline_s: float = DEADLINE_S,
        retry: Retry | None = None,
        shared_memory: SharedMemory = "auto",
        key: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        """Connects when first used.

        Args:
            url: `grpc://host:8001`, `http://host:8000`, `grpcs://…` or `https://…`.
            bundle: the name of the bundle on the server; needed where it has several.
            deadline_s: how long a call may take, with all that is asked again; each call can have its own.
            retry: what is asked again; by default what is safe.
            shared_memory: "auto" sends large tensors through shared memory where the server is on this host and was
                started by this user; "on" tries it in any case, "off" never does.
            key: opens the server's restricted calls; by default that of this user's server on this host.
            tls: the files of an encrypted connection.

        Raises:
            I2IError: where the address is none.
            MissingDependencyError: where tritonclient is not installed.
        """
        self.address = Address.parse(url)
        if key is None and self.address.is_loopback and self.address.is_grpc:
            key = find_key(self.address.port)
        shared = shared_memory == "on" or (shared_memory == "auto" and key is not None and self.address.is_loopback)
        self._key, self._tls = key, tls or Tls()
        self._requests = Requests(bundle, deadline_s, retry or Retry(), shared=shared)
        self._open()

    @property
    def bundle(self) -> str | None:
        """The name of the bundle on the server that is meant; None where the server has only one."""
        return self._requests.bundle

    @bundle.setter
    def bundle(self, name: str | None) -> None:
        self._requests.bundle = name

    def _open(self) -> None:
        raise NotImplementedError


class Client(_Settings):
    """Talks to a server from threads; one client serves several at once. A context manager.

    with Client("grpc://localhost:8001") as client:
        zebra = client.translate(horse)  # uint8 [H, W, 3] or [N, H, W, 3]

    Methods raise `i2i_rt.serving.errors.ServingError` where the server gives no result, and take `deadline_s` in
    place of the client's own.
    """

    def _open(self) -> None:
        self._connection = connect(self.address, self._key, self._tls)

    def models(self) -> tuple[ServedModel, ...]:
        """Gives the server's models, those of other bundles among them."""
        return self._run(self._requests.models())

    def is_ready(self, model: str | None = None) -> bool:
        """Says whether a model, or the server, is ready; a server that cannot be reached is not."""
        return self._run(self._requests.is_ready(model))

    def translate(
        self,
        frames: np.ndarray,
        style: StyleLike | None = None,
        *,
        edges: np.ndarray | None = None,
        deadline_s: float | None = None,
    ) -> np.ndarray:
        """Translates uint8 RGB frames `[N, H, W, 3]`, or one frame `[H, W, 3]`, of any size and number.

        A system with styles takes one for all frames or one for each; by default it is the mean. A system that
        translates label maps takes `[N, H, W]` or `[H, W]`, and `edges` of the same shape.

        Raises:
            I2IError: where `frames` has another shape or dtype, or the style is of another model.
        """
        return self._run(self._requests.translate(frames, style, edges, deadline_s))

    def style(
        self,
        *,
        image: np.ndarray | None = None,
        seed: int | None = None,
        domain: str | None = None,
        deadline_s: float | None = None,
    ) -> ServedStyle:
        """Gives a style: of a picture (RGB `[H, W, 3]`, uint8), drawn with a seed, or, given neither, the mean.

        Raises:
            I2IError: where the domain is missing or unknown; the sentence lists them.
        """
        return self._run(self._requests.style(StyleRequest(image, seed, domain), deadline_s))

    def pipeline(
        self,
        frames: np.ndarray,
        *,
        edges: np.ndarray | None = None,
        style_id: int | None = None,
        image: np.ndarray | None = None,
        seed: int | None = None,
        domain: str | None = None,
        deadline_s: float | None = None,
    ) -> tuple[np.ndarray, int]:
        """Translates frames in a style that the server makes and keeps; gives the result and the style's id.

        The style is that of `style_id`, or as `style` makes it.

        Raises:
            NotFound: where the server no longer has the style of `style_id`; make it again.
        """
        wanted = StyleRequest(image, seed, domain)
        return self._run(self._requests.pipeline(frames, edges, style_id, wanted, deadline_s))

    def stream(
        self,
        *,
        style: StyleLike | None = None,
        image: np.ndarray | None = None,
        seed: int | None = None,
        domain: str | None = None,
        momentum: float | None = None,
    ) -> Stream:
        """Begins a video stream, whose state the server keeps: a context manager that translates frame by frame.

        with client.stream(seed=7) as stream:
            for frame in video:
                show(stream(frame))

        Args:
            style: of all its frames; or made by the server of `image` or `seed`, as `style()` does.
            image: see `style`.
            seed: see `style`.
            domain: see `style`.
            momentum: the share of the earlier frames in the statistics of normalisation; None: frames by themselves.
        """
        frames = Frames(self._requests, style, StyleRequest(image, seed, domain), momentum)
        return Stream(self._run, frames)

    def image(self, content: bytes, *, deadline_s: float | None = None) -> bytes:
        """Translates the bytes of a JPEG, PNG or WebP file into those of such a file."""
        return self._run(self._requests.image(content, deadline_s))

    def infer(
        self, model: str, inputs: Mapping[str, np.ndarray], *, deadline_s: float | None = None
    ) -> dict[str, np.ndarray]:
        """Runs a model of the server on tensors as they are."""
        return self._run(self._requests.infer(model, inputs, deadline_s))

    def run_stage(
        self, served: ServedModel, inputs: Mapping[str, np.ndarray], *, deadline_s: float | None = None
    ) -> dict[str, np.ndarray]:
        """Runs a model of the kind "stage" on inputs of any size and any number of frames."""
        return self._run(self._requests.run_stage(served, inputs, deadline_s))

    def close(self) -> None:
        """Ends the connection, and gives shared memory back."""
        self._run(self._requests.close())
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, steps: Steps[T]) -> T:
        answer: Answer = None
        failure: ServingError | None = None
        try:
            while True:
                step = steps.send(answer) if failure is None else steps.throw(failure)
                answer, failure = None, None
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    continue
                assert isinstance(step, Exchange)
                try:
                    answer = self._connection.call(step.call, step.timeout_s)
                except ServingError as error:
                    failure = error
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()


class AsyncClient(_Settings):
    """`Client` for asyncio: the same methods, to be awaited. An asynchronous context manager.

    async with AsyncClient("grpc://localhost:8001") as client:
        zebra = await client.translate(horse)

    A task that is cancelled cancels its request.
    """

    def _open(self) -> None:
        self._connection = connect_async(self.address, self._key, self._tls)

    async def models(self) -> tuple[ServedModel, ...]:
        return await self._run(self._requests.models())

    async def is_ready(self, model: str | None = None) -> bool:
        return await self._run(self._requests.is_ready(model))

    async def translate(
        self,
        frames: np.ndarray,
        style: StyleLike | None = None,
        *,
        edges: np.ndarray | None = None,
        deadline_s: float | None = None,
    ) -> np.ndarray:
        return await self._run(self._requests.translate(frames, style, edges, deadline_s))

    async def style(
        self,
        *,
        image: np.ndarray | None = None,
        seed: int | None = None,
        domain: str | None = None,
        deadline_s: float | None = None,
    ) -> ServedStyle:
        return await self._run(self._requests.style(StyleRequest(image, seed, domain), deadline_s))

    async def pipeline(
        self,
        frames: np.ndarray,
        *,
        edges: np.ndarray | None = None,
        style_id: int | None = None,
        image: np.ndarray | None = None,
        seed: int | None = None,
        domain: str | None = None,
        deadline_s: float | None = None,
    ) -> tuple[np.ndarray, int]:
        wanted = StyleRequest(image, seed, domain)
        return await self._run(self._requests.pipeline(frames, edges, style_id, wanted, deadline_s))

    def stream(
        self,
        *,
        style: StyleLike | None = None,
        image: np.ndarray | None = None,
        seed: int | None = None,
        domain: str | None = None,
        momentum: float | None = None,
    ) -> AsyncStream:
        frames = Frames(self._requests, style, StyleRequest(image, seed, domain), momentum)
        return AsyncStream(self._run, frames)

    async def image(self, content: bytes, *, deadline_s: float | None = None) -> bytes:
        return await self._run(self._requests.image(content, deadline_s))

    async def infer(
        self, model: str, inputs: Mapping[str, np.ndarray], *, deadline_s: float | None = None
    ) -> dict[str, np.ndarray]:
        return await self._run(self._requests.infer(model, inputs, deadline_s))

    async def close(self) -> None:
        await self._run(self._requests.close())
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, steps: Steps[T]) -> T:
        answer: Answer = None
        failure: ServingError | None = None
        try:
            while True:
                step = steps.send(answer) if failure is None else steps.throw(failure)
                answer, failure = None, None
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    continue
                assert isinstance(step, Exchange)
                try:
                    answer = await self._connection.call(step.call, step.timeout_s)
                except ServingError as error:
                    failure = error
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()
