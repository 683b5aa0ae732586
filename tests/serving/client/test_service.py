"""Clients and the backend `triton` with a real server: what they give is what this process gives."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.errors import I2IError, UnsupportedError
from i2i_rt.serving import AsyncClient, Client
from i2i_rt.serving.client import shared_memory
from i2i_rt.serving.client.calls import ListRegions
from i2i_rt.serving.errors import Denied, NotFound, Refused, StreamLost
from i2i_rt.serving.installation import Installation
from i2i_rt.testing import tiny_bundle
from i2i_rt.translator import Translator
from i2i_rt.video.probe import probe
from i2i_rt.video.reader import FrameReader
from i2i_rt.video.stabilize import Stabilizer
from i2i_rt.video.writer import VideoWriter
from tests.serving.conftest import Served

pytestmark = pytest.mark.serving

WAYS = ["grpc", "grpc-memory", "http", "http-memory"]


def url_of(service: Served, way: str) -> str:
    return f"http://127.0.0.1:{service.http}" if way.startswith("http") else f"grpc://127.0.0.1:{service.grpc}"


def key_of(service: Served) -> str:
    return service.key_file.read_text().strip()


def connected(service: Served, bundle: str, way: str = "grpc") -> Client:
    memory = "on" if way.endswith("memory") else "off"
    return Client(url_of(service, way), bundle=bundle, shared_memory=memory, key=key_of(service))  # type: ignore[arg-type]


def frames_of(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def translators(exported: dict[str, Bundle]) -> Iterator[dict[str, Translator]]:
    found = {name: Translator.load(bundle.path, backend="onnxruntime", threads=1) for name, bundle in exported.items()}
    yield found
    for translator in found.values():
        translator.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 61, 47), (11, 40, 72), (2, 200, 264)])
def test_frames_of_any_size_and_number(
    service: Served, translators: dict[str, Translator], way: str, shape: tuple[int, int, int]
) -> None:
    frames = frames_of(*shape)
    with connected(service, "cut", way) as client:
        result = client.translate(frames)
        np.testing.assert_array_equal(client.translate(frames[0]), result[0])
        regions = list(client._requests._pool._all.values())
        assert any(region.mapped for region in regions) == (way.endswith("memory") and frames[:8].nbytes >= 2**16)
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(result[index], translators["cut"](frame))


@pytest.mark.parametrize("way", WAYS)
def test_styles_pipelines_streams_and_files(service: Served, translators: dict[str, Translator], way: str) -> None:
    translator = translators["starganv2"]
    assert translator.bundle is not None and translator.bundle.style is not None
    domain = translator.bundle.style.domains[1]
    frames = frames_of(3, *(translator.fixed_size or (72, 56)))
    reference = frames_of(1, 90, 70)[0]
    with connected(service, "starganv2", way) as client:
        drawn = client.style(seed=7, domain=domain)
        np.testing.assert_array_equal(drawn.code, translator.style(seed=7, domain=domain).code)
        seen = client.style(image=reference, domain=domain)
        wanted = translator(frames, translator.style(image=reference, domain=domain))
        np.testing.assert_array_equal(client.translate(frames, seen), wanted)
        mixed = [drawn, seen, drawn]
        np.testing.assert_array_equal(client.translate(frames, mixed), translator(frames, mixed))

        translated, style_id = client.pipeline(frames, image=reference, domain=domain)
        np.testing.assert_array_equal(translated, wanted)
        assert style_id == seen.style_id
        many, _ = client.pipeline(np.concatenate([frames] * 4), style_id=style_id)
        np.testing.assert_array_equal(many, np.concatenate([wanted] * 4))
        with pytest.raises(NotFound, match="no style"):
            client.pipeline(frames, style_id=style_id + 1)

        with client.stream(image=reference, domain=domain) as stream:
            for frame, expected in zip(frames, wanted, strict=True):
                np.testing.assert_array_equal(stream(frame), expected)
        with client.stream(style=seen) as stream:
            np.testing.assert_array_equal(stream(frames[0], last=True), wanted[0])

        with pytest.raises(I2IError, match="no domain is called 'cow'"):
            client.style(seed=1, domain="cow")
        with pytest.raises(Refused, match="starganv2-image"):
            client.image(b"no picture")


def test_picture_file_comes_back_as_one(service: Served, translators: dict[str, Translator]) -> None:
    frame = frames_of(1, 61, 47)[0]
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "png")
    with connected(service, "cut") as client, Image.open(io.BytesIO(client.image(file.getvalue()))) as answer:
        assert answer.format == "PNG"
        np.testing.assert_array_equal(np.array(answer), translators["cut"](frame))


@pytest.mark.parametrize("way", ["grpc", "http"])
def test_asynchronous_client_gives_the_same(service: Served, translators: dict[str, Translator], way: str) -> None:
    frames = frames_of(6, 48, 64)

    async def ask() -> list[np.ndarray]:
        async with AsyncClient(url_of(service, way), bundle="cut", shared_memory="on", key=key_of(service)) as client:
            assert await client.is_ready() and not await client.is_ready("no-such-model")
            assert {served.bundle for served in await client.models()} == {"cut", "starganv2"}
            results = await asyncio.gather(*(client.translate(frame) for frame in frames))
            async with client.stream() as stream:
                np.testing.assert_array_equal(await stream(frames[0]), results[0])
            return results

    for frame, result in zip(frames, asyncio.run(ask()), strict=True):
        np.testing.assert_array_equal(result, translators["cut"](frame))


def test_cancelled_task_leaves_a_client_that_works(service: Served) -> None:
    frames = frames_of(8, 200, 264)

    async def ask() -> None:
        url = url_of(service, "grpc")
        async with AsyncClient(url, bundle="cut", shared_memory="on", key=key_of(service)) as client:
            expected = await client.translate(frames)
            task = asyncio.create_task(client.translate(255 - frames))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for _ in range(3):
                np.testing.assert_array_equal(await client.translate(frames), expected)

    asyncio.run(ask())


def test_shared_memory_is_chosen_by_itself(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = frames_of(2, 200, 264)
    with Client(url_of(service, "grpc"), bundle="cut") as client:  # nobody told it of the key
        expected = client.translate(frames)
        assert not client._requests._pool._all
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(service.log.parent))
    with Client(url_of(service, "grpc"), bundle="cut") as client:
        np.testing.assert_array_equal(client.translate(frames), expected)
        regions = client._requests._pool._all
        assert len(regions) == 1 and all((shared_memory.FOLDER / name).exists() for name in regions)
        client.translate(frames_of(1, 16, 16))  # too small to be worth it, and the region is free for the next one
        client.translate(frames)
        assert len(regions) == 1
    assert not list(shared_memory.FOLDER.glob(f"{shared_memory.PREFIX}-*-{os.getpid()}-*"))


def test_without_the_key_frames_travel_by_themselves(service: Served) -> None:
    with Client(url_of(service, "grpc"), bundle="cut", shared_memory="on", key="wrong") as client:
        client.translate(frames_of(2, 200, 264))
        assert not client._requests._pool.is_open
    with (
        Client(url_of(service, "grpc"), bundle="cut", shared_memory="off") as client,
        pytest.raises(Denied, match="needs the administrator's key"),
    ):
        client._run(client._requests._sweep(time.monotonic() + 5))


def test_what_a_killed_client_left_is_swept(service: Served) -> None:
    code = (
        "import os, sys, numpy\n"
        "from i2i_rt.serving import Client\n"
        "client = Client(sys.argv[1], bundle='cut', shared_memory='on', key=sys.argv[2])\n"
        "client.translate(numpy.zeros((2, 200, 264, 3), numpy.uint8))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    words = [sys.executable, "-c", code, url_of(service, "grpc"), key_of(service)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    killed = subprocess.Popen(words, env=environment)
    assert killed.wait(60) == -signal.SIGKILL
    pattern = f"{shared_memory.PREFIX}-*-{killed.pid}-*"
    (left,) = shared_memory.FOLDER.glob(pattern)
    with connected(service, "cut", "grpc-memory") as client:
        client.translate(frames_of(2, 200, 264))
        assert not list(shared_memory.FOLDER.glob(pattern))
        regions = client._connection.call(ListRegions(), 5)
        assert isinstance(regions, list) and regions and left.name not in regions


def server_of(service: Served) -> psutil.Process:
    below = psutil.Process(service.process.pid).children(recursive=True)
    return next(process for process in below if process.name() == "tritonserver")


def test_restart_of_the_server_loses_nothing(
    installation: Installation, exported: dict[str, Bundle], translators: dict[str, Translator], tmp_path: Path
) -> None:
    frames = [frames_of(2, 72, 200 + 4 * index)[:2] for index in range(4)]
    expected = [np.stack([translators["cut"](frame) for frame in pair]) for pair in frames]
    service = Served.start([exported["cut"].path], tmp_path, "--canary-interval", "0.5")
    try:
        service.wait_for("ready in")
        with connected(service, "cut", "grpc-memory") as client, ThreadPoolExecutor(4) as pool:
            steady, moving = client.stream(), client.stream(momentum=0.5)
            for stream in (steady, moving):
                stream(frames[0][0])

            def ask(number: int) -> int:
                for _ in range(12):
                    np.testing.assert_array_equal(client.translate(frames[number], deadline_s=90), expected[number])
                    time.sleep(0.05)
                return number

            asked = [pool.submit(ask, number) for number in range(4)]
            time.sleep(0.3)
            server_of(service).kill()
            assert [future.result() for future in asked] == [0, 1, 2, 3]
            np.testing.assert_array_equal(steady(frames[1][0], deadline_s=90), expected[1][0])
            with pytest.raises(StreamLost, match="begin another one"):
                moving(frames[1][0])
        assert "the server restarts" in service.said()
    finally:
        service.stop()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    file = tmp_path / "clip.mp4"
    with VideoWriter(file, 48, 64) as writer:
        for index in range(40):
            frame = np.roll(frames_of(1, 48, 64)[0] // 2, index, axis=1)
            writer.write(frame, index / 25, 1 / 25)
    return file


def test_video_through_the_server_is_the_same_video(
    service: Served, exported: dict[str, Bundle], clip: Path, tmp_path: Path
) -> None:
    bundle, remote, local = str(exported["cut"].path), tmp_path / "remote.mp4", tmp_path / "local.mp4"
    server = ["--backend", "triton", "--server", url_of(service, "grpc")]
    assert main(["translate", bundle, str(clip), "-o", str(remote), *server]) == 0
    assert main(["translate", bundle, str(clip), "-o", str(local), "--backend", "onnxruntime", "--threads", "1"]) == 0
    pairs = list(zip(FrameReader(probe(remote)), FrameReader(probe(local)), strict=True))
    assert len(pairs) == 40
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours.image, theirs.image)


def test_smoothed_statistics_are_kept_by_the_server(service: Served, exported: dict[str, Bundle]) -> None:
    frames = [*frames_of(4, 48, 64) // 2, *frames_of(3, 72, 56) // 2 + 120]
    with (
        Translator.load(exported["cut"].path, backend="triton", server=url_of(service, "grpc")) as there,
        Translator.load(exported["cut"].path, backend="onnxruntime", threads=1) as here,
    ):
        assert "translate_stabilized" in here.session.stages
        remote, local, alone = Stabilizer(there, "strong"), Stabilizer(here, "strong"), Stabilizer(here, "off")
        assert not remote.note
        for _ in range(2):
            result = [(remote(frame[None]), local(frame[None]), alone(frame[None])) for frame in frames]
            assert all(np.array_equal(ours, theirs) for ours, theirs, _ in result)
            assert not all(np.array_equal(ours, plain) for ours, _, plain in result)
            remote.reset()
            local.reset()


def test_styles_come_from_the_server(
    service: Served, exported: dict[str, Bundle], translators: dict[str, Translator]
) -> None:
    here = translators["starganv2"]
    frames = frames_of(2, *(here.fixed_size or (48, 64)))
    url = url_of(service, "http")
    with Translator.load(exported["starganv2"].path, backend="triton", server=url) as there:
        assert there.description.startswith(f"triton fp32 on {url}")
        style = there.style(seed=3, domain="1")
        np.testing.assert_array_equal(style.code, here.style(seed=3, domain="1").code)
        np.testing.assert_array_equal(there(frames, style), here(frames, style))
        begun = [there.begin(frames, style) for _ in range(6)]
        assert all(np.array_equal(future.result(), here(frames, style)) for future in begun)  # type: ignore[union-attr]


def test_other_weights_and_missing_addresses_are_sentences(
    service: Served, exported: dict[str, Bundle], tmp_path: Path
) -> None:
    other, url = tiny_bundle(tmp_path / "other"), url_of(service, "grpc")
    with pytest.raises(UnsupportedError, match=r"does not serve the weights of .*other .* but cut \("):
        Translator.load(other.path, backend="triton", server=url)
    with pytest.raises(UnsupportedError, match=r"needs the server's address: --server grpc://HOST:8001"):
        Translator.load(other.path, backend="triton")
    with pytest.raises(UnsupportedError, match="is asked by the backend 'triton', not by 'openvino'"):
        Translator.load(other.path, backend="openvino", server=url)
    with pytest.raises(UnsupportedError, match="computes in fp32, not in fp16"):
        Translator.load(exported["cut"].path, precision="fp16", server=url)
