"""`i2i-rt export` and `i2i-rt verify`: graphs that agree with the network, and the gate that says when not."""

import json
from pathlib import Path

import numpy as np
import pytest

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.errors import UnsupportedError
from i2i_rt.export import formats
from i2i_rt.export.fused_nodes import inlined
from i2i_rt.export.verify import SIZES
from i2i_rt.runtime import backends
from i2i_rt.testing import tiny_bundle
from i2i_rt.translator import Translator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with every artifact, verified."""
    bundle = tiny_bundle(tmp_path_factory.mktemp("exported") / "bundle", antialias_down=True, antialias_up=True)
    assert main(["export", str(bundle.path)]) == 0
    assert main(["export", str(bundle.path), "--format", "onnx", "--precision", "fp16"]) == 0
    return bundle


def graph_of(bundle: Bundle, precision: str = "fp32") -> object:
    import onnx

    return onnx.load(bundle.path / f"artifacts/onnx/translate.{precision}.onnx")


def test_graph_takes_and_gives_uint8_rgb_of_any_size(exported: Bundle) -> None:
    import onnx

    model = graph_of(exported)
    onnx.checker.check_model(model)
    for tensor in (*model.graph.input, *model.graph.output):
        axes = tensor.type.tensor_type.shape.dim
        assert tensor.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        assert [bool(axis.dim_param) for axis in axes] == [True, True, True, False] and axes[3].dim_value == 3
    assert max(entry.version for entry in model.opset_import if entry.domain == "") >= 20
    assert str(ROOT) not in str(model.SerializeToString()), "a path of this machine is in the graph"
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["i2i_rt.weights_sha256"] == exported.weights_sha256()
    assert metadata["i2i_rt.size_multiple"] == "4"


def test_half_precision_graph_keeps_statistics_in_float32(exported: Bundle) -> None:
    model = inlined(exported.path / "artifacts/onnx/translate.fp16.onnx")
    producers = {output: node for node in model.graph.node for output in node.output}
    norms = [node for node in model.graph.node if node.op_type == "InstanceNormalization"]
    assert len(norms) > 5
    for node in norms:
        cast = producers[node.input[0]]
        assert cast.op_type == "Cast" and cast.attribute[0].i == 1  # TensorProto.FLOAT


@pytest.mark.parametrize(("backend", "precision", "levels"), [
    ("onnxruntime", "fp32", 1), ("openvino", "fp32", 1), ("onnxruntime", "fp16", 3),
])  # fmt: skip
@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 37, 51), (3, 16, 100), (1, 1, 9)], ids=str)
def test_artifact_agrees_with_the_network_at_any_size(
    exported: Bundle, backend: str, precision: str, levels: int, shape: tuple[int, int, int]
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = Translator.load(exported.path, backend="torch", precision="fp32")(frames)
    actual = Translator.load(exported.path, backend=backend, precision=precision)(frames)
    assert actual.shape == frames.shape
    assert np.abs(actual.astype(int) - expected).max() <= levels


def test_records_hold_every_size_and_batch(exported: Bundle) -> None:
    records = exported.verification()
    assert {(record["backend"], record["precision"]) for record in records} >= {
        ("onnxruntime", "fp32"), ("onnxruntime", "fp16"), ("openvino", "fp32"),
    }  # fmt: skip
    for record in records:
        assert record["passed"] and record["median_ms"] > 0
        assert {(case["height"], case["width"]) for case in record["cases"]} == set(SIZES)
        # a stage with memory follows one video, so it takes one frame at a time
        assert {case["batch"] for case in record["cases"]} == ({1, 2} if record["stage"] == "translate" else {1})


def test_auto_takes_the_fastest_that_passed(exported: Bundle) -> None:
    choice = backends.choose(exported)
    records = [record for record in exported.verification() if record["stage"] == "translate"]
    fastest = min(records, key=lambda record: record["median_ms"])
    assert (choice.backend.name, choice.precision) == (fastest["backend"], fastest["precision"])
    assert "fastest verified here" in choice.reason


def test_auto_leaves_out_what_failed_or_is_stale(exported: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    records = exported.verification()
    for record in records:
        record["passed"] = record["backend"] == "onnxruntime" and record["precision"] == "fp32"
    monkeypatch.setattr(Bundle, "verification", lambda _: records)
    assert backends.choose(exported).backend.name == "onnxruntime"
    for record in records:
        record["artifact_sha256"] = "of another file"
    assert backends.choose(exported).backend.name == "torch"


def test_wrong_graph_is_below_the_gate(exported: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A graph that is slightly wrong everywhere must fail, and `auto` must not take it."""
    import onnx

    bundle = tiny_bundle(tmp_path / "bundle")
    assert main(["export", str(bundle.path), "--format", "onnx", "--no-verify"]) == 0
    file = bundle.path / "artifacts/onnx/translate.fp32.onnx"
    model = onnx.load(file)
    kernel = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    kernel.raw_data = (np.frombuffer(kernel.raw_data, np.float32) + 0.02).astype(np.float32).tobytes()
    onnx.save(model, file)
    assert main(["verify", str(bundle.path)]) == 1
    assert "[x]" in capsys.readouterr().out
    assert backends.choose(bundle).backend.name == "torch"


def test_nan_behind_the_clamp_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    bundle = tiny_bundle(tmp_path / "bundle")
    assert main(["export", str(bundle.path), "--format", "onnx", "--no-verify"]) == 0
    file = bundle.path / "artifacts/onnx/translate.fp32.onnx"
    model = onnx.load(file)
    bias = [tensor for tensor in model.graph.initializer if list(tensor.dims) == [3]][-1]
    bias.raw_data = np.full(3, np.nan, np.float32).tobytes()
    onnx.save(model, file)
    assert main(["verify", str(bundle.path)]) == 1
    assert bundle.verification()[0]["non_finite"] > 0


def test_changed_weights_make_artifacts_stale(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    assert main(["export", str(bundle.path), "--format", "onnx", "--no-verify"]) == 0
    other = tiny_bundle(tmp_path / "other", width=8)
    weights = (other.path / "weights.safetensors").read_bytes()
    (bundle.path / "weights.safetensors").write_bytes(weights[:-4] + b"\0\0\0\0")
    with pytest.raises(UnsupportedError, match="exported from other weights"):
        backends.choose(bundle, "onnxruntime")


def test_export_tells_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    assert main(["export", str(bundle.path), "--format", "onnx", "--no-verify"]) == 0
    assert f"next: i2i-rt verify {bundle.path}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "onx"], "did you mean 'onnx'?"),
        (["--precision", "fp23"], "did you mean 'fp32'?"),
        (["--format", "openvino", "--precision", "fp16"], "use --precision fp32,int8, or --format onnx"),
        (["--format", "openvino", "--precision", "bf16"], "export with --precision fp32"),
        (["--format", "onnx", "--precision", "bf16"], "use --precision fp32,fp16"),
        (["--images", "nowhere"], "there is no folder nowhere; --images names one"),
    ],
)
def test_wrong_options_name_the_option_to_change(
    bundle: Bundle, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(bundle.path), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (bundle.path / "artifacts").exists()


def test_verify_without_artifacts_says_what_to_do(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle.path)]) == 2
    assert f"run 'i2i-rt export {bundle.path}' first" in capsys.readouterr().err


def test_documentation_has_the_table_of_formats() -> None:
    assert formats.markdown() in (ROOT / "docs" / "formats.md").read_text()


def test_every_format_belongs_to_backends_and_back() -> None:
    for entry in formats.FORMATS.values():
        for name in entry.backends:
            row = backends.BACKENDS[name]
            assert row.format == entry.name
            assert set(row.precisions) <= set(entry.computes)
            assert set(row.precisions.values()) <= set(entry.precisions)
    assert {row.format for row in backends.BACKENDS.values()} == {None, *formats.FORMATS}


def test_pix2pix_unet_exports_with_image_statistics_and_fixed_dropout(tmp_path: Path) -> None:
    """Batches must not share statistics, and the fixed mask must be the same in the graph."""
    from i2i_rt.bundle import Provenance
    from i2i_rt.models import table
    from i2i_rt.models.unet import UNetGenerator, UNetGeneratorConfig
    from i2i_rt.stages.table import stages_of

    generator = UNetGenerator(UNetGeneratorConfig(width=4, depth=6)).eval()
    bundle = Bundle.create(
        tmp_path / "bundle",
        system="pix2pix",
        networks={"generator": table.describe(generator)},
        stages={name: stage.spec for name, stage in stages_of("cut", {"generator": generator}).items()},
        weights=table.weights_of({"generator": generator}),
        provenance=Provenance("test", ""),
    )
    assert main(["export", str(bundle.path), "--format", "onnx,openvino"]) == 0
    frames = np.random.default_rng(0).integers(0, 256, (2, 100, 64, 3), dtype=np.uint8)
    translator = Translator.load(bundle.path, backend="onnxruntime")
    alone = np.concatenate([translator(frames[:1]), translator(frames[1:])])
    assert np.abs(translator(frames).astype(int) - alone).max() <= 1


def test_verification_is_json_that_others_can_read(exported: Bundle) -> None:
    records = json.loads((exported.path / "verification.json").read_text())
    assert {"psnr_db", "ssim", "largest_difference", "colour_shift", "non_finite", "gate_db"} <= set(records[0])


def test_graph_that_openvino_refuses_leaves_everybodys_warnings(tmp_path: Path) -> None:
    """OpenVINO's converter sets the root logger to errors alone, and where it fails it leaves it so."""
    import logging

    import onnx

    from i2i_rt.export import openvino

    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    node = onnx.helper.make_node("Unheard", ["x"], ["y"], domain="of")
    graph = onnx.helper.make_graph([node], "graph", [x], [y])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("of", 1)]), tmp_path / "x.onnx")
    root = logging.getLogger()
    before = root.level, list(root.handlers), list(root.filters)
    with pytest.raises(Exception, match="Unheard"):
        openvino.build(tmp_path / "x.onnx", tmp_path / "x.xml", metadata={})
    assert (root.level, root.handlers, root.filters) == before
