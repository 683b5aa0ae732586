"""The real server gives what a translator in this process gives, bit for bit."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i_rt.bundle import Bundle
from i2i_rt.serving.installation import Installation
from i2i_rt.serving.repository import Repository, write_repository
from i2i_rt.serving.server import TritonServer
from i2i_rt.translator import Translator
from i2i_rt.video.stabilize import Stabilizer
from tests.serving.conftest import LIMITS

pytestmark = pytest.mark.serving
TYPES = {"uint8": "UINT8", "float32": "FP32", "int64": "INT64"}


@pytest.fixture(scope="module")
def server(repository: Repository, installation: Installation) -> Iterator[TritonServer]:
    with TritonServer(repository.models_folder, installation=installation) as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def client(server: TritonServer) -> Iterator[Any]:
    from tritonclient.grpc import InferenceServerClient

    with InferenceServerClient(server.address) as opened:
        yield opened


@pytest.fixture(scope="module")
def local(exported: dict[str, Bundle]) -> Iterator[dict[str, Translator]]:
    opened = {name: Translator.load(b.path, backend="onnxruntime", threads=1) for name, b in exported.items()}
    yield opened
    for translator in opened.values():
        translator.close()


def infer(client: Any, model: str, inputs: Mapping[str, np.ndarray], output: str, **sequence: Any) -> np.ndarray:
    from tritonclient.grpc import InferInput

    given = []
    for name, array in inputs.items():
        given.append(InferInput(name, array.shape, TYPES[array.dtype.name]))
        given[-1].set_data_from_numpy(array)
    result: np.ndarray = client.infer(model, given, **sequence).as_numpy(output)
    return result


def photograph(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def one(value: int) -> np.ndarray:
    return np.array([value], np.int64)


def test_every_kind_of_model_answers_exactly(client: Any, local: dict[str, Translator]) -> None:
    cut, stargan, spade = local["cut"], local["starganv2"], local["spade"]
    frames = photograph(3, 64, 96)
    assert np.array_equal(infer(client, "cut-translate", {"frames": frames}, "translated"), cut(frames))
    odd, reference = photograph(2, 61, 75), photograph(40, 50, seed=1)
    style = stargan.style(image=reference, domain="dog")
    given = {"reference": reference, "domain": one(1)}
    assert np.array_equal(infer(client, "starganv2-style", given, "style"), style.code)
    name = infer(client, "starganv2-style", given, "style_id")
    for makers in (given, {"style_id": name}):
        answer = infer(client, "starganv2-pipeline", {"frames": odd, **makers}, "translated")
        assert np.array_equal(answer, stargan(odd, style))
    labels = np.random.default_rng(2).integers(0, 6, (1, 4, 6), np.uint8).repeat(16, 1).repeat(16, 2)
    answer = infer(client, "spade-pipeline", {"labels": labels, "seed": one(5)}, "translated")
    assert np.array_equal(answer, spade.fork()(labels, spade.style(seed=5)))


def test_refusals_have_their_codes(client: Any) -> None:
    from tritonclient.utils import InferenceServerException

    frames = photograph(1, 62, 64)
    for model, inputs, code, words in [
        ("cut-translate", {"frames": frames}, "INVALID_ARGUMENT", "multiple of 4"),
        ("starganv2-pipeline", {"frames": frames, "style_id": one(5)}, "NOT_FOUND", "no style of the name 5"),
        ("starganv2-pipeline", {"frames": frames, "seed": one(5)}, "INVALID_ARGUMENT", "0 cat, 1 dog, 2 wild"),
        ("cut-image", {"image": photograph(9).reshape(-1)}, "INVALID_ARGUMENT", "no image"),
    ]:
        with pytest.raises(InferenceServerException, match=words) as found:
            infer(client, model, inputs, "translated")
        assert found.value.status() == f"StatusCode.{code}"
    with pytest.raises(InferenceServerException, match="START"):
        infer(client, "cut-stream", {"frame": frames[0]}, "translated", sequence_id=77)


def test_parallel_streams_are_exact(client: Any, local: dict[str, Translator]) -> None:
    def scene(number: int) -> list[np.ndarray]:
        return [(photograph(48, 50, seed=number) * (1 - index / 40)).astype(np.uint8) for index in range(20)]

    def translated(number: int) -> list[np.ndarray]:
        frames, answers = scene(number), []
        for index, frame in enumerate(frames):
            inputs = {"frame": frame} | ({"momentum": np.array([0.9], np.float32)} if index == 0 else {})
            how = {"sequence_start": index == 0, "sequence_end": index == len(frames) - 1}
            answers.append(infer(client, "cut-stream", inputs, "translated", sequence_id=number, **how))
        return answers

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(translated, range(1, 9)))
    for number, found in enumerate(answers, 1):
        stabilizer = Stabilizer(local["cut"], "light", momentum=0.9)
        for frame, answer in zip(scene(number), found, strict=True):
            assert np.array_equal(answer, stabilizer(frame[None])[0])


@pytest.mark.parametrize("model", ["cut-translate", "starganv2-pipeline"])
def test_a_hundred_at_once_are_all_right(client: Any, local: dict[str, Translator], model: str) -> None:
    frames = photograph(4, 128, 192)
    style = {"seed": one(1), "domain": one(0)} if model.startswith("starganv2") else {}
    translator = local[model.partition("-")[0]]
    wanted = translator(frames, translator.style(seed=1, domain="cat")) if style else translator(frames)

    def is_right(_: int) -> bool:
        return np.array_equal(infer(client, model, {"frames": frames, **style}, "translated"), wanted)

    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(is_right, range(100)))


def test_no_request_sleeps_in_an_empty_queue(client: Any) -> None:
    """The server's batcher looks every 500 ms where it was not woken; no request may have to wait for that."""
    frames, slow = photograph(1, 32, 32), 0
    infer(client, "cut-translate", {"frames": frames}, "translated")
    for _ in range(200):
        begin = time.perf_counter()
        infer(client, "cut-translate", {"frames": frames}, "translated")
        slow += 0.4 < time.perf_counter() - begin < 0.7
    assert slow < 2


def test_answers_are_right_under_numpy_2_too(
    exported: dict[str, Bundle], installation: Installation, tmp_path: Path, local: dict[str, Translator]
) -> None:
    from tritonclient.grpc import InferenceServerClient

    if not installation.backend or installation.backend[-1].parent.name != "{}.{}".format(*sys.version_info):
        pytest.skip("the server has the Python of its container, or another one than these tests")
    if int(np.__version__.partition(".")[0]) < 2:
        pytest.skip("the tests run under NumPy 1")
    path = f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"
    ours = replace(installation, environment={**installation.environment, "PATH": path, "VIRTUAL_ENV": sys.prefix})
    written = write_repository(
        {"cut": exported["cut"].path}, tmp_path / "repository", limits=LIMITS, threads=1, backend="onnxruntime"
    )
    frames = photograph(2, 64, 96)
    with TritonServer(written.models_folder, installation=ours) as server:
        server.wait_ready()
        with InferenceServerClient(server.address) as client:
            answer = infer(client, "cut-translate", {"frames": frames}, "translated")
        assert np.array_equal(answer, local["cut"](frames))
        assert "PyCapsule" not in server.log()
