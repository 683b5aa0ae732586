"""The benchmark of frozen statistics, on narrow networks and a short clip."""

from pathlib import Path

import pytest

from i2i_rt.benchmarks import frozen
from i2i_rt.benchmarks.report import Report
from i2i_rt.bundle import Bundle
from tests.video import clips


def test_networks_and_a_model_are_measured(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "SYSTEMS", {"cyclegan": frozen.cyclegan})
    monkeypatch.setattr(frozen, "SIZE", 64)
    monkeypatch.setattr(clips, "FRAMES", 6)
    clip = clips.write_clip(tmp_path / "clip.mp4")
    words = [str(bundle.path), str(clip), "--quick", "--width", "4", "-o", str(tmp_path)]
    assert frozen.main(words) == 0
    report = Report.read(tmp_path / "frozen.json")
    assert {row.name for row in report.rows} == {"cyclegan", "cyclegan frozen", "trained", "trained frozen"}
    for live, constant in zip(report.rows[::2], report.rows[1::2], strict=True):
        assert not live.ratios and constant.ratios["live"] > 0
    assert 0 < float(report.figures["PSNR to live statistics, worst of them (dB)"]) < 100
    assert "warping error, frozen (levels)" in report.figures
    assert not (bundle.path / "artifacts").exists(), "the model itself is left as it was"


def test_a_bundle_needs_a_clip(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        frozen.main([str(bundle.path)])
    assert "name both a bundle and a clip" in capsys.readouterr().err
