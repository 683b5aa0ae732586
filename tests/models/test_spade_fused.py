"""SPADE's generator by fused operators: the picture of the dense generator, for every kind of config."""

from typing import Any

import pytest
import torch
from torch import Tensor

from i2i_rt.export import trace
from i2i_rt.kernels import fused
from i2i_rt.models.norm import RunningNorm
from i2i_rt.models.spade import SpadeGenerator, SpadeGeneratorConfig, semantics_of
from i2i_rt.models.spade_fused import FusedSpade, folded, symbol_columns
from i2i_rt.stages.spade import Translate, translate_spec
from tests.small.spade import small

CONFIGS: dict[str, dict[str, Any]] = {
    "edges and unknown": {},
    "classes alone": {"unknown": False, "edges": False},
    "style": {"style": 8, "first_size": (2, 3)},
    "more doublings": {"upsampling": "more"},
    "most doublings": {"upsampling": "most"},
    "instance norm": {"norm": "instance"},
}


def generator(**config: Any) -> SpadeGenerator:
    """Draws a generator whose norms and biases are not those of an untrained one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SpadeGenerator(SpadeGeneratorConfig(**{"classes": 5, "width": 2, "hidden": 8, **config}))
        for module in network.modules():
            if isinstance(module, RunningNorm):
                module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return network.eval().requires_grad_(False)


def label_map(network: SpadeGenerator, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Draws regions of every class, of none and of the unknown one; the first tensor has 2 x 3 positions."""
    random = torch.Generator().manual_seed(0)
    height, width = 2 * network.multiple, 3 * network.multiple
    side = network.multiple // 2 + 3
    coarse = torch.randint(0, network.config.classes + 2, (batch, 9, 9), generator=random)
    coarse[coarse == network.config.classes] = 255
    labels = coarse.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, :height, :width]
    edges = torch.rand(labels.shape, generator=random) < 0.002
    return labels.to(torch.uint8), edges.to(torch.uint8)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_picture_is_that_of_the_dense_generator(config: dict[str, Any]) -> None:
    network, fast = generator(**config), FusedSpade()
    labels, edges = label_map(network)
    given = edges if network.config.edges else None
    style = torch.randn(2, 8) if network.config.style else None
    semantics = semantics_of(labels, given, network.config, torch.float32)
    dense = network(semantics, style)
    fast.fold(network)
    with fused.mode("export"):
        assert fast.chosen(network)
        picture = fast(network, labels, given, style)
    assert fused.relative_error(picture, dense) <= 1e-5 and dense.std() > 0.01


def test_stage_gives_the_same_frames_and_its_graph_has_the_operators() -> None:
    network = small().networks["generator"]
    assert isinstance(network, SpadeGenerator)
    stage = Translate(network).eval()
    given = label_map(network, batch=1)
    plain = stage(*given)
    with fused.mode("export"):
        assert torch.equal(stage(*given), plain), "nothing is folded, so nothing changes"
        stage.fused.fold(network)
        frames = stage(*given)
        graph = str(torch.export.export(stage, given).graph)
    assert (frames.int() - plain.int()).abs().max() <= 1
    assert all(f"i2i_rt.{name}" in graph for name in ("spade_layout", "spade_boundary_conv", "spade_conv_modulate"))
    assert torch.equal(stage(*given), plain), "without trusted kernels the generator is plain"


def test_compiled_graph_is_whole() -> None:
    network = generator()
    stage = Translate(network).eval()
    stage.fused.fold(network)
    given = label_map(network, batch=1)
    with fused.mode("export"):
        frames = torch.compile(stage, backend="eager", fullgraph=True)(*given)
        assert torch.equal(frames, stage(*given))


def test_graph_takes_label_maps_of_any_size() -> None:
    network = generator()
    stage = Translate(network).eval()
    stage.fused.fold(network)
    spec = translate_spec(network)
    examples = trace.examples(spec, {"N": 2, "H": 64, "W": 96})
    labels, edges = label_map(network, batch=3)
    given = labels.repeat(1, 2, 1), edges.repeat(1, 2, 1)
    with fused.mode("export"), trace.quiet("torch"):
        program = trace.exported(stage, examples, trace.dynamic_shapes(spec))
        assert "i2i_rt.spade_boundary_conv" in str(program.graph)
        assert torch.equal(program.module()(*given), stage(*given))


def test_half_precision_is_no_worse_than_the_dense_generator() -> None:
    network = generator()
    labels, edges = label_map(network)
    exact = network(semantics_of(labels, edges, network.config, torch.float32))
    network.bfloat16()
    dense = network(semantics_of(labels, edges, network.config, torch.bfloat16))
    fast = FusedSpade()
    fast.fold(network)
    assert fast.levels[0].bias.dtype == torch.float32
    picture = fast(network, labels, edges, None)
    assert fused.relative_error(picture, exact) <= 1.5 * fused.relative_error(dense, exact)


def test_other_kernels_stay_dense() -> None:
    network, fast = generator(kernel=5), FusedSpade()
    fast.fold(network)
    with fused.mode("export"):
        assert not fast.chosen(network)


def test_batch_norm_is_in_the_folded_weights() -> None:
    norm = generator().blocks[0].norm_0
    weight, factor, bias = folded(norm)
    x, hidden = torch.randn(1, 32, 1, 1), torch.rand(1, 8, 3, 3)
    # one position in the middle of a neighbourhood
    scale, shift = ((hidden.permute(0, 2, 3, 1).flatten(1) @ weight) * factor + bias)[:, :, None, None].chunk(2, 1)
    gamma, beta = (conv(hidden)[:, :, 1:2, 1:2] for conv in (norm.scale, norm.shift))
    torch.testing.assert_close(x * scale + shift, norm.plain(x) * (1 + gamma) + beta)


def test_symbols_have_the_columns_of_their_channels() -> None:
    config = SpadeGeneratorConfig(classes=3)
    weight = torch.randn(4, config.channels, 3, 3)
    columns = symbol_columns(weight, config)
    assert torch.equal(columns[5, 2], weight[:, 2, 1, 2]) and torch.equal(columns[0, 255], weight[:, 3, 0, 0])
    assert torch.equal(columns[4, 256 + 1], weight[:, 1, 1, 1] + weight[:, 4, 1, 1])
    assert torch.equal(columns[:, 3], columns[:, 255]), "its index among the channels is a label of the unknown too"
    assert not columns[:, 4:255].any() and torch.equal(columns[8, 256 + 77], weight[:, 4, 2, 2])
