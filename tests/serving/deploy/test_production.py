"""A production repository, served by `i2i-rt serve --repository`.

Graphs run in stand-ins for native backends; everything else is as in production.
"""

import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i_rt.bundle import Bundle
from i2i_rt.serving.config import read_config
from i2i_rt.serving.deploy.deployment import deploy
from i2i_rt.serving.deploy.settings import Settings
from i2i_rt.serving.installation import Installation
from i2i_rt.serving.repository import Repository
from i2i_rt.serving.service import canaries
from i2i_rt.translator import Translator
from i2i_rt.video.stabilize import Stabilizer
from tests.serving.conftest import LIMITS, Served
from tests.serving.deploy.shadow import replace_backend

pytestmark = pytest.mark.serving
SYSTEMS = ("cut", "starganv2", "spade")


@pytest.fixture(scope="module")
def production(exported: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository for a GPU, whose native models are replaced by stand-ins."""
    folder = tmp_path_factory.mktemp("production") / "out"
    bundles = {name: exported[name].path for name in SYSTEMS}
    deploy(bundles, folder, Settings(name="all", limits=LIMITS), backend="onnxruntime-cuda")
    for model in (folder / "models").iterdir():
        if read_config(model).backend != "python":
            replace_backend(model, model / "1" / "model.onnx")
    return Repository.open(folder)


@pytest.fixture(scope="module")
def served(
    production: Repository, installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    running = Served.start([], tmp_path_factory.mktemp("run"), "--repository", str(production.folder))
    try:
        running.wait_for("ready in", 180)
        yield running
    finally:
        assert running.stop() == 0, running.said()


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Any]:
    from tritonclient.grpc import InferenceServerClient

    with InferenceServerClient(f"127.0.0.1:{served.grpc}") as opened:
        yield opened


@pytest.fixture(scope="module")
def local(exported: dict[str, Bundle]) -> Iterator[dict[str, Translator]]:
    opened = {name: Translator.load(exported[name].path, backend="onnxruntime", threads=1) for name in SYSTEMS}
    yield opened
    for translator in opened.values():
        translator.close()


def infer(client: Any, model: str, inputs: Mapping[str, np.ndarray], output: str, **sequence: Any) -> np.ndarray:
    from tritonclient.grpc import InferInput
    from tritonclient.utils import np_to_triton_dtype

    given = []
    for name, array in inputs.items():
        given.append(InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        given[-1].set_data_from_numpy(array)
    result: np.ndarray = client.infer(model, given, **sequence).as_numpy(output)
    return result


def photograph(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def assert_same(actual: np.ndarray, wanted: np.ndarray) -> None:
    """Fails where pictures are further apart than two releases of ONNX Runtime may be."""
    assert actual.shape == wanted.shape
    assert np.abs(actual.astype(int) - wanted.astype(int)).max() <= 1


def test_every_model_is_ready_and_was_judged_by_its_canary(production: Repository, served: Served) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{served.metrics}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    for model in production.models:
        assert f'i2i_rt_model_ready{{model="{model.name}"}} 1' in text
    kinds = {canary.model.kind for canary in canaries(production)}
    assert kinds == {"stage", "style", "pipeline", "stream", "image"}


def test_frames_of_any_size_in_a_drawn_style(client: Any, local: dict[str, Translator]) -> None:
    frames = photograph(2, 61, 75, 3)
    one = np.ones(1, np.int64)
    actual = infer(client, "starganv2-pipeline", {"frames": frames, "seed": 7 * one, "domain": one}, "translated")
    translator = local["starganv2"]
    assert_same(actual, translator(frames, translator.style(seed=7, domain="1")))


def test_the_mean_style_is_that_of_more_codes_than_a_request_takes(client: Any, local: dict[str, Translator]) -> None:
    code = infer(client, "starganv2-style", {"domain": np.zeros(1, np.int64)}, "style")
    assert np.allclose(code, local["starganv2"].style(domain="0").code, atol=1e-5)


def test_a_style_comes_from_the_servers_cache_the_second_time(client: Any) -> None:
    reference = photograph(80, 90, 3, seed=5)
    inputs = {"reference": reference, "domain": np.zeros(1, np.int64)}
    first = infer(client, "starganv2-style", inputs, "style")
    before = client.get_inference_statistics("starganv2-style", as_json=True)["model_stats"][0]["inference_stats"]
    second = infer(client, "starganv2-style", inputs, "style")
    after = client.get_inference_statistics("starganv2-style", as_json=True)["model_stats"][0]["inference_stats"]
    assert np.array_equal(first, second)
    hits = int(after["cache_hit"]["count"]) - int(before.get("cache_hit", {}).get("count", 0))
    assert hits == 1


def test_label_maps_go_through_the_whole_graph(client: Any, local: dict[str, Translator]) -> None:
    labels = photograph(1, *local["spade"].fixed_size or (64, 64)) % 5
    style = local["spade"].style(seed=3)
    actual = infer(client, "spade-pipeline", {"labels": labels, "seed": np.full(1, 3, np.int64)}, "translated")
    assert_same(actual, local["spade"](labels, style))


def test_a_video_keeps_its_statistics_from_frame_to_frame(client: Any, local: dict[str, Translator]) -> None:
    stabilizer = Stabilizer(local["cut"], "light", momentum=0.5)
    scene = photograph(50, 70, 3)
    for index in range(4):
        frame = scene // 2 + 10 * index
        sequence = {"sequence_id": 9, "sequence_start": index == 0, "sequence_end": index == 3}
        inputs = {"frame": frame, **({"momentum": np.full(1, 0.5, np.float32)} if index == 0 else {})}
        assert_same(infer(client, "cut-stream", inputs, "translated", **sequence), stabilizer(frame[None])[0])


def test_a_picture_that_is_too_large_is_refused_in_front_of_the_graph(client: Any) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match="the server takes sides of 1 to 256"):
        infer(client, "cut-image", {"image": encoded(photograph(300, 20, 3))}, "translated")


def encoded(picture: np.ndarray) -> np.ndarray:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return np.frombuffer(file.getvalue(), np.uint8)


def test_nothing_of_this_machine_is_in_the_repository(production: Repository, exported: dict[str, Bundle]) -> None:
    for file in production.models_folder.glob("*/config.pbtxt"):
        assert str(exported["cut"].path.parent) not in file.read_text()
    assert not any(production.folder.glob("bundles/*/*.safetensors"))
    assert not any(path.is_symlink() for path in Path(production.folder).rglob("*"))
