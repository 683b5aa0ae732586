"""A stage in 8 bits for each runtime that has them, with as many layers kept higher as its gate asks for.

OpenVINO's graph is made by NNCF; ONNX Runtime's and TensorRT's get Q/DQ (`i2i_rt.export.qdq`). All are searched in the
same way (`i2i_rt.export.sensitivity`) and judged by pictures that took no part in calibration.
"""

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto

from i2i_rt.bundle import Quantization
from i2i_rt.export import openvino, qdq, sensitivity, verify
from i2i_rt.export.calibration import Samples
from i2i_rt.export.fused_nodes import inlined
from i2i_rt.export.qdq import Inputs, Scheme, Seen
from i2i_rt.export.sensitivity import Step
from i2i_rt.runtime import gates
from i2i_rt.runtime import openvino as openvino_runtime
from i2i_rt.runtime.session import Session
from i2i_rt.spec import StageSpec

RANKED_ON = 2  # calibration inputs that the layers' losses are measured with
# what a layer loses whichever runtime rounds it: what it takes, and its weights
ROUNDED = Scheme(TensorProto.UINT8, TensorProto.INT8, outputs=False)

Run = Callable[[Inputs], Mapping[str, np.ndarray]]


class Candidate(Session):
    """A graph that belongs to no bundle yet."""

    def __init__(self, spec: StageSpec, run: Run) -> None:
        self.backend, self.precision, self.device = "candidate", "int8", "cpu"
        self.stages = {spec.name: spec}
        self._graph = run

    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = self._graph(dict(inputs))
        return {tensor.name: np.array(results[tensor.name]) for tensor in self.stages[stage].outputs}


@dataclass(frozen=True)
class Runtime:
    """What the search needs to know of a runtime.

    Attributes:
        layers: names of those that it computes in 8 bits.
        write: writes a file with the named layers in 8 bits.
        load: loads such a file.
        plain: the graph without 8 bits, for the time; None where the runtime is not on this machine.
    """

    layers: frozenset[str]
    write: Callable[[frozenset[str], Path], None]
    load: Callable[[Path], Run]
    plain: Run | None = None


class Quantizer:
    """Puts one stage into 8 bits.

    Args:
        samples: of the stage.
        graph: the stage's ONNX graph in float32.
        folder: for what is tried.
        gate_db: the end of the search, where it is not the gate of the precision.
        report: is told of each step.
    """

    def __init__(
        self, samples: Samples, graph: Path, folder: Path, *, gate_db: float | None, report: Callable[[str], None]
    ) -> None:
        self._samples, self._graph, self._folder = samples, graph, folder
        self._gate_db, self._report = gate_db, report

    def openvino(self, file: Path, metadata: Mapping[str, str]) -> Quantization:
        """Writes OpenVINO's graph; its layers that are not in 8 bits run in bfloat16 where the processor has it."""
        plain = self._folder / "plain.xml"
        openvino.build(self._graph, plain, metadata={})

        def write(names: frozenset[str], target: Path) -> None:
            openvino.quantize(self._graph, target, inputs=self._samples.inputs, names=names, metadata=metadata)

        runtime = Runtime(frozenset(self._seen), write, _in_openvino, _in_openvino(plain))
        kept, steps = self._search("int8", runtime, file)
        return self._record(kept, steps)

    def onnx(self, file: Path, metadata: Mapping[str, str]) -> Quantization:
        """Writes ONNX Runtime's graph; its other layers run in float32."""
        scheme = qdq.ONNXRUNTIME

        def write(names: frozenset[str], target: Path) -> None:
            onnx.save(_described(qdq.insert(self._model, self._seen, scheme, names), metadata), target)

        runtime = Runtime(self._layers(scheme), write, _in_onnxruntime, _in_onnxruntime(self._graph))
        kept, steps = self._search("int8", runtime, file)
        return self._record(kept, steps)

    def tensorrt(self, file: Path, precision: str, base: Path, metadata: Mapping[str, str]) -> Quantization:
        """Writes the ONNX graph that TensorRT makes an engine of, in "int8" or "fp8".

        The search runs without TensorRT: ONNX Runtime computes in float32 what the Q/DQ nodes round.

        Args:
            file: the `.onnx` file.
            precision: "int8" or "fp8".
            base: the stage's ONNX graph in what the other layers run in.
            metadata: written into the file.
        """
        scheme = qdq.TENSORRT[precision]

        def write(names: frozenset[str], target: Path) -> None:
            onnx.save(qdq.insert(self._model, self._seen, scheme, names), target)

        runtime = Runtime(self._layers(scheme), write, _in_onnxruntime)
        kept, steps = self._search(precision, runtime, file)
        model = qdq.insert(onnx.load(base), self._seen, scheme, runtime.layers - kept)
        onnx.save(_described(model, metadata), file)
        return self._record(kept, steps)

    @cached_property
    def _model(self) -> ModelProto:
        return onnx.load(self._graph)

    @cached_property
    def _seen(self) -> dict[str, Seen]:
        self._report("measuring ranges")
        return qdq.calibrate(self._model, self._samples.inputs)

    @cached_property
    def _losses(self) -> dict[str, float]:
        self._report("measuring what each layer loses")
        model, spec = inlined(self._graph), self._samples.spec
        output = spec.outputs[0].name
        if verify.gives_pictures(spec):  # what 8 bits of a level would hide is in front of the clamp
            output = [node.input[0] for node in model.graph.node if node.op_type == "Clip"][-1]
        return sensitivity.losses(model, self._seen, ROUNDED, self._samples.inputs[:RANKED_ON], output)

    def _layers(self, scheme: Scheme) -> frozenset[str]:
        return frozenset(
            layer.name
            for layer in qdq.layers(self._model)
            if layer.operator in scheme.operators and layer.name in self._seen
        )

    def _search(self, precision: str, runtime: Runtime, file: Path) -> tuple[frozenset[str], list[Step]]:
        """Tries until the gate is reached; the file is that of the best step."""
        costs = {name: self._seen[name].multiplications for name in runtime.layers}
        total = sum(seen.multiplications for seen in self._seen.values())
        tried: dict[frozenset[str], Path] = {}
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:

            def attempt(kept: frozenset[str]) -> Step:
                self._report(f"{file.name}: trying it with {len(kept)} of {len(costs)} layers kept higher")
                tried[kept] = Path(folder) / f"{len(tried)}{file.suffix}"
                runtime.write(runtime.layers - kept, tried[kept])
                share = sum(cost for name, cost in costs.items() if name not in kept) / max(total, 1)
                return self._measured(runtime, tried[kept], len(kept), share)

            kept, steps = sensitivity.search(attempt, lambda: self._losses, costs, self._gate(precision))
            for part in Path(folder).glob(f"{tried[kept].stem}.*"):
                part.rename(file.with_suffix(part.suffix))
        return kept, steps

    def _gate(self, precision: str) -> float:
        if verify.gives_pictures(self._samples.spec):
            return gates.GATES_DB[precision] if self._gate_db is None else self._gate_db
        return _decibels(gates.GATES_ERROR[precision])

    def _measured(self, runtime: Runtime, file: Path, kept: int, share: float) -> Step:
        spec, trials = self._samples.spec, self._samples.trials
        candidate = Candidate(spec, runtime.load(file))
        psnr, error = verify.worst([
            verify.compare(spec, inputs, answer, candidate.run(spec.name, inputs)) for inputs, answer in trials
        ])  # fmt: skip
        fidelity = psnr if error is None else _decibels(error)
        if runtime.plain is None:
            return Step(kept, share, fidelity, None, None)
        runs = [(session, spec.name, trials[0][0]) for session in (candidate, Candidate(spec, runtime.plain))]
        return Step(kept, share, fidelity, *verify.median_ms(runs, seconds=0.5))

    def _record(self, kept: frozenset[str], steps: list[Step]) -> Quantization:
        in_order = tuple(layer.name for layer in qdq.layers(self._model) if layer.name in kept)
        return Quantization(self._samples.pictures, in_order, tuple(asdict(step) for step in steps))


def _decibels(error: float) -> float:
    return -20 * math.log10(max(error, 1e-12))


def _described(model: ModelProto, metadata: Mapping[str, str]) -> ModelProto:
    onnx.helper.set_model_props(model, dict(metadata))
    return model


def _in_openvino(file: Path) -> Run:
    request = openvino_runtime.load(file, "int8")
    names = [output.any_name for output in request.model_outputs]

    def run(inputs: Inputs) -> Mapping[str, np.ndarray]:
        results = request.infer(dict(inputs))
        return {name: results[name] for name in names}

    return run


def _in_onnxruntime(file: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if any(tensor.data_type == TensorProto.FLOAT8E4M3FN for tensor in onnx.load(file).graph.initializer):
        # with more of it, a ReLU in front of float8 is taken for one that the rounding does as well (1.31)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))
