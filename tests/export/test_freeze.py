"""`i2i-rt export --freeze-stats`: statistics of a clip in place of each frame's own, in every system that has some."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.cli import main
from i2i_rt.errors import UnsupportedError
from i2i_rt.export import freeze, trace, verify
from i2i_rt.export.bake import bake
from i2i_rt.export.fold import fold
from i2i_rt.importers.table import write_bundle
from i2i_rt.stages.table import load_stages
from i2i_rt.testing import tiny_bundle
from i2i_rt.translator import Translator
from i2i_rt.video.sample import Sample
from tests.capabilities import Model, models, small_configurations
from tests.small.munit import small_munit
from tests.video import clips

SIDE = 64
STATISTICS = ("instance_norm", "norm_act", "var", "std")  # in the names of what measures a frame
WITHOUT = {
    "sincut": "there is nothing to freeze",
    "pix2pix-eval": "there is nothing to freeze",
    "swapping": "there is nothing to freeze",
}


def pictures(size: tuple[int, int] | None = None) -> list[np.ndarray]:
    return [cv2.resize(picture, (size or (SIDE, SIDE))[::-1]) for picture in verify.sample_photographs()]


def small_bundle(model: Model, path: Path) -> Bundle:
    return write_bundle(small_configurations()[model.name](), model.system, path, Provenance("seed 0", sha256=""))


@pytest.mark.parametrize("model", models().values(), ids=lambda model: model.name)
def test_every_system_keeps_the_picture_whose_statistics_are_frozen(model: Model, tmp_path: Path) -> None:
    bundle = small_bundle(model, tmp_path / "bundle")
    if "translate" not in model.stages or model.main.inputs[0].name != "frames":
        with pytest.raises(UnsupportedError, match="translates no frames; nothing can be frozen"):
            freeze.fixed_size(bundle)
        return
    first, second, _ = pictures(freeze.fixed_size(bundle))
    if model.name in WITHOUT:
        with pytest.raises(UnsupportedError, match=WITHOUT[model.name]):
            freeze.calibrate(bundle, Sample((first,), (first,)))
        return
    statistics, cost = freeze.calibrate(bundle, Sample((first,), (first, second)))
    assert cost.psnr_db[0] > 55, "the frame's own statistics give its own picture"
    assert cost.psnr_db[1] < cost.psnr_db[0], "others are taken from the frozen ones"

    frozen = freeze.write(bundle, tmp_path / "frozen", statistics, "of one picture")
    stages = load_stages(frozen)
    assert {name: stage.spec for name, stage in stages.items()} == dict(frozen.stages)
    stage = stages["translate"]
    shapes = trace.dynamic_shapes(stage.spec)
    graph = fold(trace.exported(stage.module, trace.examples(stage.spec), shapes).module())
    names = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    assert not [name for name in names if any(word in name for word in STATISTICS)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A clip whose frames differ a little."""
    photograph = pictures((80, 96))[1]

    def view(index: int, height: int, width: int) -> np.ndarray:
        return np.ascontiguousarray(photograph[index % 8 : index % 8 + height, index % 8 : index % 8 + width])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "FRAMES", 12)
        return clips.write_clip(tmp_path / "clip.mp4", make=view)


def test_graphs_of_frozen_statistics_agree_and_hold_no_norm(
    bundle: Bundle, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx

    words = ["export", str(bundle.path), "--freeze-stats", str(clip), "-o", str(tmp_path / "frozen")]
    assert main([*words, "--min-frozen-psnr", "10"]) == 0
    output = capsys.readouterr().out
    assert "statistics of 6 frames; on 5 others" in output and "warping error" in output
    assert "openvino fp32:" in output and "of the time" in output

    frozen = Bundle.open(tmp_path / "frozen")
    assert set(frozen.stages) == {"translate"}
    assert "6 frames of clip.mp4" in frozen.provenance.notes[-1]
    graph = onnx.load(frozen.path / "artifacts/onnx/translate.fp32.onnx").graph
    assert not {node.op_type for node in graph.node} & {"InstanceNormalization", "ReduceMean", "NormAct"}
    frames = np.stack(pictures((37, 51)))
    with Translator.load(frozen.path, backend="torch", precision="fp32") as network:
        expected = network(frames).astype(int)
        alone = network(frames[1])
    assert np.abs(expected[1] - alone).max() <= 1, "frames of one batch do not touch each other"
    for backend in ("onnxruntime", "openvino"):
        with Translator.load(frozen.path, backend=backend, precision="fp32") as translator:
            assert np.abs(translator(frames) - expected).max() <= 1
    with Translator.load(bundle.path, backend="torch", precision="fp32") as live:
        assert np.abs(live(frames) - expected).max() > 1

    assert main(["export", str(frozen.path), "--freeze-stats", str(clip)]) == 2
    assert "are frozen already" in capsys.readouterr().err


def test_below_the_gate_nothing_is_written(
    bundle: Bundle, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(bundle.path), "--freeze-stats", str(clip), "-o", str(tmp_path / "frozen")]
    assert main([*words, "--min-frozen-psnr", "90"]) == 1
    captured = capsys.readouterr()
    assert "dB at worst" in captured.out and "is below the gate of 90 dB, and nothing was written" in captured.err
    assert not (tmp_path / "frozen").exists() and not (bundle.path / "artifacts").exists()


def test_a_baked_style_can_be_frozen_too(tmp_path: Path) -> None:
    bundle = write_bundle(small_munit(), "munit", tmp_path / "munit", Provenance("seed 0", sha256=""))
    style = np.linspace(-1, 1, 6, dtype=np.float32)[None]
    baked = bake(bundle, tmp_path / "baked", {"style": style}, "a style")
    first = pictures()[0]
    statistics, cost = freeze.calibrate(baked, Sample((first,), (first,)))
    frozen = freeze.write(baked, tmp_path / "frozen", statistics, "of one picture")
    assert cost.worst_db > 55
    with Translator.load(bundle.path, backend="torch") as model, Translator.load(frozen.path, backend="torch") as both:
        assert not both.has_style
        expected = model.session.run("translate", {"frames": first[None], "style": style})["translated"][0]
        assert np.abs(both(first).astype(int) - expected).max() <= 1


def test_a_folder_of_pictures_will_do(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, picture in enumerate(pictures()):
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    words = ["export", str(bundle.path), "--freeze-stats", str(folder), "--min-frozen-psnr", "5", "--no-verify"]
    assert main([*words, "--format", "onnx"]) == 0
    output = capsys.readouterr().out
    assert "statistics of 2 frames; on 1 others" in output and "a folder of pictures has no motion" in output
    assert Bundle.open(bundle.path.with_name("bundle-frozen")).weights(prefix="frozen.")


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing.mp4", "there is no file or folder"), ("empty", "has 0 pictures that can be read; 3 are needed")],
)
def test_what_cannot_be_read_is_said(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["export", str(bundle.path), "--freeze-stats", str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err
    assert not bundle.path.with_name("bundle-frozen").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--freeze-stats", "pictures", "-o", "bundle"], "-o bundle is the model itself"),
        (["--freeze-stats", "nothing.mp4", "-o", "pictures"], "pictures exists and is no bundle"),
        (["--min-frozen-psnr", "20"], "--min-frozen-psnr belongs to --freeze-stats"),
    ],
)
def test_wrong_options_are_said_before_measuring(
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(bundle.path.parent)
    Path("pictures").mkdir(exist_ok=True)
    Path("pictures/picture.png").touch()
    assert main(["export", bundle.path.name, *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and not captured.out


def test_what_is_saved_is_told_where_there_are_other_stages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Styles stay: the graph that makes them is none of those that are compared."""
    monkeypatch.setattr("i2i_rt.export.bake.median_ms", lambda runs, seconds: [2.0, 1.0])
    made = small_configurations()["bicyclegan"]()
    write_bundle(made, "bicyclegan", tmp_path / "model", Provenance("drawn with seed 0", sha256=""))
    (tmp_path / "pictures").mkdir()
    for index, picture in enumerate(pictures()):
        cv2.imwrite(str(tmp_path / f"pictures/{index}.png"), picture)
    words = ["export", str(tmp_path / "model"), "--freeze-stats", str(tmp_path / "pictures"), "--min-frozen-psnr", "0"]
    assert main([*words, "--format", "onnx", "--no-verify"]) == 0
    output = capsys.readouterr().out
    assert "GFLOPs before" in output and "onnxruntime fp32: 2.0 ms before, 1.0 ms after" in output


def test_torch_compile_takes_the_frozen_statistics(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    first = pictures()[0]
    statistics, _ = freeze.calibrate(bundle, Sample((first,), (first,)))
    module = load_stages(freeze.write(bundle, tmp_path / "frozen", statistics, "of one picture"))["translate"].module
    compiled = torch.compile(module, dynamic=False, fullgraph=True, backend="eager")
    frames = torch.from_numpy(np.stack(pictures()))
    with torch.inference_mode():
        for _ in range(2):
            assert torch.equal(compiled(frames), module(frames))
