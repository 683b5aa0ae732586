"""The verb live on files, on a stream served here that breaks off, and on what is not there."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from i2i_rt.cli import main
from i2i_rt.testing import FakeSession, tiny_bundle
from i2i_rt.translator import Translator
from i2i_rt.video import live
from i2i_rt.video.probe import probe
from i2i_rt.video.reader import FrameReader
from i2i_rt.video.writer import VideoWriter

SIZE = (48, 64)


def picture(number: int) -> np.ndarray:
    """A bright frame with a bar that tells its number."""
    frame = np.full((*SIZE, 3), 200, np.uint8)
    frame[:, : 2 * (number % 30) + 2] = (60, 120, 180)
    return frame


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, *SIZE) as writer:
        for number in range(24):
            writer.write(picture(number), number / 24)
    return path


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """Stands in for whatever bundle is named, and inverts."""
    session = FakeSession()
    monkeypatch.setattr(Translator, "load", lambda path, **options: Translator(session, "a stand-in"))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return session


class MotionJpeg(http.server.BaseHTTPRequestHandler):
    """Sends a few pictures as a network camera does, then breaks off."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(25):
            data = cv2.imencode(".jpg", picture(number))[1].tobytes()
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n")
            self.wfile.write(f"Content-Length: {len(data)}\r\n\r\n".encode() + data + b"\r\n")
            time.sleep(0.01)

    def log_message(self, format: str, *arguments: object) -> None: ...


@pytest.fixture
def stream() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), MotionJpeg)
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://user:secret@127.0.0.1:{server.server_address[1]}/camera.mjpg"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_becomes_a_video_with_the_times_of_arrival(
    clip: Path, session: FakeSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"

    assert main(["live", "bundle", "--url", str(clip), "--output", str(output)]) == 0

    frames = list(FrameReader(probe(output)))
    printed = capsys.readouterr()
    assert f"wrote {output}, a video of {len(frames)} frames" in printed.out
    assert "delay from arrival to file: p50" in printed.out
    assert "running fake fp32 on cpu (a stand-in)" in printed.err
    assert frames[-1].time_s == pytest.approx(23 / 24, abs=0.3)
    assert abs(frames[0].image[:, 40:].astype(int) - (255 - 200)).max() < 12
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_frames_go_to_a_folder_at_the_size_asked_for(clip: Path, session: FakeSession, tmp_path: Path) -> None:
    output = tmp_path / "frames"

    assert main(["live", "b", "--url", str(clip), "--output", str(output), "--size", "24x40", "--frames", "3"]) == 0

    assert sorted(os.listdir(output)) == ["000001.jpg", "000002.jpg", "000003.jpg"]
    assert cv2.imread(str(output / "000003.jpg")).shape == (24, 40, 3)
    assert session.calls[-1] == (1, 24, 40, 3)


def test_large_frames_are_made_smaller_and_the_summary_is_kept(
    clip: Path, session: FakeSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--max-pixels", "768", "--frames", "2", "--json", str(tmp_path / "summary.json")]

    assert main(["live", "b", "--url", str(clip), "-o", str(tmp_path / "frames"), *options]) == 0

    assert session.calls[-1] == (1, 24, 32, 3)
    assert "64x48, translated at 32x24" in capsys.readouterr().err
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["frames"] == 2
    assert summary["delay_p50_ms"] <= summary["delay_p99_ms"]


def test_the_overlay_is_written_into_files_on_request_only(clip: Path, session: FakeSession, tmp_path: Path) -> None:
    plain, written = tmp_path / "plain", tmp_path / "written"
    for folder, options in ((plain, []), (written, ["--overlay"])):
        arguments = ["live", "b", "--url", str(clip), "-o", str(folder), "--frames", "2", "--size", "240x320"]
        assert main([*arguments, *options]) == 0

    dark = [cv2.imread(str(folder / "000002.jpg"))[:12].mean() for folder in (plain, written)]
    assert dark[1] < 0.7 * dark[0]


def test_without_display_and_name_a_dated_video_is_written(
    clip: Path,
    session: FakeSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["live", "b", "--url", str(clip), "--duration", "0.2"]) == 0

    (name,) = os.listdir(tmp_path)
    assert name.startswith("live-20")
    assert f"no window: there is no display; writing {name}" in capsys.readouterr().err.replace("\n", " ")


def test_a_headless_opencv_is_told_of_where_there_is_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")

    assert "opencv-python-headless has no windows" in (live.window_problem() or "")


def test_a_stream_that_breaks_off_is_opened_again(
    stream: str, session: FakeSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"

    assert main(["live", "b", "--url", stream, "--output", str(output), "--frames", "40", "--duration", "30"]) == 0

    printed = capsys.readouterr()
    assert "broke off; trying to open it again" in printed.err
    assert "secret" not in printed.err + printed.out
    assert ", 0 reconnects" not in printed.out
    assert probe(output).height == SIZE[0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--camera", "97"], "camera 97 cannot be opened"),
        (["--url", "missing.mp4"], "there is no file missing.mp4; --url takes an address"),
        (["--url", "rtsp://me:secret@127.0.0.1:9/x"], "the stream rtsp://127.0.0.1:9/x cannot be opened"),
        (["--url", __file__], "cannot be opened as a video"),
        (["--camera", "0", "--size", "64"], "it must be HEIGHTxWIDTH"),
    ],
    ids=["camera", "file", "stream", "text", "size"],
)
def test_a_mistake_is_one_sentence(
    options: list[str], sentence: str, session: FakeSession, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["live", "b", *options]) == 2

    printed = capfd.readouterr()
    assert sentence in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("out.avi", "videos are written as .mp4"),
        ("missing/out.mp4", "there is no folder"),
        ("full", "is not empty; name a new folder"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_run(
    name: str, sentence: str, clip: Path, session: FakeSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()

    assert main(["live", "b", "--url", str(clip), "--output", str(tmp_path / name)]) == 2

    assert sentence in capsys.readouterr().err
    assert session.calls == []


def test_the_input_is_not_written_over(
    clip: Path, session: FakeSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "clip.mp4"
    copy.write_bytes(clip.read_bytes())
    for address in (str(copy), f"file://{copy}"):
        assert main(["live", "b", "--url", address, "--output", str(copy)]) == 2
        assert "is the input itself" in capsys.readouterr().err
    assert copy.read_bytes() == clip.read_bytes() and session.calls == []


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--max-pixels", "many", "it must be 1 or more"),
        ("--frames", "0", "it must be 1 or more"),
        ("--threads", "-1", "it must be 1 or more"),
        ("--duration", "-1", "a number of seconds above 0"),
    ],
)
def test_wrong_values_say_what_is_right(
    option: str, value: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["live", "b", "--camera", "0", option, value])

    assert exit_.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to a process there")
def test_ctrl_c_ends_with_a_summary_and_a_complete_video(clip: Path, stream: str, tmp_path: Path) -> None:
    bundle, output = tiny_bundle(tmp_path / "bundle", width=4, blocks=1), tmp_path / "out.mp4"
    command = [sys.executable, "-m", "i2i_rt", "live", str(bundle.path), "--url", stream, "--output", str(output)]
    process = subprocess.Popen([*command, "--stabilize", "light"], stdout=-1, stderr=-1, text=True)
    try:
        _wait_for(lambda: (tmp_path / ".out.mp4.part").exists() or process.poll() is not None)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode == 0, said
    assert f"wrote {output}, a video of" in printed
    assert "Traceback" not in said
    assert sum(1 for _ in FrameReader(probe(output))) > 0


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.05)
