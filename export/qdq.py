"""Puts the convolutions of an ONNX graph into 8 bits: QuantizeLinear and DequantizeLinear around them ("Q/DQ").

A value x becomes round(x / scale) + zero, clamped to 8 bits. Weights have a scale for each output channel and the zero
0, as every runtime wants them. The range of an activation is the one with the smallest squared error on values seen in
calibration, not the one from the smallest to the largest of them: normalised features have a few values far outside.

Two kinds of graphs are made. TensorRT computes in integers what has Q/DQ in front of it, and takes only ranges that are
symmetric around zero, so INT8; after a ReLU half of its levels are of no use. ONNX Runtime's CPU kernels need the
output of a convolution in 8 bits too, but take UINT8 with any zero.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from i2i_rt.export.fused_nodes import DOMAIN

Inputs = Mapping[str, np.ndarray]

VALUES = 1 << 13  # of each layer's input that are kept, for each calibration input
PIXELS = 512  # likewise of each channel of its output
CUTS = np.linspace(0.2, 1, 25)  # shares of the whole range that are tried
GAIN_LARGEST = 64.0
# operators, beside the fused norms, that ONNX Runtime has no integer kernels for
FLOATING = ("InstanceNormalization", "ReduceMean", "ReduceSum", "Shape", "Sub", "Tanh")
# element type -> least level, largest level; weights of INT8 stay symmetric
LEVELS = {TensorProto.UINT8: (0, 255), TensorProto.INT8: (-127, 127), TensorProto.FLOAT8E4M3FN: (-448, 448)}


@dataclass(frozen=True)
class Scheme:
    """How a runtime wants its 8 bits.

    Attributes:
        activations: their type in ONNX: UINT8, INT8 or FLOAT8E4M3FN.
        weights: likewise: INT8 or FLOAT8E4M3FN.
        outputs: whether the output of a convolution is rounded as well as its input.
        operators: whose layers it computes in 8 bits.
    """

    activations: int
    weights: int
    outputs: bool
    operators: tuple[str, ...] = ("Conv", "ConvTranspose")


ONNXRUNTIME = Scheme(TensorProto.UINT8, TensorProto.INT8, outputs=True, operators=("Conv",))
TENSORRT = {
    "int8": Scheme(TensorProto.INT8, TensorProto.INT8, outputs=False),
    "fp8": Scheme(TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FN, outputs=False),
}


@dataclass(frozen=True)
class Layer:
    """A convolution with constant weights; its name is theirs without the last word."""

    name: str
    operator: str
    input: str
    weight: str
    output: str


@dataclass(frozen=True)
class Seen:
    """What calibration saw of a layer: values of its input `[n]` and of each channel of its output `[C, n]`."""

    inputs: np.ndarray
    outputs: np.ndarray
    multiplications: int  # multiply-accumulates of all calibration inputs together


@dataclass(frozen=True)
class Grid:
    """The values that levels of 8 bits stand for: (level - zero) * scale, with one scale or one a channel `[C]`."""

    element: int
    scale: np.ndarray
    zero: int = 0

    @classmethod
    def fitting(cls, values: np.ndarray, element: int) -> "Grid":
        """Gives the grid with the smallest squared error on some values."""
        least, largest = LEVELS[element]
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0, 1e-6)
        if element == TensorProto.FLOAT8E4M3FN:  # small values are as exact as large ones: nothing is gained by a cut
            return cls(element, np.array(max(-low, high) / largest))
        grids = []
        for cut in CUTS:
            if element == TensorProto.UINT8:
                scale = cut * (high - low) / (largest - least)
                grids.append(cls(element, np.array(scale), round(-cut * low / scale)))
            else:
                grids.append(cls(element, np.array(cut * max(-low, high) / largest)))
        return min(grids, key=lambda grid: float(np.square(grid.rounded(values) - values).mean()))

    def levels(self, values: np.ndarray, along: Sequence[int] = ()) -> np.ndarray:
        """Gives values as levels; `along` is the scale's shape where it is one a channel."""
        inside = np.clip(values / self.scale.reshape(along) + self.zero, *LEVELS[self.element])
        kind = helper.tensor_dtype_to_np_dtype(self.element)  # that of float8 rounds by itself
        levels: np.ndarray = (inside if self.element == TensorProto.FLOAT8E4M3FN else np.rint(inside)).astype(kind)
        return levels

    def rounded(self, values: np.ndarray) -> np.ndarray:
        result: np.ndarray = (self.levels(values).astype(np.float32) - self.zero) * self.scale.astype(np.float32)
        return result


def layers(model: ModelProto) -> list[Layer]:
    """Gives the convolutions that can be put into 8 bits, in the order in which they run.

    Those in groups are left out: they are fixed low-pass filters, which move memory rather than multiply. So are those
    whose bias is no constant: the exporter computes one of zeros where it does not know what a layer takes.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        Layer(weight.rpartition(".")[0] or weight, node.op_type, node.input[0], weight, node.output[0])
        for node in model.graph.node
        if node.op_type in ("Conv", "ConvTranspose") and _groups(node) == 1
        for weight in node.input[1:2]
        if constants.issuperset(node.input[1:])
    ]


def scaled_by_channel(model: ModelProto) -> set[str]:
    """Names the tensors whose channels may have scales of their own: norms and what they consist of alone read them.

    Many other operators have integer kernels in ONNX Runtime, which take one scale for all channels, and a graph that
    gives them more does not load: sums, averages, leaky ReLUs.
    """
    read: set[str] = set()
    others = {tensor.name for tensor in model.graph.output}
    for node in model.graph.node:
        norm = node.domain == DOMAIN and node.op_type.removeprefix("Adaptive").startswith("Norm")
        taken = 1 if norm or node.op_type in FLOATING else 0
        read.update(node.input[:taken])
        others.update(node.input[taken:])
    return read - others


def _groups(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def calibrate(model: ModelProto, inputs: Sequence[Inputs]) -> dict[str, Seen]:
    """Runs a float32 graph and keeps samples of what its layers take and give, by the layers' names."""
    found = layers(model)
    if not found:
        return {}
    sizes = {tensor.name: prod(tensor.dims[1:]) for tensor in model.graph.initializer}
    run = values_of(model, sorted({name for layer in found for name in (layer.input, layer.output)}))
    random = np.random.Generator(np.random.PCG64(0))
    taken: dict[str, list[np.ndarray]] = {layer.name: [] for layer in found}
    given: dict[str, list[np.ndarray]] = {layer.name: [] for layer in found}
    cost = dict.fromkeys(taken, 0)
    for entry in inputs:
        values = run(entry)
        for layer in found:
            features, result = values[layer.input].ravel(), values[layer.output]
            channels = np.moveaxis(result, 1, 0).reshape(result.shape[1], -1)
            taken[layer.name].append(features[random.integers(0, features.size, VALUES)])
            given[layer.name].append(channels[:, random.integers(0, channels.shape[1], PIXELS)])
            # every output value sums over one kernel; of transposed ones, every input value is spread over one
            cost[layer.name] += (result if layer.operator == "Conv" else features).size * sizes[layer.weight]
    return {name: Seen(np.concatenate(taken[name]), np.concatenate(given[name], 1), cost[name]) for name in taken}


def values_of(model: ModelProto, tensors: Sequence[str]) -> Any:
    """Loads a graph in ONNX Runtime, and gives what runs it and gives the named float32 tensors."""
    import onnxruntime

    tapped = ModelProto()
    tapped.CopyFrom(model)
    del tapped.graph.output[:]
    tapped.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(inputs: Inputs) -> dict[str, np.ndarray]:
        return dict(zip(tensors, session.run(list(tensors), dict(inputs)), strict=True))

    return run


def insert(model: ModelProto, seen: Mapping[str, Seen], scheme: Scheme, names: Collection[str]) -> ModelProto:
    """Gives a copy of a graph with the named layers in 8 bits.

    Args:
        model: in float32, or in float16 where the runtime computes the rest in it.
        seen: of `calibrate`, by the layers' names.
        scheme: how the runtime wants it.
        names: of the layers; the others stay as they are.
    """
    result = ModelProto()
    result.CopyFrom(model)
    writer = _Writer(result, scheme)
    chosen = {layer.output: layer for layer in layers(model) if layer.name in names}
    by_channel = scaled_by_channel(model)
    for node in model.graph.node:
        layer = chosen.get(node.output[0]) if node.output else None
        if layer is None:
            writer.nodes.append(node)
        else:
            writer.write(layer, node, seen[layer.name], alike=layer.output in by_channel)
    del result.graph.node[:]
    result.graph.node.extend(writer.nodes)
    used = {name for node in writer.nodes for name in node.input}
    kept = [tensor for tensor in result.graph.initializer if tensor.name in used]
    del result.graph.initializer[:]
    result.graph.initializer.extend(kept)
    return result


class _Writer:
    """Writes the nodes of a graph, and around its layers those that round."""

    def __init__(self, model: ModelProto, scheme: Scheme) -> None:
        self.nodes: list[NodeProto] = []
        self._graph, self._scheme = model.graph, scheme
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._rounded: dict[str, tuple[str, Grid]] = {}  # layers of one input share its rounding

    def write(self, layer: Layer, node: NodeProto, seen: Seen, *, alike: bool) -> None:
        """Writes a layer's node, with what it takes and gives in 8 bits; `alike`: whether channels are made as wide."""
        weight = numpy_helper.to_array(self._constants[layer.weight])
        axis = 0 if layer.operator == "Conv" else 1  # of the output's channels
        along = [-1 if position == axis else 1 for position in range(weight.ndim)]
        others = tuple(position for position in range(weight.ndim) if position != axis)
        outputs = self._scheme.outputs
        gain = _gain(seen.outputs) if outputs and alike else np.ones(weight.shape[axis], np.float32)
        wide = weight.astype(np.float32) * gain.reshape(along)
        kind = weight.dtype

        if layer.input not in self._rounded:
            grid = Grid.fitting(seen.inputs, self._scheme.activations)
            self._rounded[layer.input] = self._round(layer.input, grid, kind), grid
        taken, input_grid = self._rounded[layer.input]
        largest = LEVELS[self._scheme.weights][1]
        grid = Grid(self._scheme.weights, np.maximum(np.abs(wide).max(others), 1e-12) / largest)
        levels = self._constant(f"{layer.weight}.levels", grid.levels(wide, along))
        weights = self._dequantize(levels, grid, kind, f"{layer.weight}.rounded", axis)
        inputs = [taken, weights, *node.input[2:]]
        if outputs and len(inputs) > 2:
            inputs[2] = self._bias(inputs[2], input_grid.scale * grid.scale, gain, f"{layer.weight}.bias")
        written = NodeProto()
        written.CopyFrom(node)
        del written.input[:]
        written.input.extend(inputs)
        self.nodes.append(written)
        if outputs:
            written.output[0] = f"{layer.output}.wide"
            whole = Grid.fitting((seen.outputs * gain[:, None]).ravel(), self._scheme.activations)
            levels = self._quantize(written.output[0], whole, kind)
            # what made the channels alike is taken back by the scales that they are read with
            read = Grid(whole.element, whole.scale / gain, whole.zero) if alike else whole
            self._dequantize(levels, read, kind, layer.output, 1 if alike else None)

    def _round(self, tensor: str, grid: Grid, kind: np.dtype[Any]) -> str:
        return self._dequantize(self._quantize(tensor, grid, kind), grid, kind, f"{tensor}.rounded", None)

    def _quantize(self, tensor: str, grid: Grid, kind: np.dtype[Any]) -> str:
        levels = f"{tensor}.levels"
        inputs = [tensor, *self._grid(levels, grid, kind)]
        self.nodes.append(helper.make_node("QuantizeLinear", inputs, [levels], name=f"{tensor}.quantize"))
        return levels

    def _dequantize(self, levels: str, grid: Grid, kind: np.dtype[Any], result: str, axis: int | None) -> str:
        attributes = {} if axis is None else {"axis": axis}
        inputs = [levels, *self._grid(result, grid, kind)]
        name = f"{result}.dequantize"
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [result], name=name, **attributes))
        return result

    def _grid(self, name: str, grid: Grid, kind: np.dtype[Any]) -> tuple[str, str]:
        """Writes a grid's scale and zero; the type of the zero is that of the levels."""
        zero = np.full(grid.scale.shape, grid.zero, np.float32)
        zero = zero.astype(helper.tensor_dtype_to_np_dtype(grid.element))
        return self._constant(f"{name}.scale", grid.scale.astype(kind)), self._constant(f"{name}.zero", zero)

    def _bias(self, name: str, scale: np.ndarray, gain: np.ndarray, result: str) -> str:
        """Writes a bias in 32 bits, in units of the sums that it is added to: integer kernels take no other."""
        wide = numpy_helper.to_array(self._constants[name]).astype(np.float64) * gain
        limit = 2**31 - 1
        levels = self._constant(f"{result}.levels", np.rint(wide / scale).clip(-limit, limit).astype(np.int32))
        scales = self._constant(f"{result}.scale", scale.astype(np.float32))
        self.nodes.append(
            helper.make_node("DequantizeLinear", [levels, scales], [result], name=f"{result}.dequantize", axis=0)
        )
        return result

    def _constant(self, name: str, value: np.ndarray) -> str:
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name


def _gain(outputs: np.ndarray) -> np.ndarray:
    """Gives what makes the channels `[C, n]` of an output as wide as the widest, so that one scale fits all of them."""
    width = outputs.std(axis=1)
    widest = max(float(width.max()), 1e-12)
    gain: np.ndarray = (widest / np.maximum(width, widest / GAIN_LARGEST)).astype(np.float32)
    return gain
