"""Runs TensorRT engines: device buffers, a stream and a CUDA graph for each shape, kept and used again."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from i2i_rt.bundle import Bundle, sha256_of
from i2i_rt.errors import BundleError, I2IError, UnsupportedError
from i2i_rt.runtime import tensorrt_builder, tensorrt_library
from i2i_rt.runtime.artifact_key import ArtifactKey, describe
from i2i_rt.runtime.backends import Choice, required_artifact
from i2i_rt.runtime.session import Session, padded
from i2i_rt.spec import StageSpec

if TYPE_CHECKING:
    import cupy
    import tensorrt as trt

KEPT_SHAPES = 8  # of each stage; the one that was not used for longest goes first

Shapes = dict[str, tuple[int, ...]]


def problem(backend: str, precision: str | None) -> str | None:
    return tensorrt_library.problem(precision)


def open_session(bundle: Bundle, choice: Choice, threads: int | None) -> Session:
    return TensorRTSession(bundle, choice)


def new_stream() -> "cupy.cuda.Stream":
    """Gives a stream of its own: what runs on the default stream would wait for it, and no graph is captured there."""
    import cupy

    return cupy.cuda.Stream(non_blocking=True)


class TensorRTSession(Session):
    """TensorRT engines, one a stage, loaded when first used; one that was built elsewhere is built anew."""

    def __init__(self, bundle: Bundle, choice: Choice) -> None:
        self.backend, self.precision = choice.backend.name, choice.precision
        self.device = tensorrt_library.device()[0]
        self.stages = bundle.stages
        self._bundle, self._choice = bundle, choice
        self._stream = new_stream()
        self._engines = {bundle.main_stage: self._load(bundle.main_stage)}

    def _engine(self, stage: str) -> "Engine":
        if stage not in self._engines:
            self._engines[stage] = self._load(stage)
        return self._engines[stage]

    def _load(self, stage: str) -> "Engine":
        artifact = required_artifact(self._bundle, self._choice, stage)
        file = self._bundle.path / artifact.file
        export = f"i2i-rt export {self._bundle.path} --format tensorrt --precision {self._choice.precision}"
        key = ArtifactKey.read(file)
        if key is None:
            raise BundleError(f"{artifact.file} and the key beside it do not belong together; run '{export}'")
        reason = key.difference(tensorrt_builder.again(key))
        if reason is None:
            content = file.read_bytes()
        elif self._choice.build:
            content = tensorrt_builder.rebuilt(file, reason)
            self._bundle.add_artifact(replace(artifact, sha256=sha256_of(file), size_bytes=len(content)))
        else:
            raise UnsupportedError(f"{artifact.file} cannot be used: {reason}; leave out --no-build, or run '{export}'")
        return Engine(content, artifact.file, self.stages[stage], self._stream)

    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._engine(stage).run(inputs)

    def run_on_device(self, stage: str, inputs: Mapping[str, "cupy.ndarray"]) -> dict[str, "cupy.ndarray"]:
        """Runs a stage on arrays that are on the GPU already, and leaves the outputs there.

        Args:
            stage: its name.
            inputs: of CuPy, or of anything with `__cuda_array_interface__`, at lengths that the graph takes.

        Returns:
            Views of the session's own buffers, which the next run with the same shapes writes over. Work on them has
            to wait for `stream`.
        """
        return self._engine(stage).run_on_device(inputs)

    def takes(self, stage: str, inputs: Mapping[str, np.ndarray]) -> bool:
        arrays = padded(self.stages[stage], inputs)
        return self._engine(stage).takes({name: array.shape for name, array in arrays.items()})

    def made_for(self, stage: str) -> list[tuple[int, int, int]]:
        return self._engine(stage).usual_sizes()

    @property
    def stream(self) -> "cupy.cuda.Stream":
        """The stream that everything runs on."""
        return self._stream

    def close(self) -> None:
        self._stream.synchronize()
        self._engines.clear()


class Engine:
    """A loaded engine with what it keeps for each shape that it ran with.

    Args:
        content: the serialised engine.
        name: of its file, for messages.
        spec: of its stage.
        stream: to run on.
    """

    def __init__(self, content: bytes, name: str, spec: StageSpec, stream: "cupy.cuda.Stream") -> None:
        import tensorrt as trt

        self._messages = tensorrt_library.new_log()
        self._runtime = trt.Runtime(self._messages)
        self._engine: trt.ICudaEngine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise BundleError(f"{name} does not load in TensorRT {trt.__version__}: {self._messages.worst()}")
        self._name, self._spec, self._stream = name, spec, stream
        self._profiles = _profiles(self._engine, spec)
        self._scratch = _Scratch()
        self._prepared: OrderedDict[tuple[tuple[int, ...], ...], _Prepared] = OrderedDict()

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs on arrays of NumPy; the outputs belong to the caller."""
        prepared = self._for({tensor.name: inputs[tensor.name].shape for tensor in self._spec.inputs})
        for name, array in inputs.items():
            np.copyto(prepared.pinned[name], array)
            prepared.buffers[name].set(prepared.pinned[name], stream=self._stream)
        self._launch(prepared)
        names = [tensor.name for tensor in self._spec.outputs]
        for name in names:
            prepared.buffers[name].get(stream=self._stream, out=prepared.pinned[name], blocking=False)
        self._stream.synchronize()
        return {name: prepared.pinned[name].copy() for name in names}

    def run_on_device(self, inputs: Mapping[str, "cupy.ndarray"]) -> dict[str, "cupy.ndarray"]:
        import cupy

        arrays = {tensor.name: cupy.asarray(inputs[tensor.name]) for tensor in self._spec.inputs}
        prepared = self._for({name: array.shape for name, array in arrays.items()})
        with self._stream:
            for name, array in arrays.items():
                prepared.buffers[name][...] = array
        self._launch(prepared)
        return {tensor.name: prepared.buffers[tensor.name] for tensor in self._spec.outputs}

    def _launch(self, prepared: "_Prepared") -> None:
        if not prepared.launch():
            raise I2IError(f"TensorRT could not start a run of {self._name}: {self._messages.worst()}")

    def _for(self, shapes: Shapes) -> "_Prepared":
        key = tuple(shapes.values())
        if key not in self._prepared:
            profile = self._profile_of(shapes)
            self._prepared[key] = _Prepared(self._engine, profile, shapes, self._spec, self._stream, self._scratch)
            if len(self._prepared) > KEPT_SHAPES:
                self._stream.synchronize()
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(key)
        return self._prepared[key]

    def takes(self, shapes: Shapes) -> bool:
        """Says whether a profile of the engine holds these shapes."""
        return any(_holds(profile, shapes) for profile in self._profiles)

    def usual_sizes(self) -> list[tuple[int, int, int]]:
        """Gives the batch, and the height and width of pictures, that each profile is tuned for."""
        found = []
        for profile in self._profiles:
            lengths = {
                axis.name: length * axis.divisor
                for tensor in self._spec.inputs
                for axis, length in zip(tensor.axes, profile[tensor.name][1], strict=True)
            }
            lengths |= {
                large: lengths[small] * tensorrt_builder.STRUCTURE_STRIDE
                for large, small in ("Hh", "Ww")
                if small in lengths
            }
            if {"N", "H", "W"} <= lengths.keys():
                found.append((lengths["N"], lengths["H"], lengths["W"]))
        return found

    def _profile_of(self, shapes: Shapes) -> int:
        """Chooses among the profiles that hold the shapes the one that was made for the fewest others."""
        fitting = [index for index, profile in enumerate(self._profiles) if _holds(profile, shapes)]
        if not fitting:
            given = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
            raise UnsupportedError(
                f"{self._name} takes {describe(self._profiles)}, not {given}; "
                "export again with --profile and --batch that hold these sizes"
            )
        return min(fitting, key=lambda index: _room(self._profiles[index]))


class _Scratch:
    """Memory that all contexts of an engine share, because they run one after the other."""

    def __init__(self) -> None:
        self._block: Any = None

    def at_least(self, size: int) -> "cupy.ndarray":
        """Gives a block; a captured graph keeps the one that it was captured with, so an old one lives on there."""
        import cupy

        if self._block is None or self._block.nbytes < size:
            self._block = cupy.empty(max(size, 1), np.uint8)
        return self._block


class _Prepared:
    """A context with buffers for one set of shapes, and the captured graph of its launches.

    Attributes:
        buffers: inputs and outputs on the GPU, by name.
        pinned: the same on the host, in memory that the GPU copies from and to by itself.
    """

    def __init__(
        self,
        engine: "trt.ICudaEngine",
        profile: int,
        shapes: Shapes,
        spec: StageSpec,
        stream: "cupy.cuda.Stream",
        scratch: _Scratch,
    ) -> None:
        import cupy
        import cupyx
        import tensorrt as trt

        self._stream = stream
        self._context: trt.IExecutionContext = engine.create_execution_context(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        self._context.set_optimization_profile_async(profile, stream.ptr)
        for name, shape in shapes.items():
            self._context.set_input_shape(name, shape)
        self._context.infer_shapes()
        self.buffers, self.pinned = {}, {}
        with stream:
            for tensor in (*spec.inputs, *spec.outputs):
                shape = tuple(self._context.get_tensor_shape(tensor.name))
                self.buffers[tensor.name] = cupy.empty(shape, tensor.dtype)
                self.pinned[tensor.name] = cupyx.empty_pinned(shape, tensor.dtype)
                self._context.set_tensor_address(tensor.name, self.buffers[tensor.name].data.ptr)
            size = self._context.update_device_memory_size_for_shapes()
            self._memory = scratch.at_least(size)
        self._context.set_device_memory(self._memory.data.ptr, size)
        self._runs, self._graph = 0, None

    def launch(self) -> bool:
        """Starts a run on what the input buffers hold; says whether it could."""
        self._runs += 1
        if self._runs == 2:
            # the first run sets things up, which cannot be captured, and shapes that never come again need no graph
            self._graph = self._captured()
        if self._graph is not None:
            self._graph.launch(self._stream)
            return True
        return bool(self._context.execute_async_v3(self._stream.ptr))

    def _captured(self) -> "cupy.cuda.Graph | None":
        """Captures a run; None where something in the engine cannot be captured."""
        try:
            self._stream.begin_capture()
            started = self._context.execute_async_v3(self._stream.ptr)
            graph = self._stream.end_capture()
        except RuntimeError as error:
            tensorrt_library.log.info("the engine runs without a CUDA graph: %s", error)
            return None
        return graph if started else None


def _profiles(engine: "trt.ICudaEngine", spec: StageSpec) -> list[dict[str, list[list[int]]]]:
    """Gives the least, the usual and the greatest shape of every input, for each profile of an engine."""
    return [
        {
            tensor.name: [list(shape) for shape in engine.get_tensor_profile_shape(tensor.name, index)]
            for tensor in spec.inputs
        }
        for index in range(engine.num_optimization_profiles)
    ]


def _holds(profile: dict[str, list[list[int]]], shapes: Shapes) -> bool:
    return all(
        least <= length <= greatest
        for name, shape in shapes.items()
        for least, length, greatest in zip(profile[name][0], shape, profile[name][2], strict=True)
    )


def _room(profile: dict[str, list[list[int]]]) -> int:
    """Gives the number of different shapes that a profile holds."""
    return prod(
        greatest - least + 1
        for shapes in profile.values()
        for least, greatest in zip(shapes[0], shapes[2], strict=True)
    )
