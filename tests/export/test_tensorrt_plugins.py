"""Plugins: what they launch gives what the operators do. Kernels run in Triton's interpreter, or on a GPU."""

import json
import os
import subprocess
import sys
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i_rt.export.tensorrt_plugins import (
    CHANNELS_LAST,
    LINEAR,
    PLUGINS,
    NormApply,
    NormApplyAdd,
    NormStats,
    Numbers,
    Plugin,
    SpadeTableApply,
    in_order,
)
from i2i_rt.kernels.norm_act import norm_act_reference
from i2i_rt.kernels.spade_table import spade_table_apply_reference
from tests.kernels.checks import DEVICE, DTYPES, assert_no_worse, exactly
from tests.tensorrt_bindings.bindings import VERSIONS, bindings_of
from tests.tensorrt_bindings.plugins import CASES

ROOT = Path(__file__).parents[2]

FORMATS = {LINEAR: torch.contiguous_format, CHANNELS_LAST: torch.channels_last}
ELEMENTS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
SHAPES = {"odd": (2, 16, 7, 9), "several tiles": (1, 48, 33, 40), "two pixels": (3, 16, 1, 2)}


def random(*shape: int, dtype: torch.dtype, offset: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape) + shape[-1])
    return (torch.randn(shape, generator=generator) + offset).to(dtype).to(DEVICE)


def launched(plugin: Plugin, layout: str, *inputs: Tensor, **attributes: Any) -> Tensor:
    """Runs a plugin as TensorRT would: images in a layout, the output's shape and the launch by the plugin's word."""
    shapes = [tuple(tensor.shape) for tensor in inputs]
    shape = plugin.shape(shapes, Numbers(), **attributes)
    launch = plugin.launch(ELEMENTS[inputs[0].dtype], layout, shapes, Numbers(), **attributes)
    given = {
        port.name: tensor.contiguous(memory_format=FORMATS[layout]) if port.image else tensor.contiguous()
        for port, tensor in zip(plugin.inputs, inputs, strict=True)
    }
    kind = inputs[0].dtype if plugin.output.kind == "T" else torch.float32
    output = torch.full(shape, torch.nan, dtype=kind, device=DEVICE)
    output = output.contiguous(memory_format=FORMATS[layout]) if plugin.output.image else output
    build = launch.build
    arguments = {**given, plugin.output.name: output, **launch.ordered_sizes(), **build.constants}
    assert set(arguments) == set(build.kernel.arg_names)
    build.kernel[launch.grid](**arguments)
    return output


def normalised(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, layouts: tuple[str, str], **attributes: Any
) -> Tensor:
    partial = launched(NormStats(), layouts[0], x)
    if residual is None:
        return launched(NormApply(), layouts[1], x, partial, weight, bias, **attributes)
    return launched(NormApplyAdd(), layouts[1], x, partial, weight, bias, residual, **attributes)


def reference(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, **attributes: Any) -> Tensor:
    return norm_act_reference(
        x,
        weight,
        bias,
        residual,
        eps=attributes["epsilon"],
        slope=attributes["slope"],
        upsample=bool(attributes["upsample"]),
        pad=attributes["pad"],
    )


PLAIN = {"epsilon": 1e-5, "slope": 0.0, "upsample": 0, "pad": 0}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_two_plugins_are_instance_norm(shape: tuple[int, int, int, int], layout: str, dtype: torch.dtype) -> None:
    x, weight, bias = random(*shape, dtype=dtype, offset=-2.3), *(random(shape[1], dtype=dtype) for _ in range(2))
    actual = normalised(x, weight, bias, None, (layout, layout), **PLAIN)
    plain = reference(x, weight, bias, None, **PLAIN)
    assert_no_worse(actual, plain, exactly(reference, x, weight, bias, None, **PLAIN))


@pytest.mark.parametrize("layouts", [(LINEAR, CHANNELS_LAST), (CHANNELS_LAST, LINEAR)], ids=str)
def test_halves_may_have_different_layouts(layouts: tuple[str, str]) -> None:
    """TensorRT tunes each plugin by itself; the tiles of the statistics must mean the same to both."""
    x = random(1, 32, 70, 50, dtype=torch.float16)
    weight, bias = (random(32, dtype=torch.float16) for _ in range(2))
    actual = normalised(x, weight, bias, None, layouts, **PLAIN)
    plain = reference(x, weight, bias, None, **PLAIN)
    assert_no_worse(actual, plain, exactly(reference, x, weight, bias, None, **PLAIN))


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize(
    "attributes",
    [
        {"epsilon": 1e-5, "slope": 1.0, "upsample": 0, "pad": 1},
        {"epsilon": 1e-3, "slope": 0.2, "upsample": 1, "pad": 0},
        {"epsilon": 1e-5, "slope": 1.0, "upsample": 1, "pad": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("adaptive", [False, True])
def test_what_follows_the_norm_is_in_the_second_one(layout: str, attributes: dict[str, Any], adaptive: bool) -> None:
    x, residual = (random(2, 16, 9, 6, dtype=torch.float16, offset=place) for place in (1.0, 0.0))
    rows = (2, 16) if adaptive else (16,)
    weight, bias = random(*rows, dtype=torch.float16), random(*rows, dtype=torch.float16, offset=1.0)
    for beside in (None, residual):
        actual = normalised(x, weight, bias, beside, (layout, layout), **attributes)
        plain = reference(x, weight, bias, beside, **attributes)
        assert_no_worse(actual, plain, exactly(reference, x, weight, bias, beside, **attributes))


@pytest.mark.parametrize("layout", FORMATS)
def test_table_plugin_is_the_operator(layout: str) -> None:
    x, table = random(2, 48, 9, 15, dtype=torch.float16), random(7, 96, dtype=torch.float16)
    index = (torch.arange(2 * 9 * 15, dtype=torch.int32, device=DEVICE) % 7).view(2, 9, 15)
    actual = launched(SpadeTableApply(), layout, x, index, table, slope=0.2)
    plain = spade_table_apply_reference(x, index, table, 0.2)
    assert_no_worse(actual, plain, spade_table_apply_reference(x.double(), index, table.double(), 0.2))


def test_layouts_follow_the_channels_and_the_elements() -> None:
    plugin = NormStats()
    assert plugin.layouts("bf16", 64) == (CHANNELS_LAST, LINEAR)
    assert plugin.layouts("bf16", 24) == plugin.layouts("fp32", 64) == (LINEAR,)


def test_planes_of_any_size_have_few_tiles_that_cover_them() -> None:
    for batch, channels, height, width in ((1, 64, 256, 256), (1, 256, 64, 64), (8, 3, 1, 1), (1, 16, 1024, 1000)):
        _, tiles, _, _ = NormStats().shape([(batch, channels, height, width)], Numbers())
        assert 1 <= tiles <= 64
        span = ceil(ceil(height * width / tiles) / 256) * 256
        assert tiles * span >= height * width > (tiles - 1) * span


def test_parameters_are_put_in_order() -> None:
    ptx = ".visible .entry kernel(.param .u64 kernel_param_0, .param .u32 kernel_param_1){ ld kernel_param_0; }"
    turned = in_order(ptx, "kernel", ["y", "n"], ["n", "y"])
    assert turned.index("kernel_param_1") < turned.index("kernel_param_0")
    assert turned.count("kernel_param_0") == 2 and turned.endswith("{ ld kernel_param_0; }")


@pytest.mark.parametrize("version", VERSIONS)
def test_tensorrt_itself_takes_the_plugins(version: str, request: pytest.FixtureRequest) -> None:
    """Its validators read the signatures, its classes carry the lengths, and the kernels' PTX is assembled."""
    rows = handed_over(version, 90, ["FLOAT", "HALF", "BF16"], request)
    assert {row["plugin"] for row in rows} == {plugin.name for plugin in PLUGINS} == set(CASES)
    for row in rows:
        shapes, attributes = CASES[row["plugin"]]
        (plugin,) = (plugin for plugin in PLUGINS if plugin.name == row["plugin"])
        element = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16"}[row["element"]]
        layout = row["layouts"][0]
        expected = plugin.launch(element, layout, shapes, Numbers(), **attributes)
        assert row["shape"] == list(plugin.shape(shapes, Numbers(), **attributes))
        assert row["grid"] == list(expected.grid) and row["sizes"] == list(expected.ordered_sizes().values())
        assert row["block"] == 32 * expected.build.warps
        assert row["parameters"] == ["u64"] * len(plugin.inputs) + ["u32"] * len(row["sizes"]) + ["u64"]
        assert row["spilled"] == 0 and row["version"] == ["8.6"]
        for port, kind, form in zip((*plugin.inputs, plugin.output), row["types"], row["layouts"], strict=True):
            assert kind == {"T": row["element"], "FP32": "FLOAT"}.get(port.kind, port.kind)
            assert form == (layout if port.image else LINEAR)


@pytest.mark.parametrize("capability", [80, 100])
def test_kernels_are_assembled_for_other_gpus(capability: int, request: pytest.FixtureRequest) -> None:
    rows = handed_over(VERSIONS[-1], capability, ["BF16"], request)
    assert len(rows) == 2 * len(PLUGINS) and not any(row["spilled"] for row in rows)


def handed_over(
    version: str, capability: int, elements: list[str], request: pytest.FixtureRequest
) -> list[dict[str, Any]]:
    """Runs `tests.tensorrt_bindings.plugins` in a process of its own, which does not interpret kernels."""
    folder = bindings_of(version, request)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.tensorrt_bindings.plugins", str(folder), str(capability), *elements]
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]
