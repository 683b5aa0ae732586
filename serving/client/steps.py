"""What a client does, as generators that yield calls and pauses: one way of doing it for threads and for asyncio.

A generator yields an `Exchange`, gets its answer (or the error is raised inside it), and returns the result.
"""

import contextlib
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, cast

import numpy as np

from i2i_rt.errors import I2IError, UnsupportedError, closest
from i2i_rt.runtime.session import check, cropped, padded
from i2i_rt.serving.client import shared_memory
from i2i_rt.serving.client.calls import (
    Answer,
    Call,
    GetConfig,
    Infer,
    IsReady,
    ListModels,
    ListRegions,
    MapRegion,
    Place,
    UnmapRegion,
)
from i2i_rt.serving.client.retry import Retry
from i2i_rt.serving.datatypes import DATATYPES
from i2i_rt.serving.errors import Busy, DeadlineExceeded, NotFound, Refused, ServingError, StreamLost, Unreachable
from i2i_rt.serving.served import PARAMETER, Kind, ServedModel
from i2i_rt.spec import StageSpec, TensorSpec
from i2i_rt.style import Style, domain_index, one_for_each

DEADLINE_S = 30.0
# Below this many bytes in and out, a request and its answer are quicker by themselves than through shared memory.
SHARED_MEMORY_BYTES = 2**17
UNMAP_S = 2.0  # that letting go of shared memory may take

SharedMemory = Literal["auto", "on", "off"]
T = TypeVar("T")


@dataclass(frozen=True)
class Exchange:
    """A call that is to be made now, and the seconds that it may take."""

    call: Call
    timeout_s: float


@dataclass(frozen=True)
class Pause:
    seconds: float


Steps = Generator[Exchange | Pause, Answer, T]


@dataclass(frozen=True)
class ServedStyle(Style):
    """A style that a server made.

    Attributes:
        style_id: by which the server's pipeline knows it, as long as it is in its cache.
    """

    style_id: int = 0


@dataclass(frozen=True)
class StyleRequest:
    """Which style is wanted: of a picture, RGB `[H, W, 3]` uint8, drawn with a seed, or, given neither, the mean."""

    image: np.ndarray | None = None
    seed: int | None = None
    domain: str | None = None

    def inputs(self, served: ServedModel) -> dict[str, np.ndarray]:
        """Gives the inputs of a served model that takes styles.

        Raises:
            I2IError: where both are given, or the domain is missing or unknown.
        """
        if self.image is not None and self.seed is not None:
            raise I2IError("a style comes from a picture or from a seed, not from both")
        inputs = {}
        if self.image is not None:
            inputs["reference"] = self.image
        if self.seed is not None:
            inputs["seed"] = np.array([self.seed], np.int64)
        if self.domain is not None and served.style is not None:
            inputs["domain"] = np.array([domain_index(served.style, self.domain)], np.int64)
        return inputs


class Requests:
    """What a client asks, and what it keeps: which models there are, and its shared memory."""

    def __init__(self, bundle: str | None, deadline_s: float, retry: Retry, *, shared: bool) -> None:
        """`shared`: whether large tensors go through shared memory, if the server takes it."""
        self.bundle, self._deadline_s, self._retry = bundle, deadline_s, retry
        self._pool = shared_memory.Pool()
        self._pool.is_open = shared
        self._swept = False
        self._known = False  # whether the server ever answered
        self._models: tuple[ServedModel, ...] | None = None
        self._mean: Style | None = None

    # what is asked

    def is_ready(self, model: str | None) -> Steps[bool]:
        try:
            return cast(bool, (yield Exchange(IsReady(model), self._deadline_s)))
        except (Unreachable, Busy, NotFound, DeadlineExceeded):
            return False

    def models(self) -> Steps[tuple[ServedModel, ...]]:
        end = self._end(None)
        names = cast(list[str], (yield from self._patient(ListModels(), end)))
        found = []
        for name in sorted(names):
            parameters = cast(dict[str, str], (yield from self._patient(GetConfig(name), end)))
            if PARAMETER in parameters:
                found.append(ServedModel.from_text(parameters[PARAMETER]))
        self._models = tuple(found)
        return self._models

    def translate(
        self,
        frames: np.ndarray,
        style: Style | np.ndarray | Sequence[Style] | None,
        edges: np.ndarray | None,
        deadline_s: float | None,
    ) -> Steps[np.ndarray]:
        end = self._end(deadline_s)
        served = yield from self.stage("translate", end)
        source = served.spec.inputs[0]
        if frames.ndim == len(source.axes) - 1:
            edges = None if edges is None else edges[None]
            result: np.ndarray = (yield from self.translate(frames[None], style, edges, end - _now()))[0]
            return result
        inputs = {source.name: frames}
        names = {tensor.name for tensor in served.spec.inputs}
        if "edges" in names:
            inputs["edges"] = np.zeros_like(frames) if edges is None else edges
        elif edges is not None:
            raise UnsupportedError(f"{served.name} knows no edges; leave them out")
        if "style" in names:
            inputs["style"] = yield from self._codes(served, style, len(frames), end)
        elif style is not None:
            raise UnsupportedError(f"{served.name} takes no style: its system has none, or one is baked into it")
        outputs = yield from self.run_stage(served, inputs, end - _now())
        return outputs["translated"]

    def style(self, wanted: StyleRequest, deadline_s: float | None) -> Steps[ServedStyle]:
        end = self._end(deadline_s)
        served = yield from self._find("style", end)
        outputs = yield from self._infer(Infer(served.name, wanted.inputs(served)), end)
        return ServedStyle(
            code=outputs["style"].reshape(-1),
            system=served.system,
            weights_sha256=served.weights_sha256,
            origin=_origin(wanted),
            style_id=int(outputs["style_id"][0]),
        )

    def pipeline(
        self,
        frames: np.ndarray,
        edges: np.ndarray | None,
        style_id: int | None,
        wanted: StyleRequest,
        deadline_s: float | None,
    ) -> Steps[tuple[np.ndarray, int]]:
        end = self._end(deadline_s)
        served = yield from self._find("pipeline", end)
        source = served.spec.inputs[0]
        if frames.ndim == len(source.axes) - 1:
            edges = None if edges is None else edges[None]
            translated, made = yield from self.pipeline(frames[None], edges, style_id, wanted, end - _now())
            return translated[0], made
        if style_id is not None and wanted != StyleRequest():
            raise I2IError("the pipeline takes the id of a style, or what it makes one of, not both")
        styled = wanted.inputs(served)
        parts = []
        for begin in range(0, max(len(frames), 1), served.limits.batch):
            some = slice(begin, begin + served.limits.batch)
            inputs = {source.name: frames[some], **styled}
            if edges is not None:
                inputs["edges"] = edges[some]
            if style_id is not None:
                inputs["style_id"] = np.array([style_id], np.int64)
            size = _picture_bytes(inputs[source.name], source)
            outputs = yield from self._infer(Infer(served.name, inputs), end, {"translated": size, "style_id": 8})
            parts.append(outputs["translated"])
            style_id, styled = int(outputs["style_id"][0]), {}  # the frames that follow are of the same style
        assert style_id is not None
        return np.concatenate(parts) if len(parts) > 1 else parts[0], style_id

    def image(self, content: bytes, deadline_s: float | None) -> Steps[bytes]:
        end = self._end(deadline_s)
        served = yield from self._find("image", end)
        (name,) = (tensor.name for tensor in served.spec.inputs)
        outputs = yield from self._infer(Infer(served.name, {name: np.frombuffer(content, np.uint8)}), end)
        return outputs["translated"].tobytes()

    def infer(
        self, model: str, inputs: Mapping[str, np.ndarray], deadline_s: float | None
    ) -> Steps[dict[str, np.ndarray]]:
        return (yield from self._infer(Infer(model, inputs), self._end(deadline_s)))

    def stream_model(self) -> Steps[ServedModel]:
        return (yield from self._find("stream", self._end(None)))

    def stream_frame(
        self, served: ServedModel, inputs: Mapping[str, np.ndarray], place: Place, deadline_s: float | None
    ) -> Steps[np.ndarray]:
        source = served.spec.inputs[0]
        sizes = {"translated": _picture_bytes(inputs[source.name], source)}
        try:
            outputs = yield from self._infer(Infer(served.name, inputs, place), self._end(deadline_s), sizes)
        except Refused as error:
            if not place.start and "equence" in str(error):  # Triton's words of a sequence that it does not know
                raise StreamLost(f"the server has lost this video stream; begin another one ({error})") from None
            raise
        return outputs["translated"]

    def run_stage(
        self, served: ServedModel, inputs: Mapping[str, np.ndarray], deadline_s: float | None
    ) -> Steps[dict[str, np.ndarray]]:
        """Runs a stage on inputs of any size and any number of frames."""
        end = self._end(deadline_s)
        spec = served.spec
        sizes = check(spec, inputs)
        fitted = padded(spec, inputs)
        count = sizes.get("N", 1)
        parts = []
        for begin in range(0, count, served.limits.batch):
            piece = {
                tensor.name: fitted[tensor.name][begin : begin + served.limits.batch]
                if tensor.axes[0].name == "N"
                else fitted[tensor.name]
                for tensor in spec.inputs
            }
            parts.append((yield from self._infer(Infer(served.name, piece), end, _output_sizes(spec, piece))))
        outputs = {
            tensor.name: np.concatenate([part[tensor.name] for part in parts])
            if len(parts) > 1
            else parts[0][tensor.name]
            for tensor in spec.outputs
        }
        return cropped(spec, sizes, outputs)

    def close(self) -> Steps[None]:
        for name in self._pool.shut():
            try:
                yield Exchange(UnmapRegion(name), UNMAP_S)
            except ServingError:
                break  # the server has gone, and the memory with it

    # which models there are

    def stage(self, name: str, end: float) -> Steps[ServedModel]:
        """Finds a stage of the bundle.

        Raises:
            UnsupportedError: where the server has none of that name.
        """
        for served in (yield from self._of_bundle(end)):
            if served.kind == "stage" and served.spec.name == name:
                return served
        raise UnsupportedError(f"the server has no stage {name!r} of this bundle")

    def _find(self, kind: Kind, end: float) -> Steps[ServedModel]:
        for served in (yield from self._of_bundle(end)):
            if served.kind == kind:
                return served
        raise UnsupportedError(f"the server has no model for {kind!r} of this bundle; its system may have none")

    def _of_bundle(self, end: float) -> Steps[list[ServedModel]]:
        models = self._models
        if models is None:
            models = yield from self.models()
        bundles = list(dict.fromkeys(served.bundle for served in models))
        if not bundles:
            raise UnsupportedError("the server has no model of i2i_rt")
        if self.bundle is None and len(bundles) > 1:
            raise I2IError(f"the server has several bundles; name one: {', '.join(bundles)}")
        name = self.bundle or bundles[0]
        if name not in bundles:
            raise I2IError(f"the server has no bundle {name!r}; {closest(name, bundles)}")
        return [served for served in models if served.bundle == name]

    def _codes(
        self, served: ServedModel, style: Style | np.ndarray | Sequence[Style] | None, count: int, end: float
    ) -> Steps[np.ndarray]:
        """Gives the codes of `count` frames, `[N, S]`; that of the mean style where none is given."""
        if style is None:
            if self._mean is None:
                self._mean = yield from self.style(StyleRequest(), end - _now())
            style = self._mean
        if isinstance(style, np.ndarray):
            return np.broadcast_to(np.atleast_2d(style).astype(np.float32, copy=False), (count, style.shape[-1]))
        styles = one_for_each(style, count)
        for one in styles:
            if one.weights_sha256 != served.weights_sha256:
                raise I2IError(
                    f"the style belongs to another model, {one.system} {one.weights_sha256[:12]}; "
                    f"{served.name} is {served.system} {served.weights_sha256[:12]}"
                )
        return np.stack([one.code for one in styles])

    # how it is asked

    def _end(self, deadline_s: float | None) -> float:
        return _now() + (self._deadline_s if deadline_s is None else deadline_s)

    def _infer(self, call: Infer, end: float, sizes: Mapping[str, int] | None = None) -> Steps[dict[str, np.ndarray]]:
        """`sizes` are those of the outputs in bytes, where they are known."""
        for name, array in call.inputs.items():
            if not isinstance(array, np.ndarray) or array.dtype.name not in DATATYPES:
                raise I2IError(f"{name} is no array that a server takes")
        return cast(dict[str, np.ndarray], (yield from self._patient(call, end, sizes)))

    def _patient(self, call: Call, end: float, sizes: Mapping[str, int] | None = None) -> Steps[Answer]:
        """Makes a call, and again where that is safe and of use, until the deadline."""
        repeatable = not isinstance(call, Infer) or call.place is None
        attempt, reason = 0, cast(ServingError | None, None)
        while True:
            try:
                if isinstance(call, Infer) and sizes is not None and self._pool.is_open:
                    answer = yield from self._through_memory(call, end, sizes)
                else:
                    answer = yield Exchange(call, _left(end, call))
                self._known = True
                return answer
            except DeadlineExceeded as error:
                raise reason or error from None  # why it was asked again says more than that the time is over
            except ServingError as error:
                pause = self._retry.pause_s(error, attempt, repeatable=repeatable, known=self._known)
                if pause is None or _now() + pause >= end:
                    raise
                reason = error
            attempt += 1
            yield Pause(pause)

    def _through_memory(self, call: Infer, end: float, sizes: Mapping[str, int]) -> Steps[Answer]:
        """Makes an inference through shared memory, where there is enough of it to be worth it."""
        inputs = {name: array.nbytes for name, array in call.inputs.items()}
        lease = None
        if sum(inputs.values()) + sum(sizes.values()) >= SHARED_MEMORY_BYTES:
            lease = self._pool.lease(inputs, sizes)
        if lease is None:
            yield from self._unmap_expired(end)
            return (yield Exchange(call, _left(end, call)))
        try:
            if not lease.region.mapped and not (yield from self._map(lease.region, end)):
                lease.release()
                return (yield Exchange(call, _left(end, call)))
            lease.write(call.inputs)
            answer = yield Exchange(replace(call, lease=lease), _left(end, call))
        except ServingError as error:
            if error.taken:
                lease.retire()  # the server may write its late answer there
                raise
            lease.release()
            if isinstance(error, (NotFound, Refused)) and lease.region.name in str(error):
                self._pool.forget()  # the server was started anew
                return (yield Exchange(call, _left(end, call)))
            raise
        except BaseException:
            lease.retire()
            raise
        lease.release()
        return answer

    def _map(self, region: shared_memory.Region, end: float) -> Steps[bool]:
        """Lets the server map a region; where it will not, no further one is offered."""
        try:
            if not self._swept:
                yield from self._sweep(end)
            yield Exchange(MapRegion(region.name, region.size), max(end - _now(), 0.001))
        except (Unreachable, Busy, DeadlineExceeded):
            return False
        except ServingError:
            self._pool.is_open = False
            return False
        region.mapped = True
        return True

    def _unmap_expired(self, end: float) -> Steps[None]:
        for region in self._pool.expired():
            with contextlib.suppress(ServingError):
                yield Exchange(UnmapRegion(region.name), max(end - _now(), 0.001))

    def _sweep(self, end: float) -> Steps[None]:
        """Removes what clients that were killed have left, here and at the server."""
        self._swept = True
        names = cast(list[str], (yield Exchange(ListRegions(), max(end - _now(), 0.001))))
        for name in shared_memory.stale(names):
            yield Exchange(UnmapRegion(name), max(end - _now(), 0.001))
        shared_memory.sweep()


def _now() -> float:
    return time.monotonic()


def _left(end: float, call: Call) -> float:
    left = end - _now()
    if left <= 0:
        raise DeadlineExceeded(f"{call.subject}: no answer in the time that was given", taken=False)
    return left


def _picture_bytes(frames: np.ndarray, source: TensorSpec) -> int:
    """Gives the bytes of the pictures, uint8 RGB, that frames or label maps become."""
    return frames.size if source.axes[-1].name == "C" else 3 * frames.size


def _origin(wanted: StyleRequest) -> str:
    where = "" if wanted.domain is None else f" as {wanted.domain}"
    if wanted.image is not None:
        return f"from a picture{where}"
    return f"seed {wanted.seed}{where}" if wanted.seed is not None else f"the mean{where}"


def _output_sizes(spec: StageSpec, inputs: Mapping[str, np.ndarray]) -> dict[str, int] | None:
    """Gives the sizes of a stage's outputs in bytes; None where its inputs do not tell them."""
    lengths: dict[str, int] = {}
    for tensor in spec.inputs:
        for axis, length in zip(tensor.axes, inputs[tensor.name].shape, strict=True):
            lengths[axis.name] = length * axis.divisor
    sizes = {}
    for tensor in spec.outputs:
        size = _size(tensor, lengths)
        if size is None:
            return None
        sizes[tensor.name] = size
    return sizes


def _size(tensor: TensorSpec, lengths: Mapping[str, int]) -> int | None:
    size = np.dtype(tensor.dtype).itemsize
    for axis in tensor.axes:
        length = axis.size
        if length is None and axis.name in lengths:
            length = lengths[axis.name] // axis.divisor
        if length is None:
            return None
        size *= length
    return size
