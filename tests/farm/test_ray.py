"""A farm on real Ray: a killed worker costs time only, Ctrl-C leaves nothing, a cluster does the same work."""

import contextlib
import http.server
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from i2i_rt.cli import farm as farm_verb
from i2i_rt.cli import main
from i2i_rt.farm import cluster, split
from i2i_rt.testing import tiny_bundle
from i2i_rt.video.part import VideoOptions
from i2i_rt.video.translate import translate_video
from i2i_rt.video.writer import Encoding
from tests.farm.stand_in import SECONDS_PER_FRAME, InThisProcess, open_model
from tests.video.clips import frames_of, write_clip

pytest.importorskip("av")
pytest.importorskip("ray", reason="ray is not installed; its extra is farm")

ROOT = Path(__file__).parents[2]
FRAMES = 320
LOSSLESS = VideoOptions(encoding=Encoding(crf=0))

# `farm` as it is called, but for the model, which is slow and needs no backend
CHILD = """
import sys
from i2i_rt.cli import farm, main
from i2i_rt.farm import cluster, split
from tests.farm.stand_in import open_model

farm._open_model = lambda arguments, backend, precision: open_model(backend, precision)
cluster.RayWorkers.choose = lambda self, folder: (self.use("cpu"), ("fake", "fp32"))[1]
split.FRAMES_PER_PART = 60
sys.exit(main(["farm", *sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.video.clips.FRAMES", FRAMES)
        for name in ("a.mp4", "b.mp4"):
            write_clip(folder / name, sound=["aac"], options={"g": "25"})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("model") / "bundle").path


class Child:
    """A farm in a process of its own, and Ray below it."""

    def __init__(self, words: Sequence[str | Path], output: Path, *, seconds_per_frame: float, **more: str) -> None:
        self.output = output
        self.log = (output.parent / "log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *words, "-o", output, "--threads", "1", "--crf", "0"],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), SECONDS_PER_FRAME: str(seconds_per_frame), **more},
        )
        self.family: set[psutil.Process] = set()

    def wait_until(self, what: Callable[[], bool]) -> None:
        end = time.monotonic() + 120
        while not what():
            assert self.process.poll() is None and time.monotonic() < end, self.said()
            time.sleep(0.05)
        self.family |= set(psutil.Process(self.process.pid).children(recursive=True))

    def recorded_segments(self) -> int:
        files = self.output.glob(".farm/*/.*.segments/progress.json")
        return sum(len(json.loads(file.read_text())["segments"]) for file in files)

    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if " ".join(child.cmdline()).startswith("ray::MapWorker")]

    def listening(self) -> list[str]:
        """Gives the addresses at which its processes can be reached."""
        addresses = []
        for process in self.family:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                connections = process.net_connections("tcp")
                addresses += [one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN]
        return addresses

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def wait(self) -> int:
        return self.process.wait(timeout=120)

    def left(self) -> list[str]:
        """Names processes and folders that outlive it."""
        _, alive = psutil.wait_procs(self.family, timeout=10)
        folders = Path(tempfile.gettempdir()).glob(f"i2i-{self.process.pid}-*")
        return [str(process) for process in alive] + [str(folder) for folder in folders]


@pytest.fixture
def child(model: Path, clips: Path, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def start(*words: str, seconds_per_frame: float, **more: str) -> Child:
        given = (model, clips, *words)
        children.append(Child(given, tmp_path / "out", seconds_per_frame=seconds_per_frame, **more))
        return children[-1]

    yield start
    for one in children:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGINT)
            one.wait()
        one.log.close()


def assert_as_translated(clips: Path, output: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        translate_video(lambda frames: 255 - frames, clips / name, tmp_path / name, LOSSLESS)
        before, after = frames_of(tmp_path / name), frames_of(output / name)
        assert [time for time, _ in after] == [time for time, _ in before]
        assert all((a == b).all() for (_, a), (_, b) in zip(after, before, strict=True))


def test_a_killed_worker_costs_time_only(child: Callable[..., Child], clips: Path, tmp_path: Path) -> None:
    farm = child(seconds_per_frame=0.02)
    farm.wait_until(lambda: farm.recorded_segments() > 0)
    time.sleep(0.4)  # a part takes 1.2 s at the least: now both workers are within one
    farm.workers()[0].kill()
    listening = farm.listening()
    assert listening and all(address in ("127.0.0.1", "::ffff:127.0.0.1") for address in listening)
    assert farm.wait() == 0, farm.said()
    rows = [line.split("│") for line in farm.said().splitlines() if ".mp4 " in line]
    assert [row[2].strip() for row in rows] == [str(FRAMES)] * 2
    assert sum(int(row[5]) for row in rows) == 1, farm.said()  # one retry
    assert_as_translated(clips, farm.output, tmp_path)
    assert not farm.left()


def interrupt(farm: Child, number: signal.Signals) -> None:
    farm.wait_until(lambda: farm.recorded_segments() > 0)
    farm.process.send_signal(number)
    assert farm.wait() == 130, farm.said()
    assert "the same command goes on from there" in farm.said() and "Traceback" not in farm.said()
    assert not farm.left()
    assert [file.name for file in farm.output.iterdir()] == [".farm"]


def test_ctrl_c_leaves_nothing_half_and_the_next_run_goes_on(
    child: Callable[..., Child],
    model: Path,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    farm = child(seconds_per_frame=0.02)
    interrupt(farm, signal.SIGINT)
    kept = farm.recorded_segments()
    # the rest needs no Ray
    monkeypatch.setattr(farm_verb, "connected", lambda *_, **__: InThisProcess().connect())
    monkeypatch.setattr(farm_verb, "_open_model", lambda arguments, backend, precision: open_model(backend, precision))
    monkeypatch.setattr(split, "FRAMES_PER_PART", 60)
    words = ["farm", str(model), str(clips), "-o", str(farm.output), "--threads", "1", "--crf", "0"]
    assert main(words) == 0
    assert 0 < kept < 12 and f"{2 * FRAMES - 60 * kept} frames in" in capsys.readouterr().out
    assert_as_translated(clips, farm.output, tmp_path)


HEAD = """
import sys
import ray
context = ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, _temp_dir=sys.argv[1])
print(context.address_info["address"], flush=True)
sys.stdin.read()
"""


def test_a_cluster_does_the_work_and_stays(
    child: Callable[..., Child], clips: Path, model: Path, tmp_path: Path
) -> None:
    settings = {
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        SECONDS_PER_FRAME: "0.02",
    }
    environment = {**os.environ, **settings}
    with tempfile.TemporaryDirectory(prefix="i2i-", ignore_cleanup_errors=True) as folder:
        head = subprocess.Popen(
            [sys.executable, "-c", HEAD, folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
        assert head.stdout is not None
        address = head.stdout.readline().strip()
        interrupt(child("--ray", address, seconds_per_frame=0.02, **settings), signal.SIGTERM)

        words = [str(model), str(clips / "a.mp4"), "-o", str(tmp_path / "a.mp4"), "--backend", "torch"]
        words += ["--threads", "1", "--ray", address, "--crf", "0"]
        farm = subprocess.run(
            [sys.executable, "-m", "i2i_rt", "farm", *words],
            capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120, check=False,
        )  # fmt: skip
        assert farm.returncode == 0, farm.stderr
        assert f"the Ray cluster at {address}, 2 workers of 1 thread: torch fp32" in farm.stderr
        assert head.poll() is None
        head.communicate(timeout=60)
    assert main(["translate", *words[:2], "-o", str(tmp_path / "whole.mp4"), *words[4:8], "--crf", "0"]) == 0
    before, after = frames_of(tmp_path / "whole.mp4"), frames_of(tmp_path / "a.mp4")
    assert len(after) == FRAMES
    assert all((a == b).all() for (_, a), (_, b) in zip(after, before, strict=True))


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9: Connection refused"),
        ("nowhere.invalid:6379", "no Ray cluster answers at nowhere.invalid:6379"),
        ("127.0.0.1", "--ray is '127.0.0.1'; it must be HOST:PORT, ray://HOST:PORT or auto"),
    ],
)
def test_an_address_that_does_not_answer_is_a_sentence(
    model: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str, sentence: str
) -> None:
    words = ["farm", str(model), str(clips), "-o", str(tmp_path / "out"), "--ray", address]
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


def test_another_server_is_not_taken_for_a_cluster(
    model: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"127.0.0.1:{server.server_port}"
        assert main(["farm", str(model), str(clips), "-o", str(tmp_path / "out"), "--ray", address]) == 2
        assert f"what answers at {address} is no Ray cluster" in capsys.readouterr().err
    finally:
        server.shutdown()
        server.server_close()


def test_without_ray_a_sentence_says_how_to_install_it(
    model: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["farm", str(model), str(clips), "-o", str(tmp_path / "out")]) == 2
    assert "'i2i-rt farm' needs the package 'ray[data]': pip install 'i2i-rt[farm]'" in capsys.readouterr().err


def test_folders_of_killed_farms_are_removed() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    parent = Path(tempfile.gettempdir())
    left, running = parent / f"i2i-{ended.pid}-left", parent / f"i2i-{os.getpid()}-runs"
    left.mkdir()
    running.mkdir()
    mine = Path(cluster.folder_for_ray())
    try:
        assert not left.exists() and running.exists() and mine.parent == parent
        assert len(str(mine)) < 40
    finally:
        running.rmdir()
        mine.rmdir()
