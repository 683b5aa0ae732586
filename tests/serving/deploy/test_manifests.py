"""Manifests, judged by the schemas of what takes them, and by kustomize where it is there."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from i2i_rt.serving.deploy import compose, image, kserve, kubernetes, pod
from i2i_rt.serving.deploy.deployment import write_yaml
from i2i_rt.serving.deploy.pod import Needs
from i2i_rt.serving.deploy.settings import Settings
from i2i_rt.serving.deploy.sizing import MIB
from tests.serving.deploy import kserve_schema

NEEDS = Needs(memory=4096 * MIB, shared_memory=512 * MIB, start_s=300)
VERSIONS = [f"1.{minor}" for minor in range(30, 38)]
DEVICES = ("gpu", "cpu")


def settings_of(target: str, device: str) -> Settings:
    return Settings(name="zebra", target=target, device=device, namespace="vision", image="registry:5000/zebra:7")  # type: ignore[arg-type]


def documents(target: str, device: str) -> dict[str, Any]:
    """Gives manifests as they are after having been written and read."""
    made = (kubernetes if target == "kubernetes" else kserve).manifests(settings_of(target, device), NEEDS)
    found: dict[str, Any] = json.loads(json.dumps(made))
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("device", DEVICES)
def test_kubernetes_takes_every_manifest(version: str, device: str) -> None:
    found = {name: document for name, document in documents("kubernetes", device).items() if "kind" in document}
    kinds = {document["kind"] for document in found.values()}
    wanted = {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}
    assert kinds == {*wanted, "Kustomization"}
    for document in found.values():
        if document["kind"] != "Kustomization":
            assert kubernetes_validate.validate(document, version, strict=True) == version


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("device", DEVICES)
def test_kserve_takes_its_manifests(version: str, device: str) -> None:
    found = documents("kserve", device)
    kserve_schema.validate(found["serving-runtime.yaml"], version)
    kserve_schema.validate(found["inference-service.yaml"], version)
    assert kubernetes_validate.validate(found["network-policy.yaml"], version, strict=True) == version


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("serving-runtime.yaml", lambda runtime: runtime["spec"].update(gprcDataEndpoint="port:8001")),
        ("serving-runtime.yaml", lambda runtime: runtime["spec"]["containers"][0].update(livenesProbe={})),
        ("serving-runtime.yaml", lambda runtime: runtime["spec"]["volumes"][0].update(emptydir={})),
        ("inference-service.yaml", lambda service: service["spec"]["predictor"].update(scaleMetrics="cpu")),
        ("inference-service.yaml", lambda service: service["spec"]["predictor"].update(minReplicas="2")),
        ("inference-service.yaml", lambda service: service["spec"]["predictor"]["model"].pop("modelFormat")),
    ],
)
def test_the_schema_of_kserve_finds_faults(file: str, change: Any) -> None:
    document = documents("kserve", "gpu")[file]
    change(document)
    with pytest.raises(jsonschema.ValidationError):
        kserve_schema.validate(document, "1.33")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")
@pytest.mark.parametrize("target", ["kubernetes", "kserve"])
def test_kustomize_puts_namespace_and_key_in(target: str, tmp_path: Path) -> None:
    for name, document in documents(target, "gpu").items():
        write_yaml(tmp_path / name, document)
    (tmp_path / image.KEY_FILE).write_text("a-key-of-its-own\n")
    result = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    built = list(yaml.safe_load_all(result.stdout))
    assert {document["metadata"]["namespace"] for document in built} == {"vision"}
    (secret,) = (document for document in built if document["kind"] == "Secret")
    assert base64.b64decode(secret["data"][image.KEY_FILE]) == b"a-key-of-its-own\n"
    kind = "Deployment" if target == "kubernetes" else "ServingRuntime"
    (user,) = (document["spec"] for document in built if document["kind"] == kind)
    spec = user["template"]["spec"] if target == "kubernetes" else user
    assert secret["metadata"]["name"] in [v.get("secret", {}).get("secretName") for v in spec["volumes"]]


@pytest.mark.parametrize("target", ["kubernetes", "kserve"])
def test_a_pod_on_a_cpu_asks_for_no_gpu(target: str) -> None:
    text = json.dumps(documents(target, "cpu"))
    assert "nvidia.com/gpu" not in text
    assert "nvidia.com/gpu" in json.dumps(documents(target, "gpu"))


def test_a_pod_that_loads_for_long_is_not_killed_for_it() -> None:
    slow = Needs(NEEDS.memory, NEEDS.shared_memory, start_s=1800)
    container = pod.container(settings_of("kubernetes", "gpu"), slow, "server")
    probe = container["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 1800


def test_the_autoscaler_and_the_adapter_mean_one_metric() -> None:
    found = documents("kubernetes", "gpu")
    (metric,) = found["autoscaler.yaml"]["spec"]["metrics"]
    (rule,) = found["prometheus-adapter.values.yaml"]["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert "nv_inference_queue_duration_us" in rule["metricsQuery"]


def test_the_container_runs_what_this_command_line_takes() -> None:
    """The arguments of the image and of the pods are read by the parser of the verb itself."""
    import argparse

    from i2i_rt.cli import serve

    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    words = pod.container(settings_of("kubernetes", "gpu"), NEEDS, "server")["args"]
    assert words[:4] == ["python3", "-m", "i2i_rt", "serve"]
    found = parser.parse_args(words[4:])
    assert (found.http, found.grpc, found.metrics) == (image.HTTP, image.GRPC, image.METRICS)
    assert found.repository == Path(image.ROOT) and found.host == "0.0.0.0"
    assert found.drain == pod.EXIT_S
    assert str(found.admin_key_file) == f"{image.KEY_FOLDER}/{image.KEY_FILE}"


def test_compose_is_closed_to_other_machines_and_takes_its_key_from_the_file() -> None:
    (service,) = compose.compose(settings_of("compose", "gpu"), NEEDS)["services"].values()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["shm_size"] == "512m" and service["read_only"]
    assert service["environment"] == {"I2I_RT_ADMIN_KEY": "${I2I_RT_ADMIN_KEY:?see the file .env}"}
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
