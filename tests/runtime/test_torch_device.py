"""Functions of tensors on NumPy arrays: one recording for each shape, and results that stay as they were given."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from i2i_rt.bundle import Bundle
from i2i_rt.errors import UnsupportedError
from i2i_rt.kernels import fused
from i2i_rt.runtime import torch_device
from i2i_rt.runtime.backends import BACKENDS, Choice, open_session
from i2i_rt.runtime.torch_device import GraphRunner, Runner, switched
from i2i_rt.translator import Translator


def twice(x: Tensor) -> Tensor:
    return (x * 2).transpose(0, 1)


class Repeating(GraphRunner):
    """Records in Python what a CUDA graph does on a GPU: the same work, from the same memory into the same memory."""

    def __init__(self, function: torch_device.TensorFunction) -> None:
        super().__init__(function)
        self.recorded: list[tuple[int, ...]] = []

    def _record(self, inputs: Sequence[Tensor]) -> tuple[Callable[[], None], Sequence[Tensor], torch_device.Outputs]:
        self.recorded.append(tuple(inputs[0].shape))
        outputs = self._outputs(inputs)

        def repeat() -> None:
            for kept, output in zip(outputs, self._outputs(inputs), strict=True):
                kept.copy_(output)

        return repeat, inputs, outputs


def test_each_shape_is_recorded_once() -> None:
    run = Repeating(twice)
    for shape in [(2, 3), (2, 3), (4, 1), (2, 3)]:
        x = np.random.default_rng(len(run.recorded)).random(shape)
        (result,) = run([x])
        assert np.array_equal(result, 2 * x.T) and result.flags.c_contiguous
    assert run.recorded == [(2, 3), (4, 1)]


def test_results_are_not_written_over() -> None:
    run = Repeating(twice)
    (first,) = run([np.ones((2, 3))])
    run([np.zeros((2, 3))])
    assert np.array_equal(first, np.full((3, 2), 2.0))


def test_inputs_may_have_any_strides() -> None:
    x = np.arange(24.0).reshape(4, 6)[::2, ::-1]
    for run in (Repeating(twice), Runner(twice)):
        assert np.array_equal(run([x.copy()])[0], 2 * x.T)
        assert np.array_equal(run([x])[0], 2 * x.T)


def test_the_shape_that_was_not_used_for_longest_makes_room() -> None:
    run = Repeating(twice)
    for side in range(1, torch_device.KEPT_GRAPHS + 1):
        run([np.ones((side, 2))])
    run([np.ones((1, 2))])
    run([np.ones((99, 2))])
    run.recorded.clear()
    run([np.ones((1, 2))])
    run([np.ones((2, 2))])
    assert run.recorded == [(2, 2)]


def test_what_cannot_be_recorded_runs_without(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(GraphRunner):
        def _record(self, inputs: object) -> None:  # type: ignore[override]
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

    run = Failing(twice)
    with caplog.at_level(logging.WARNING):
        results = [run([np.ones((2, 3))])[0] for _ in range(2)]
    assert all(np.array_equal(result, np.full((3, 2), 2.0)) for result in results)
    assert caplog.messages == [
        "this network runs without CUDA graphs: operation not permitted when stream is capturing"
    ]


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_the_switch_holds_while_the_function_runs(mode: fused.Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(1)
    monkeypatch.setattr(fused, "_trusted", {("an operator", x.dtype, x.device)})
    seen = []

    def function(x: Tensor) -> Tensor:
        seen.append(fused.chosen("an operator", x))
        return x

    switched(function, mode)(x)  # type: ignore[arg-type]
    assert seen == [mode == "auto"]
    assert fused.chosen("an operator", x)


def test_unknown_switch_is_refused(bundle: Bundle) -> None:
    with pytest.raises(UnsupportedError, match="fused is 'on'; it must be one of auto, off"):
        Translator.load(bundle.path, backend="torch", fused="on")  # type: ignore[arg-type]


@pytest.mark.gpu
def test_graphs_of_a_gpu_give_what_plain_runs_give() -> None:
    torch.manual_seed(0)
    network = torch_device.placed(nn.Sequential(nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8)).eval(), "fp32")
    recorded, plain = GraphRunner(network), Runner(network)
    for side in (16, 24, 16):
        x = np.random.default_rng(side).random((1, 3, side, side), np.float32)
        np.testing.assert_allclose(recorded([x])[0], plain([x])[0], rtol=1e-4, atol=1e-4)
    assert recorded._records and len(recorded._recordings) == 2


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["auto", "off"])
@pytest.mark.parametrize(("backend", "precision", "levels"), [
    ("torch", "fp32", 1), ("torch", "bf16", 12), ("torch", "fp16", 3),
    ("torch-compile", "fp32", 1), ("torch-compile", "bf16", 12),
])  # fmt: skip
def test_sessions_of_a_gpu_agree_with_the_network(
    bundle: Bundle, backend: str, precision: str, levels: int, mode: str
) -> None:
    from i2i_rt.stages.table import load_stages

    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    with torch.no_grad():
        expected = load_stages(bundle)["translate"].module(torch.from_numpy(frames)).numpy().astype(int)
    choice = Choice(BACKENDS[backend], precision, "", fused=mode)  # type: ignore[arg-type]
    with open_session(bundle, choice) as session:
        for _ in range(2):
            actual = session.run("translate", {"frames": frames})["translated"]
            assert np.abs(actual - expected).max() <= levels
