"""TensorRT engines from export to picture, on stand-ins for the library: no part of this has met the real one."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.cli import main
from i2i_rt.errors import BundleError, UnsupportedError
from i2i_rt.importers.table import write_bundle
from i2i_rt.runtime import backends
from i2i_rt.runtime.artifact_key import ArtifactKey
from i2i_rt.testing import tiny_bundle
from i2i_rt.translator import Translator
from tests import gpu_stand_ins
from tests.capabilities import small_configurations
from tests.gpu_stand_ins import engines

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 68, 100, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with engines in every precision, built on an L4 with TensorRT 11.4."""
    folder = tmp_path_factory.mktemp("exported")
    bundle = tiny_bundle(folder / "bundle")
    with pytest.MonkeyPatch.context() as patch:
        gpu_stand_ins.install(patch)
        patch.setenv("XDG_CACHE_HOME", str(folder))
        assert main(["export", str(bundle.path), *TENSORRT, "--precision", "fp32,fp16,bf16", "--no-verify"]) == 0
    return bundle.path


@pytest.fixture
def bundle(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A copy of it, on the machine where it was built."""
    gpu_stand_ins.install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engines.builds.clear()
    return Bundle.open(shutil.copytree(exported, tmp_path / "bundle"))


TENSORRT = ("--format", "tensorrt", "--batch", "1..2")


@pytest.mark.parametrize(("precision", "levels"), [("fp32", 1), ("fp16", 3), ("bf16", 12)])
def test_engine_gives_the_networks_pictures(bundle: Bundle, precision: str, levels: int) -> None:
    expected = Translator.load(bundle.path, backend="torch", precision="fp32")(FRAMES)
    with Translator.load(bundle.path, backend="tensorrt", precision=precision) as translator:
        actual = translator(FRAMES)
        assert translator.session.device == "NVIDIA L4"
    assert actual.dtype == np.uint8 and np.abs(actual.astype(int) - expected).max() <= levels
    assert not engines.builds


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_reduced_precision_is_in_the_graph_with_statistics_in_float32(bundle: Bundle, precision: str) -> None:
    import onnx

    reduced = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}[precision]
    graph = onnx.load(bundle.path / f"artifacts/tensorrt/translate.{precision}.onnx").graph
    kernels = [tensor for tensor in graph.initializer if len(tensor.dims) == 4]
    assert kernels and all(tensor.data_type == reduced for tensor in kernels)
    producers = {output: node for node in graph.node for output in node.output}
    norms = [node for node in graph.node if node.op_type == "InstanceNormalization"]
    assert len(norms) > 5
    for node in norms:
        source = producers[node.input[0]]
        assert source.op_type == "Cast" and source.attribute[0].i == onnx.TensorProto.FLOAT


def test_verification_counts_what_the_clamp_hides(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """And `auto` takes what passed: the engine is one more backend."""
    from i2i_rt.export import verify

    monkeypatch.setattr(verify, "SIZES", ((64, 64), (67, 101)))
    assert main(["verify", str(bundle.path)]) == 0
    records = {(entry["stage"], entry["precision"]): entry for entry in bundle.verification()}
    assert {precision for _, precision in records} == {"fp32", "fp16", "bf16"}
    assert records["translate", "fp32"]["psnr_db"] > 60 and records["translate", "fp32"]["non_finite"] == 0
    # the usual size of the profile is among those that are compared
    assert {(case["height"], case["width"]) for case in records["translate", "fp32"]["cases"]} == {
        (64, 64), (67, 101), (256, 256),
    }  # fmt: skip
    assert backends.choose(bundle).backend.name == "tensorrt"
    # nothing was built but the engines that look behind the clamp
    assert engines.builds and all({"translated"} < set(build["outputs"]) for build in engines.builds)


def test_key_says_what_the_engine_was_built_for(bundle: Bundle) -> None:
    key = ArtifactKey.read(bundle.path / "artifacts/tensorrt/translate.fp16.engine")
    assert key is not None
    assert (key.device, key.capability, key.library, key.library_version) == (
        "NVIDIA L4", "8.9", "TensorRT", "11.4.0.106",
    )  # fmt: skip
    assert key.weights_sha256 == bundle.weights_sha256()
    assert key.shapes == [{"frames": [[1, 64, 64, 3], [1, 256, 256, 3], [2, 1024, 1024, 3]]}]
    assert key.options == {"optimisation level": "3", "workspace": "all memory", "plugins": "none"}


def test_engine_of_another_machine_is_built_anew(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_stand_ins.install(monkeypatch, gpu="NVIDIA H100", capability="9.0", version="10.16.1.11")
    engine = bundle.path / "artifacts/tensorrt/translate.fp32.engine"
    before = engine.read_bytes()
    for _ in range(2):  # the second time it fits
        with Translator.load(bundle.path, backend="tensorrt", precision="fp32") as translator:
            translator(FRAMES)
        assert len(engines.builds) == 1
    assert engine.read_bytes() != before
    key = ArtifactKey.read(engine)
    assert key is not None and (key.device, key.library_version) == ("NVIDIA H100", "10.16.1.11")
    # what was verified was another file: `auto` does not take this one before it is verified
    (artifact,) = [entry for entry in bundle.artifacts() if entry.file.endswith("translate.fp32.engine")]
    assert artifact.sha256 == json.loads(engine.with_suffix(".json").read_text())["sha256"]


def test_no_build_says_what_differs(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu_stand_ins.install(monkeypatch, gpu="NVIDIA H100", capability="9.0", version="10.16.1.11")
    options = ["--backend", "tensorrt", "--precision", "fp32", "--no-build"]
    picture = tmp_path / "frame.png"
    _write(picture)
    assert main(["translate", str(bundle.path), str(picture), "-o", str(tmp_path / "out.png"), *options]) == 2
    error = capsys.readouterr().err
    assert "made for NVIDIA L4 (8.9) with TensorRT 11.4.0.106, and here is NVIDIA H100 (9.0) with TensorRT 10" in error
    assert error.count("\n") == 1 and not engines.builds and not (tmp_path / "out.png").exists()
    assert main(["bench", "video", str(bundle.path), "--frames", "2", "-o", str(tmp_path / "out"), *options]) == 2
    assert capsys.readouterr().err.partition(": ")[2] == error.partition(": ")[2] and not engines.builds


def _write(picture: Path) -> None:
    import cv2

    cv2.imwrite(str(picture), FRAMES[0])


def test_folder_that_cannot_be_written_costs_only_the_next_build(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from i2i_rt.runtime import tensorrt_builder

    def full(file: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device", str(file))

    gpu_stand_ins.install(monkeypatch, gpu="NVIDIA B200", capability="10.0")
    monkeypatch.setattr(tensorrt_builder, "write_bytes", full)
    # said whatever level another test, or a library that it uses, has left the root logger at
    with (
        caplog.at_level(logging.WARNING, "i2i_rt"),
        Translator.load(bundle.path, backend="tensorrt", precision="fp32") as translator,
    ):
        assert translator(FRAMES).shape == FRAMES.shape
    assert "cannot be kept" in caplog.text


def test_engine_whose_key_is_lost_is_refused(bundle: Bundle) -> None:
    (bundle.path / "artifacts/tensorrt/translate.fp32.json").unlink()
    with pytest.raises(BundleError, match=r"run 'i2i-rt export .* --format tensorrt --precision fp32'"):
        Translator.load(bundle.path, backend="tensorrt", precision="fp32")


def test_size_outside_the_profiles_is_refused(bundle: Bundle) -> None:
    translator = Translator.load(bundle.path, backend="tensorrt", precision="fp32")
    with pytest.raises(UnsupportedError, match=r"takes frames 1x64x64x3 to 2x1024x1024x3, not frames 1x60x1100x3"):
        translator(np.zeros((1, 60, 1100, 3), np.uint8))


def test_profiles_and_options_reach_the_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_stand_ins.install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engines.builds.clear()
    bundle = tiny_bundle(tmp_path / "bundle")
    options = ["--profile", "62x90,64x64..128x96..256x256", "--batch", "1..2..4"]
    options += ["--optimisation-level", "1", "--workspace", "1.5"]
    assert main(["export", str(bundle.path), "--format", "tensorrt", "--no-verify", *options]) == 0
    build = engines.builds[0]
    assert (build["level"], build["tf32"], build["limits"]) == (1, False, {"WORKSPACE": int(1.5 * 2**30)})
    assert build["profiles"] == [
        {"frames": [[1, 64, 92, 3], [2, 64, 92, 3], [4, 64, 92, 3]]},  # lengths that the network takes
        {"frames": [[1, 64, 64, 3], [2, 128, 96, 3], [4, 256, 256, 3]]},
    ]
    # what the first build measured is there for the second stage's
    assert [entry["cache"] for entry in engines.builds] == [b"", b"measured;"]
    (cache,) = (tmp_path / "i2i_rt" / "tensorrt").glob("*.timing")
    assert cache.name == "NVIDIA-L4-8.9-11.4.0.106.timing" and cache.read_bytes() == b"measured;measured;"


def test_fixed_profile_is_verified_at_its_own_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_stand_ins.install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundle = tiny_bundle(tmp_path / "bundle")
    assert main(["export", str(bundle.path), "--format", "tensorrt", "--profile", "96x64", "--batch", "3"]) == 0
    record = next(entry for entry in bundle.verification() if entry["stage"] == "translate")
    assert [(case["batch"], case["height"], case["width"]) for case in record["cases"]] == [(3, 96, 64)]


def test_label_maps_are_translated_by_their_distinct_neighbourhoods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPADE's stages have axes whose lengths follow from no size: how many neighbourhoods there are."""
    gpu_stand_ins.install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundle = write_bundle(small_configurations()["spade"](), "spade", tmp_path / "bundle", Provenance("seed 0", ""))
    assert main(["export", str(bundle.path), *TENSORRT, "--no-verify", "--profile", "64x64..96x96"]) == 0
    labels = (np.indices((64, 96)).sum(0) // 24 % 3).astype(np.uint8)[None]
    expected = Translator.load(bundle.path, backend="torch", precision="fp32")(labels)
    with Translator.load(bundle.path, backend="tensorrt", precision="fp32") as translator:
        for _ in range(2):
            assert np.abs(translator(labels).astype(int) - expected).max() <= 1
    assert {entry.stage for entry in bundle.artifacts()} == {"translate", "layout", "render"}


@pytest.mark.parametrize(
    ("machine", "sentence"),
    [
        ({"gpu": ""}, "there is no NVIDIA GPU here that CUDA can use"),
        ({"version": "8.6.1"}, "TensorRT is 8.6.1; 10.0 or later is needed"),
        ({"gpu": "Tesla T4", "capability": "7.5"}, "compute capability 7.5; bf16 needs 8.0"),
    ],
)
def test_export_where_it_cannot_be_done_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: dict[str, str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gpu_stand_ins.install(monkeypatch, **machine)
    bundle = tiny_bundle(tmp_path / "bundle")
    assert main(["export", str(bundle.path), "--format", "tensorrt", "--precision", "bf16"]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert sorted(path.name for path in bundle.path.iterdir()) == ["bundle.json", "weights.safetensors"]


def test_export_without_tensorrt_names_the_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import importlib.util

    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("this machine has TensorRT")
    bundle = tiny_bundle(tmp_path / "bundle")
    assert main(["export", str(bundle.path), "--format", "tensorrt"]) == 2
    error = capsys.readouterr().err
    assert "--format tensorrt needs the package 'tensorrt': pip install 'i2i-rt[gpu]'" in error
    assert error.count("\n") == 1


def test_graph_that_tensorrt_does_not_take_is_one_sentence(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(parser: engines.OnnxParser, model: str) -> bool:
        parser._errors.append(engines.ParserError("In node 3: no importer for X"))
        return False

    monkeypatch.setattr(engines.OnnxParser, "parse_from_file", refuse)
    before = (bundle.path / "artifacts/tensorrt/translate.fp32.engine").read_bytes()
    assert main(["export", str(bundle.path), *TENSORRT]) == 2
    assert "does not take translate.fp32.onnx: In node 3: no importer for X" in capsys.readouterr().err
    assert (bundle.path / "artifacts/tensorrt/translate.fp32.engine").read_bytes() == before
    assert not list(bundle.path.glob(".export-*"))


def test_doctor_builds_and_runs_an_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from i2i_rt.runtime import diagnosis, machine

    gpu_stand_ins.install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "gpu_name", lambda: "NVIDIA L4")
    (part,) = [part for part in diagnosis.runnable() if part.name == "tensorrt"]
    assert part.works and part.details.startswith("fp32, fp16, bf16") and part.details.endswith(" on NVIDIA L4")
