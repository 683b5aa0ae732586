"""Configs of native backends, judged without these backends: as protobuf, by the real server, and by a stand-in.

The stand-in has the same config, but its backend is Python, which runs the same ONNX graph: names, shapes, batching and
warm-up are then those of the server itself.
"""

import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError
from i2i_rt.export.profiles import parse
from i2i_rt.serving.config import read_config, served_model
from i2i_rt.serving.deploy.deployment import deploy
from i2i_rt.serving.deploy.natives import NATIVES
from i2i_rt.serving.deploy.settings import Settings
from i2i_rt.serving.installation import Installation
from i2i_rt.serving.server import MESSAGE_OPTIONS, TritonServer
from tests.serving.deploy.conftest import LIMITS
from tests.serving.deploy.shadow import replace_backend

PROFILES = parse("64x64..64x64..256x256", "1..4")


def settings_of(device: str, **changes: Any) -> Settings:
    return Settings(**{"name": "tiny", "target": f"triton-{device}", "device": device, "limits": LIMITS, **changes})


@pytest.fixture(scope="module")
def deployed(tiny: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the native models of the tiny bundle in every backend."""
    models = tmp_path_factory.mktemp("all") / "models"
    models.mkdir()
    for name, native in NATIVES.items():
        folder = tmp_path_factory.mktemp(name) / "out"
        deploy({name: tiny.path}, folder, settings_of(native.device), backend=name, profiles=PROFILES)
        for model in (folder / "models").iterdir():
            if read_config(model).backend != "python":
                model.rename(models / model.name)
    return models


def test_every_backend_has_its_stages_with_warm_up_and_a_queue_that_ends(deployed: Path) -> None:
    for name in NATIVES:
        inner = "-package" if name == "aot-inductor" else ""
        config = read_config(deployed / f"{name}-translate{inner}")
        assert config.model_warmup[0].inputs, name
        assert list(config.version_policy.specific.versions) == [1]
        if name != "aot-inductor":
            assert config.max_batch_size == LIMITS.batch
            assert config.dynamic_batching.default_queue_policy.max_queue_size > 0
            assert list(config.dynamic_batching.preferred_batch_size) == [4]
        stabilized = read_config(deployed / f"{name}-translate_stabilized{inner}")
        assert stabilized.max_batch_size == 0 and not stabilized.dynamic_batching.preferred_batch_size


def test_engine_has_its_profiles_and_graphs_of_their_usual_shapes(deployed: Path) -> None:
    config = read_config(deployed / "tensorrt-translate")
    assert list(config.instance_group[0].profile) == ["0", "1"]
    assert config.optimization.cuda.graphs and config.optimization.cuda.output_copy_stream
    graphs = [
        (graph.batch_size, list(graph.input["frames"].dim), graph.graph_lower_bound.batch_size)
        for graph in config.optimization.cuda.graph_spec
    ]
    assert graphs == [
        (1, [64, 64, 3], 0),
        (4, [64, 64, 3], 2),
        (1, [128, 128, 3], 0),
        (4, [128, 128, 3], 2),
    ]
    served = served_model(config)
    assert served is not None and [axis.low for axis in served.spec.inputs[0].axes] == [1, 64, 64, 1]


def test_accelerators_have_parameters_where_the_server_reads_them(deployed: Path) -> None:
    cuda = read_config(deployed / "onnxruntime-cuda-translate")
    accelerator = cuda.optimization.execution_accelerators.gpu_execution_accelerator[0]
    assert accelerator.name == "cuda" and accelerator.parameters["use_tf32"] == "0"
    assert cuda.parameters["cudnn_conv_algo_search"].string_value == "1"
    engine = read_config(deployed / "onnxruntime-tensorrt-translate")
    parameters = engine.optimization.execution_accelerators.gpu_execution_accelerator[0].parameters
    assert parameters["trt_profile_min_shapes"] == "frames:1x64x64x3"
    assert parameters["trt_profile_max_shapes"] == "frames:4x256x256x3"
    assert parameters["precision_mode"] == "FP32"
    openvino = read_config(deployed / "onnxruntime-openvino-translate")
    assert openvino.optimization.execution_accelerators.cpu_execution_accelerator[0].name == "openvino"


def test_instances_times_threads_are_the_cores(tiny: Bundle, tmp_path: Path) -> None:
    settings = settings_of("cpu", cpus=8, instances=4)
    deploy({"tiny": tiny.path}, tmp_path / "out", settings, backend="onnxruntime")
    config = read_config(tmp_path / "out" / "models" / "tiny-translate")
    assert config.instance_group[0].count == 4 and config.parameters["intra_op_thread_count"].string_value == "2"


def test_bundles_on_one_gpu_take_turns(tiny: Bundle, tmp_path: Path) -> None:
    bundles = {"a": tiny.path, "b": tiny.path}
    deploy(bundles, tmp_path / "out", settings_of("gpu"), backend="onnxruntime-cuda")
    for name in bundles:
        (resource,) = (
            read_config(tmp_path / "out" / "models" / f"{name}-translate").instance_group[0].rate_limiter.resources
        )
        assert (resource.name, resource.count, getattr(resource, "global")) == ("gpu", 1, True)
    assert "--rate-limit-resource=gpu:1" in (tmp_path / "out" / "server.json").read_text()


def test_engine_without_its_key_is_refused_and_nothing_is_left(copied: Bundle, tmp_path: Path) -> None:
    (copied.path / "artifacts" / "tensorrt" / "translate.fp32.json").unlink()
    with pytest.raises(I2IError, match="do not belong together"):
        deploy({"tiny": copied.path}, tmp_path / "out", settings_of("gpu"), backend="tensorrt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny"]


@pytest.mark.serving
def test_the_server_misses_nothing_but_the_backends(installation: Installation, deployed: Path) -> None:
    with TritonServer(deployed, installation=installation) as server:
        end = time.monotonic() + 60
        while server.exit_code is None and time.monotonic() < end:
            time.sleep(0.1)
        log = server.log()
    faults = dict(re.findall(r"failed to load '([^']+)' version 1: (.+)", log))
    for model in sorted(deployed.iterdir()):
        config = read_config(model)
        if config.platform == "ensemble":
            continue  # it is not looked at where what it asks cannot be loaded
        fault = faults.get(model.name, "")
        if config.platform == "torch_aoti":
            # 24.10 does not know this platform yet
            assert re.search(rf"{model.name}.*platform.*torch_aoti", log), log
            continue
        wanted = f"unable to find backend library for backend '{config.backend}'"
        assert wanted in fault, f"{model.name}: {fault}"


@pytest.fixture(scope="module")
def shadows(installation: Installation, deployed: Path, tiny: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server whose models have the configs of production, and Python in place of each backend."""
    folder = tmp_path_factory.mktemp("shadows") / "models"
    for model in sorted(deployed.iterdir()):
        config = read_config(model)
        shutil.copytree(model, folder / model.name)
        if config.platform == "ensemble":
            continue
        stage = "translate_stabilized" if "stabilized" in model.name else "translate"
        replace_backend(folder / model.name, tiny.path / "artifacts" / "onnx" / f"{stage}.fp32.onnx")
    with TritonServer(folder, installation=installation) as server:
        server.wait_ready(180)
        yield server


@pytest.mark.serving
@pytest.mark.parametrize("name", NATIVES)
def test_a_stand_in_with_the_same_config_gives_the_right_pixels(shadows: Any, tiny: Bundle, name: str) -> None:
    import onnxruntime

    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 128, 3), np.uint8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    graph = onnxruntime.InferenceSession(tiny.path / "artifacts" / "onnx" / "translate.fp32.onnx", options)
    (wanted,) = graph.run(None, {"frames": frames})
    answer = infer(shadows, f"{name}-translate", {"frames": frames}, "translated")
    assert np.abs(answer.astype(int) - wanted).max() <= 1  # of another release of ONNX Runtime


@pytest.mark.serving
def test_a_batch_beyond_the_limit_is_refused_by_the_config(shadows: Any) -> None:
    from tritonclient.utils import InferenceServerException

    frames = np.zeros((LIMITS.batch + 1, 64, 64, 3), np.uint8)
    with pytest.raises(InferenceServerException, match="batch-size must be <= 4"):
        infer(shadows, "tensorrt-translate", {"frames": frames}, "translated")


def infer(server: TritonServer, model: str, inputs: dict[str, np.ndarray], output: str) -> np.ndarray:
    from tritonclient import grpc
    from tritonclient.utils import np_to_triton_dtype

    given = []
    for name, array in inputs.items():
        given.append(grpc.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        given[-1].set_data_from_numpy(array)
    with grpc.InferenceServerClient(server.address, channel_args=MESSAGE_OPTIONS) as client:
        answer: np.ndarray = client.infer(model, given).as_numpy(output)
    return answer
