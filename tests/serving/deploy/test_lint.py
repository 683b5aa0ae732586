"""Each fault that the lint is for is put into a deployment, and found."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.errors import BundleError
from i2i_rt.export.profiles import parse
from i2i_rt.serving.config import read_config, write_config
from i2i_rt.serving.deploy.deployment import deploy, write_yaml
from i2i_rt.serving.deploy.lint import lint
from i2i_rt.serving.deploy.settings import Settings
from tests.serving.deploy.conftest import LIMITS

MODEL = "tiny-translate"


@pytest.fixture(scope="module")
def clean(tiny: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Deployments without a fault: one for each target, and for each backend that has settings of its own."""
    folders = {}
    for target in ("kubernetes", "kserve", "compose"):
        folders[target] = tmp_path_factory.mktemp(target) / "out"
        settings = Settings(name="tiny", target=target, limits=LIMITS)
        deploy({"tiny": tiny.path}, folders[target], settings, backend="tensorrt")
    for backend in ("onnxruntime-cuda", "onnxruntime-tensorrt", "onnxruntime-openvino", "aot-inductor", "python"):
        folders[backend] = tmp_path_factory.mktemp(backend) / "out"
        device = "cpu" if backend in ("onnxruntime-openvino", "python") else "gpu"
        settings = Settings(name="tiny", target=f"triton-{device}", device=device, limits=LIMITS)  # type: ignore[arg-type]
        bundles = {"tiny": tiny.path, "other": tiny.path} if backend == "onnxruntime-cuda" else {"tiny": tiny.path}
        deploy(bundles, folders[backend], settings, backend=backend, profiles=parse("64x64..64x64..256x256", "1..4"))
    return folders


def copy_of(folder: Path, tmp_path: Path) -> Path:
    """Gives a deployment that a test may change; of the code only what the lint looks for."""

    def left_out(path: str, names: list[str]) -> list[str]:
        return [name for name in names if path.endswith("code/i2i_rt") and name != "__init__.py"]

    return Path(shutil.copytree(folder, tmp_path / "out", ignore=left_out))


def test_what_is_written_has_no_fault(clean: dict[str, Path]) -> None:
    for folder in clean.values():
        assert lint(folder) == []


def duplicate_input(config: Any) -> None:
    config.input.add().CopyFrom(config.input[0])


def no_outputs(config: Any) -> None:
    del config.output[:]


def no_instances(config: Any) -> None:
    config.instance_group[0].count = 0


def empty_axis(config: Any) -> None:
    config.input[0].dims[0] = 0


def endless_queue(config: Any) -> None:
    config.dynamic_batching.default_queue_policy.max_queue_size = 0


def one_instance_with_a_queue(config: Any) -> None:
    config.instance_group[0].count = 1


def no_queue(config: Any) -> None:
    config.dynamic_batching.ClearField("default_queue_policy")


def no_timeout(config: Any) -> None:
    config.dynamic_batching.default_queue_policy.default_timeout_microseconds = 0


def late_is_delayed(config: Any) -> None:
    policy = config.dynamic_batching.default_queue_policy
    policy.timeout_action = policy.DELAY


def preferred_too_large(config: Any) -> None:
    config.dynamic_batching.preferred_batch_size.append(64)


def other_version(config: Any) -> None:
    config.version_policy.specific.versions[0] = 2


def other_name(config: Any) -> None:
    config.name = "horse"


def no_warm_up(config: Any) -> None:
    del config.model_warmup[:]


def random_warm_up(config: Any) -> None:
    config.model_warmup[0].inputs["frames"].random_data = True


def warm_up_of_another_shape(config: Any) -> None:
    config.model_warmup[0].inputs["frames"].dims[2] = 4


def warm_up_of_another_size(config: Any) -> None:
    config.model_warmup[0].inputs["frames"].dims[0] = 32


def warm_up_of_nothing(config: Any) -> None:
    config.model_warmup[0].inputs["horses"].CopyFrom(config.model_warmup[0].inputs.pop("frames"))


def gpus_of_a_cpu(config: Any) -> None:
    config.instance_group[0].kind = config.instance_group[0].KIND_CPU
    config.instance_group[0].gpus.append(0)


def graph_beyond_the_batch(config: Any) -> None:
    config.optimization.cuda.graph_spec[0].batch_size = 9


def graph_of_another_input(config: Any) -> None:
    config.optimization.cuda.graph_spec[0].input["horses"].dim.append(1)


def graph_of_another_rank(config: Any) -> None:
    config.optimization.cuda.graph_spec[0].input["frames"].dim.append(3)


def graph_upside_down(config: Any) -> None:
    config.optimization.cuda.graph_spec[1].graph_lower_bound.batch_size = 4
    config.optimization.cuda.graph_spec[1].batch_size = 3


def graphs_switched_off(config: Any) -> None:
    config.optimization.cuda.graphs = False


def profile_in_words(config: Any) -> None:
    config.instance_group[0].profile[0] = "small"


def gpu_accelerator(name: str, **parameters: str) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        found = config.optimization.execution_accelerators.gpu_execution_accelerator[0]
        found.name = name
        for key, value in parameters.items():
            found.parameters[key] = value

    return change


def no_profiles(config: Any) -> None:
    config.optimization.execution_accelerators.gpu_execution_accelerator[0].parameters.pop("trt_profile_opt_shapes")


def cpu_accelerator_with_parameter(config: Any) -> None:
    config.optimization.execution_accelerators.cpu_execution_accelerator[0].parameters["num_threads"] = "4"


def accelerator_on_the_cpu(config: Any) -> None:
    config.instance_group[0].kind = config.instance_group[0].KIND_CPU


def batch_of_a_package(config: Any) -> None:
    config.platform, config.max_batch_size = "torch_aoti", 4


def step_to_nowhere(config: Any) -> None:
    config.ensemble_scheduling.step[0].model_name = "horse"


def step_with_another_name(config: Any) -> None:
    config.ensemble_scheduling.step[0].input_map["INPUT"] = "frames"


def step_to_no_tensor_of_its_own(config: Any) -> None:
    config.ensemble_scheduling.step[0].input_map["INPUT__0"] = "horses"


def bundle_elsewhere(config: Any) -> None:
    parameter = config.parameters["i2i_rt_execution"]
    parameter.string_value = parameter.string_value.replace("bundles/tiny", "bundles/horse")


def bundle_of_this_machine(config: Any) -> None:
    parameter = config.parameters["i2i_rt_execution"]
    parameter.string_value = parameter.string_value.replace("bundles/tiny", "/home/me/tiny")


def damaged_execution(config: Any) -> None:
    config.parameters["i2i_rt_execution"].string_value = "{"


def cached_without_cache(config: Any) -> None:
    config.response_cache.enable = True


def turns_that_nobody_counts(config: Any) -> None:
    config.instance_group[0].rate_limiter.resources.add(name="tpu", count=1)


def other_inputs_than_told(config: Any) -> None:
    config.input[0].name = "photos"


def type_of_strings(config: Any) -> None:
    config.output[0].data_type = (
        config.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_name["TYPE_STRING"].number
    )


def accelerators_of_an_engine(config: Any) -> None:
    config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="cuda")


def unknown_cpu_accelerator(config: Any) -> None:
    config.optimization.execution_accelerators.cpu_execution_accelerator[0].name = "openvinu"


def graphs_of_another_backend(config: Any) -> None:
    config.optimization.cuda.graphs = True


def profiles_of_another_backend(config: Any) -> None:
    config.instance_group[0].profile.append("0")


def no_execution(config: Any) -> None:
    del config.parameters["i2i_rt_execution"]


def no_steps(config: Any) -> None:
    config.ClearField("ensemble_scheduling")


ENGINE = "kubernetes"  # the deployment whose models are engines
CONFIG_FAULTS = [
    (ENGINE, duplicate_input, "input 'frames' is there twice"),
    (ENGINE, no_outputs, "has no output"),
    (ENGINE, no_instances, "has 0 instances"),
    (ENGINE, empty_axis, "each must be -1 or above 0"),
    (ENGINE, endless_queue, "its queue has no end"),
    (ENGINE, no_queue, "its queue has no end"),
    (ENGINE, one_instance_with_a_queue, "sleeps through requests"),
    (ENGINE, no_timeout, "are not refused"),
    (ENGINE, late_is_delayed, "are not refused"),
    (ENGINE, preferred_too_large, "the preferred batch 64 is above max_batch_size 4"),
    (ENGINE, other_version, "version 2 is to be served and is not there"),
    (ENGINE, other_name, "must be that of the folder"),
    (ENGINE, no_warm_up, "nothing warms it up"),
    (ENGINE, random_warm_up, "which as numbers can be infinite"),
    (ENGINE, warm_up_of_another_shape, "another type or shape"),
    (ENGINE, warm_up_of_another_size, "is missing or has not 6144 bytes"),
    (ENGINE, warm_up_of_nothing, "an input 'horses', the model has none"),
    (ENGINE, gpus_of_a_cpu, "on the CPU names GPUs"),
    (ENGINE, graph_beyond_the_batch, "a batch of 9, the model takes up to 4"),
    (ENGINE, graph_of_another_input, "names frames, horses; the inputs are frames"),
    (ENGINE, graph_of_another_rank, r"has frames as \[64, 64, 3, 3\]"),
    (ENGINE, graph_upside_down, "of batch 3 begins at 4"),
    (ENGINE, graphs_switched_off, "described and switched off"),
    (ENGINE, profile_in_words, "profiles are numbers, not small"),
    (ENGINE, other_inputs_than_told, "what clients are told of its inputs"),
    (ENGINE, cached_without_cache, "would not be cached, without a word"),
    (ENGINE, turns_that_nobody_counts, "take turns by tpu"),
    (ENGINE, type_of_strings, "a type that no model of ours has"),
    (ENGINE, accelerators_of_an_engine, "are of the backend onnxruntime, not of tensorrt"),
    ("onnxruntime-openvino", unknown_cpu_accelerator, "no accelerator for CPUs is called 'openvinu'"),
    ("onnxruntime-cuda", graphs_of_another_backend, "CUDA graphs are of the backend tensorrt"),
    ("onnxruntime-cuda", profiles_of_another_backend, "profiles are of the backend tensorrt"),
    ("python", damaged_execution, "its parameter i2i_rt_execution is damaged"),
    ("python", no_execution, "it lacks the parameter i2i_rt_execution"),
    ("aot-inductor", no_steps, "it asks no other model"),
    ("onnxruntime-cuda", gpu_accelerator("cude"), "no accelerator for GPUs is called 'cude'"),
    ("onnxruntime-cuda", gpu_accelerator("cuda", use_tf23="0"), "the accelerator cuda has no parameter 'use_tf23'"),
    ("onnxruntime-cuda", gpu_accelerator("cuda", gpu_mem_limit="1"), "belongs into the config's own parameters"),
    ("onnxruntime-cuda", accelerator_on_the_cpu, "is for a GPU, the instances are on the CPU"),
    ("onnxruntime-tensorrt", gpu_accelerator("tensorrt", trt_engine_cach_path="/a"), "'trt_engine_cach_path'"),
    ("onnxruntime-tensorrt", gpu_accelerator("tensorrt", precision_mode="FP17"), "no precision_mode 'FP17'"),
    ("onnxruntime-tensorrt", no_profiles, "has no profiles"),
    (
        "onnxruntime-tensorrt",
        gpu_accelerator("tensorrt", trt_profile_max_shapes="frames:4x32x256x3"),
        "not in ascending order",
    ),
    (
        "onnxruntime-tensorrt",
        gpu_accelerator("tensorrt", trt_profile_opt_shapes="photos:1x64x64x3"),
        "the inputs are frames",
    ),
    ("onnxruntime-openvino", cpu_accelerator_with_parameter, "takes no parameters, here are num_threads"),
    ("aot-inductor", batch_of_a_package, "with max_batch_size 0 only"),
    ("aot-inductor", step_to_nowhere, "asks 'horse', which is not there"),
    ("aot-inductor", step_with_another_name, "names other inputs of 'tiny-translate-package'"),
    ("aot-inductor", step_to_no_tensor_of_its_own, "is neither its input nor its output"),
    ("python", bundle_elsewhere, "its bundle bundles/horse is missing"),
    ("python", bundle_of_this_machine, "a path of the machine that wrote it"),
]


@pytest.mark.parametrize(("where", "change", "fault"), CONFIG_FAULTS)
def test_fault_of_a_config_is_found(
    clean: dict[str, Path], tmp_path: Path, where: str, change: Callable[[Any], None], fault: str
) -> None:
    folder = copy_of(clean[where], tmp_path)
    config = read_config(folder / "models" / MODEL)
    change(config)
    write_config(folder / "models" / MODEL, config)
    faults = lint(folder)
    assert len(faults) >= 1
    with pytest.raises(AssertionError, match=fault):
        raise AssertionError("; ".join(faults))


FILE_FAULTS = [
    ("kubernetes", f"models/{MODEL}/1/model.plan", "the file 1/model.plan is missing"),
    ("python", f"models/{MODEL}/1/model.py", "the file 1/model.py is missing"),
    ("python", "code/i2i_rt/__init__.py", "the code that it imports is missing"),
    ("kubernetes", "Dockerfile", "there is no Dockerfile"),
    ("kubernetes", "kubernetes/admin.key", "the file admin.key of a secret is not there"),
    ("kubernetes", "kubernetes/service.yaml", "service.yaml is not there"),
    ("kubernetes", "kubernetes/deployment.yaml", "it scales tiny, which is not there"),
    ("kserve", "kserve/serving-runtime.yaml", "its runtime is tiny, which is not there"),
]


def test_model_without_a_version_is_found(clean: dict[str, Path], tmp_path: Path) -> None:
    folder = copy_of(clean["aot-inductor"], tmp_path)
    (folder / "models" / MODEL / "1").rmdir()
    assert f"models/{MODEL}: it has no version" in lint(folder)


@pytest.mark.parametrize(("where", "file", "fault"), FILE_FAULTS)
def test_missing_file_is_found(clean: dict[str, Path], tmp_path: Path, where: str, file: str, fault: str) -> None:
    folder = copy_of(clean[where], tmp_path)
    (folder / file).unlink()
    assert any(fault in found for found in lint(folder)), lint(folder)


TEXT_FAULTS = [
    ("Dockerfile", "26.07", "24.10", "it must be nvcr.io/nvidia/tritonserver of 26.07 or later"),
    ("Dockerfile", "nvcr.io/nvidia/tritonserver:26.07-py3", "ubuntu:26.07", "the base image is ubuntu:26.07"),
    ("Dockerfile", "USER 1000:1000", "USER root", "would run as root"),
]


@pytest.mark.parametrize(("file", "old", "new", "fault"), TEXT_FAULTS)
def test_fault_of_the_image_is_found(
    clean: dict[str, Path], tmp_path: Path, file: str, old: str, new: str, fault: str
) -> None:
    folder = copy_of(clean["kubernetes"], tmp_path)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    assert any(fault in found for found in lint(folder)), lint(folder)


# file, the way to a value, the new value (REMOVED: it is taken out), the fault
REMOVED = object()
SERVER = ("spec", "template", "spec", "containers", 0)
POD = ("spec", "template", "spec")
MANIFEST_FAULTS = [
    ("deployment.yaml", ("apiVersion",), "extensions/v1beta1", "is of apps/v1, not of extensions/v1beta1"),
    ("autoscaler.yaml", ("apiVersion",), "autoscaling/v2beta2", "is of autoscaling/v2"),
    ("deployment.yaml", (*SERVER, "ports", 0, "containerPort"), 80010, "containerPort is 80010"),
    ("service.yaml", ("spec", "ports", 0, "port"), 0, "port is 0"),
    ("service.yaml", ("spec", "ports", 0, "targetPort"), "web", "the pods have no port 'web'"),
    ("service.yaml", ("spec", "selector", "app.kubernetes.io/instance"), "horse", "Service tiny: it selects"),
    ("deployment.yaml", ("spec", "selector", "matchLabels", "app.kubernetes.io/name"), "x", "Deployment: it selects"),
    ("disruption-budget.yaml", ("spec", "selector", "matchLabels"), {"app": "x"}, "PodDisruptionBudget: it selects"),
    ("network-policy.yaml", ("spec", "podSelector", "matchLabels"), {}, "NetworkPolicy: it selects"),
    ("autoscaler.yaml", ("spec", "scaleTargetRef", "name"), "horse", "it scales horse, which is not there"),
    ("autoscaler.yaml", ("spec", "minReplicas"), 9, "minReplicas is above maxReplicas"),
    ("deployment.yaml", (*SERVER, "image"), "tiny:latest", "has no tag that stays what it is"),
    ("deployment.yaml", (*SERVER, "image"), "registry:5000/tiny", "has no tag that stays what it is"),
    ("deployment.yaml", (*SERVER, "livenessProbe"), REMOVED, "it has no livenessProbe"),
    ("deployment.yaml", (*SERVER, "readinessProbe"), REMOVED, "it has no readinessProbe"),
    ("deployment.yaml", (*SERVER, "startupProbe"), REMOVED, "it has no startupProbe"),
    ("deployment.yaml", (*SERVER, "startupProbe", "failureThreshold"), 3, "gives up within a minute"),
    ("deployment.yaml", (*SERVER, "livenessProbe", "httpGet", "port"), 9000, "asks a port that it does not have"),
    ("deployment.yaml", (*SERVER, "livenessProbe", "httpGet", "path"), "/metrics", "which no inference stands behind"),
    ("deployment.yaml", (*SERVER, "lifecycle"), REMOVED, "it has no preStop"),
    ("deployment.yaml", (*POD, "terminationGracePeriodSeconds"), 30, "it is killed after 30 s"),
    ("deployment.yaml", (*POD, "terminationGracePeriodSeconds"), REMOVED, "it is killed after 30 s"),
    ("deployment.yaml", (*SERVER, "resources", "limits", "memory"), REMOVED, "it has no limit of memory"),
    ("deployment.yaml", (*SERVER, "resources", "limits", "memory"), "1Mi", "is not more than its /dev/shm"),
    ("deployment.yaml", (*SERVER, "resources", "requests"), REMOVED, "it requests no memory"),
    ("deployment.yaml", (*POD, "volumes", 0, "emptyDir", "medium"), REMOVED, "is not a volume in memory"),
    ("deployment.yaml", (*POD, "volumes", 0, "emptyDir", "sizeLimit"), "1Mi", "/dev/shm has 1 MiB; the models need"),
    ("deployment.yaml", (*SERVER, "volumeMounts", 0), REMOVED, "is not a volume in memory"),
    ("deployment.yaml", (*POD, "volumes", 1), REMOVED, "it mounts scratch, which is no volume of it"),
    ("deployment.yaml", (*POD, "volumes", 2, "secret", "secretName"), "other", "wants the secret other"),
    ("deployment.yaml", (*POD, "securityContext", "runAsNonRoot"), False, "it may run as root"),
    ("deployment.yaml", (*SERVER, "securityContext", "readOnlyRootFilesystem"), False, "can be written to"),
    ("deployment.yaml", (*SERVER, "securityContext", "allowPrivilegeEscalation"), REMOVED, "may gain privileges"),
    ("deployment.yaml", (*SERVER, "securityContext", "capabilities"), REMOVED, "it keeps capabilities"),
    ("kustomization.yaml", ("resources", 0), REMOVED, "autoscaler.yaml is left out"),
    ("deployment.yaml", (*SERVER, "image"), REMOVED, "it is not what it should be: KeyError: 'image'"),
    ("service.yaml", ("spec",), "none", "it is not what it should be"),
]
PREDICTOR = ("spec", "predictor")
KSERVE_FAULTS = [
    ("inference-service.yaml", (*PREDICTOR, "model", "runtime"), "triton", "its runtime is triton, which is not there"),
    ("inference-service.yaml", (*PREDICTOR, "model", "runtimeVersion"), REMOVED, "its runtimeVersion is not the tag"),
    ("inference-service.yaml", (*PREDICTOR, "model", "modelFormat", "name"), "onnx", "does not take the format onnx"),
    ("inference-service.yaml", (*PREDICTOR, "terminationGracePeriodSeconds"), 20, "it is killed after 20 s"),
    ("inference-service.yaml", (*PREDICTOR, "minReplicas"), 99, "minReplicas is above maxReplicas"),
    ("serving-runtime.yaml", ("spec", "containers", 0, "name"), "server", "KServe looks for kserve-container"),
    ("serving-runtime.yaml", ("spec", "containers", 0, "readinessProbe"), REMOVED, "it has no readinessProbe"),
    ("network-policy.yaml", ("spec", "podSelector", "matchLabels"), {"app": "tiny"}, "which no pod of KServe has"),
]
COMPOSE_FAULTS = [
    (("image",), "tiny", "has no tag that stays what it is"),
    (("user",), REMOVED, "it runs as root"),
    (("read_only",), False, "its models can be written to"),
    (("cap_drop",), [], "it keeps capabilities"),
    (("security_opt",), REMOVED, "it may gain privileges"),
    (("shm_size",), "1m", "the models need"),
    (("deploy", "resources", "limits", "memory"), REMOVED, "it has no limits of memory and cpus"),
    (("deploy", "resources", "limits", "memory"), "64m", "is not more than its /dev/shm"),
    (("healthcheck",), REMOVED, "its healthcheck does not ask"),
    (("stop_grace_period",), "10s", "it is killed while"),
    (("ports", 0), "8000:8000", "is open to other machines"),
    (("ports", 0), "127.0.0.1:80000:8000", "ports are 1 to 65535"),
]


def changed(document: Any, way: tuple[str | int, ...], value: object) -> Any:
    for step in way[:-1]:
        document = document[step]
    if value is REMOVED:
        del document[way[-1]]
    else:
        document[way[-1]] = value
    return document


@pytest.mark.parametrize(
    ("where", "file", "way", "value", "fault"),
    [
        *(("kubernetes", f"kubernetes/{file}", way, value, fault) for file, way, value, fault in MANIFEST_FAULTS),
        *(("kserve", f"kserve/{file}", way, value, fault) for file, way, value, fault in KSERVE_FAULTS),
        *(("compose", "compose.yaml", ("services", "server", *way), v, fault) for way, v, fault in COMPOSE_FAULTS),
    ],
)
def test_fault_of_a_manifest_is_found(
    clean: dict[str, Path], tmp_path: Path, where: str, file: str, way: tuple[str | int, ...], value: object, fault: str
) -> None:
    folder = copy_of(clean[where], tmp_path)
    document = yaml.safe_load((folder / file).read_text())
    changed(document, way, value)
    write_yaml(folder / file, document)
    assert any(fault in found for found in lint(folder)), lint(folder)


def test_key_that_others_can_read_is_found(clean: dict[str, Path], tmp_path: Path) -> None:
    folder = copy_of(clean["kubernetes"], tmp_path)
    (folder / "kubernetes" / "admin.key").chmod(0o644)
    assert lint(folder) == ["kubernetes/admin.key: others can read this key"]


def test_check_prints_the_faults_and_fails(
    clean: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_of(clean["compose"], tmp_path)
    assert main(["deploy", "--check", str(folder)]) == 0
    (folder / "Dockerfile").unlink()
    assert main(["deploy", "--check", str(folder)]) == 1
    assert "there is no Dockerfile" in capsys.readouterr().out


def test_folder_without_models_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has no models"):
        lint(tmp_path)
