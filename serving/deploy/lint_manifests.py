"""Faults of manifests that the schemas of Kubernetes and compose allow."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from i2i_rt.serving.deploy.pod import EXIT_S, PROBE_S
from i2i_rt.serving.deploy.sizing import MIB

API_VERSIONS = {
    "Deployment": "apps/v1",
    "Service": "v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "Kustomization": "kustomize.config.k8s.io/v1beta1",
    "ServingRuntime": "serving.kserve.io/v1alpha1",
    "InferenceService": "serving.kserve.io/v1beta1",
}
SERVICE_LABEL = "serving.kserve.io/inferenceservice"
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 1000, "M": 10**6, "G": 10**9, "m": 2**20, "g": 2**30, "": 1}
Document = Mapping[str, Any]


def manifest_faults(documents: Mapping[str, Document], folder: Path, shm: int) -> Iterator[str]:
    """Gives the faults of a folder of manifests; `shm` is the shared memory in bytes that the models need."""
    by_kind: dict[str, list[Document]] = {}
    for name, document in documents.items():
        kind = document.get("kind")
        if kind is None:  # values for a chart
            continue
        if API_VERSIONS.get(kind) != document.get("apiVersion"):
            yield f"{name}: {kind} is of {API_VERSIONS.get(kind)}, not of {document.get('apiVersion')}"
        by_kind.setdefault(kind, []).append(document)
        yield from (f"{name}: {fault}" for fault in _port_faults(document))
    for kustomization in by_kind.get("Kustomization", []):
        yield from _kustomization_faults(kustomization, documents, folder)
    secrets = {
        entry["name"]
        for kustomization in by_kind.get("Kustomization", [])
        for entry in kustomization.get("secretGenerator", [])
    }
    for deployment in by_kind.get("Deployment", []):
        template = deployment["spec"]["template"]
        yield from (f"Deployment: {fault}" for fault in pod_faults(template["spec"], template["spec"], secrets, shm))
        yield from _selector_faults(deployment, by_kind)
    for service in by_kind.get("InferenceService", []):
        yield from _kserve_faults(service, by_kind, secrets, shm)
    for scaler in by_kind.get("HorizontalPodAutoscaler", []):
        targets = [(d["kind"], d["metadata"]["name"]) for d in by_kind.get("Deployment", [])]
        wanted = scaler["spec"]["scaleTargetRef"]
        if (wanted["kind"], wanted["name"]) not in targets:
            yield f"HorizontalPodAutoscaler: it scales {wanted['name']}, which is not there"
        if scaler["spec"].get("minReplicas", 1) > scaler["spec"]["maxReplicas"]:
            yield "HorizontalPodAutoscaler: minReplicas is above maxReplicas"


def pod_faults(pod: Document, grace: Document, secrets: set[str], shm: int) -> Iterator[str]:
    """Gives the faults of a pod's description.

    Args:
        pod: with containers and volumes.
        grace: what has `terminationGracePeriodSeconds` and `securityContext`, which KServe keeps elsewhere.
        secrets: that are made.
        shm: bytes of shared memory that the models need.
    """
    container = pod["containers"][0]
    ports = {port["name"] for port in container.get("ports", [])} | {
        port["containerPort"] for port in container.get("ports", [])
    }
    tag = container["image"].rpartition("/")[2].partition(":")[2]
    if tag in ("", "latest"):
        yield f"the image {container['image']} has no tag that stays what it is"
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(name)
        if probe is None:
            yield f"it has no {name}"
        elif probe.get("httpGet", {}).get("port") not in ports:
            yield f"its {name} asks a port that it does not have"
        elif not probe["httpGet"]["path"].startswith("/v2/health/"):
            yield f"its {name} asks {probe['httpGet']['path']}, which no inference stands behind"
    startup = container.get("startupProbe", {})
    if startup.get("failureThreshold", 3) * startup.get("periodSeconds", 10) < 60:
        yield "its startupProbe gives up within a minute, before models are loaded"
    stop = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["0"])
    seconds = int(stop[-1]) if stop[-1].isdecimal() else 0
    if not seconds:
        yield "it has no preStop: requests would still come while it ends"
    allowed = grace.get("terminationGracePeriodSeconds", 30)
    if allowed < seconds + EXIT_S + PROBE_S:
        yield f"it is killed after {allowed} s, while preStop {seconds} s and the server's {EXIT_S} s may still run"
    yield from _resource_faults(container, pod, shm)
    yield from _security_faults(container, grace)
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in volumes:
            yield f"it mounts {mount['name']}, which is no volume of it"
    for volume in volumes.values():
        wanted = volume.get("secret", {}).get("secretName")
        if wanted is not None and wanted not in secrets:
            yield f"it wants the secret {wanted}, which nothing makes"


def _resource_faults(container: Document, pod: Document, shm: int) -> Iterator[str]:
    limits = container.get("resources", {}).get("limits", {})
    for name in ("cpu", "memory"):
        if name not in limits:
            yield f"it has no limit of {name}"
    if "memory" not in container.get("resources", {}).get("requests", {}):
        yield "it requests no memory"
    mounts = [mount["name"] for mount in container.get("volumeMounts", []) if mount["mountPath"] == "/dev/shm"]
    volume = {v["name"]: v.get("emptyDir", {}) for v in pod.get("volumes", [])}.get(mounts[0] if mounts else "", {})
    if volume.get("medium") != "Memory" or "sizeLimit" not in volume:
        yield "its /dev/shm is not a volume in memory with a size: 64 MiB are too few"
        return
    size = size_of(volume["sizeLimit"])
    if size < shm:
        yield f"its /dev/shm has {size // MIB} MiB; the models need {shm // MIB} MiB"
    if "memory" in limits and size_of(limits["memory"]) <= size:
        yield f"its memory of {limits['memory']} is not more than its /dev/shm, which counts as memory too"


def _security_faults(container: Document, grace: Document) -> Iterator[str]:
    if not grace.get("securityContext", {}).get("runAsNonRoot"):
        yield "it may run as root"
    own = container.get("securityContext", {})
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield "it may gain privileges"
    if not own.get("readOnlyRootFilesystem"):
        yield "its models can be written to"
    if "ALL" not in own.get("capabilities", {}).get("drop", []):
        yield "it keeps capabilities"


def _selector_faults(deployment: Document, by_kind: Mapping[str, list[Document]]) -> Iterator[str]:
    spec = deployment["spec"]
    labels = spec["template"]["metadata"]["labels"]
    ports = {port["name"] for port in spec["template"]["spec"]["containers"][0].get("ports", [])}
    selectors = [("Deployment", spec["selector"]["matchLabels"])]
    for service in by_kind.get("Service", []):
        selectors.append((f"Service {service['metadata']['name']}", service["spec"]["selector"]))
        for port in service["spec"]["ports"]:
            if isinstance(port["targetPort"], str) and port["targetPort"] not in ports:
                yield f"Service {service['metadata']['name']}: the pods have no port {port['targetPort']!r}"
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        for document in by_kind.get(kind, []):
            selector = document["spec"].get("selector") or document["spec"].get("podSelector", {})
            selectors.append((kind, selector.get("matchLabels", {})))
    for name, selector in selectors:
        if not selector or not selector.items() <= labels.items():
            yield f"{name}: it selects {dict(selector)}, the pods have {dict(labels)}"


def _kserve_faults(
    service: Document, by_kind: Mapping[str, list[Document]], secrets: set[str], shm: int
) -> Iterator[str]:
    predictor = service["spec"]["predictor"]
    model = predictor["model"]
    runtimes = {runtime["metadata"]["name"]: runtime["spec"] for runtime in by_kind.get("ServingRuntime", [])}
    runtime = runtimes.get(model.get("runtime"))
    if runtime is None:
        yield f"InferenceService: its runtime is {model.get('runtime')}, which is not there"
        return
    yield from (f"ServingRuntime: {fault}" for fault in pod_faults(runtime, predictor, secrets, shm))
    container = runtime["containers"][0]
    if container["name"] != "kserve-container":
        yield f"ServingRuntime: its container is {container['name']}; KServe looks for kserve-container"
    if model.get("runtimeVersion") != container["image"].rpartition(":")[2]:
        yield "InferenceService: its runtimeVersion is not the tag of the image, and would replace it"
    formats = [(entry["name"], entry.get("version")) for entry in runtime["supportedModelFormats"]]
    wanted = model["modelFormat"]
    if (wanted["name"], wanted.get("version")) not in formats:
        yield f"InferenceService: its runtime does not take the format {wanted['name']}"
    if predictor.get("minReplicas", 1) > predictor.get("maxReplicas", 1):
        yield "InferenceService: minReplicas is above maxReplicas"
    for policy in by_kind.get("NetworkPolicy", []):
        selector = policy["spec"]["podSelector"].get("matchLabels", {})
        if selector != {SERVICE_LABEL: service["metadata"]["name"]}:
            yield f"NetworkPolicy: it selects {selector}, which no pod of KServe has"


def _kustomization_faults(kustomization: Document, documents: Mapping[str, Document], folder: Path) -> Iterator[str]:
    for name in kustomization.get("resources", []):
        if name not in documents:
            yield f"kustomization.yaml: {name} is not there"
    kinds = {name for name, document in documents.items() if document.get("kind") not in (None, "Kustomization")}
    for name in sorted(kinds - set(kustomization.get("resources", []))):
        yield f"kustomization.yaml: {name} is left out"
    for secret in kustomization.get("secretGenerator", []):
        for file in secret.get("files", []):
            path = folder / file.rpartition("=")[2]
            if not path.is_file():
                yield f"kustomization.yaml: the file {file} of a secret is not there"
            elif path.stat().st_mode & 0o077:
                yield f"{file}: others can read this key"


def _port_faults(content: Any) -> Iterator[str]:
    """Finds port numbers that are none, however deep they are."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            if key in ("port", "containerPort", "targetPort", "hostPort") and isinstance(value, int):
                if not 1 <= value <= 65535:
                    yield f"{key} is {value}; ports are 1 to 65535"
            else:
                yield from _port_faults(value)
    elif isinstance(content, list):
        for entry in content:
            yield from _port_faults(entry)


def compose_faults(document: Document, shm: int) -> Iterator[str]:
    """Gives the faults of a compose file."""
    for name, service in document["services"].items():
        for fault in _service_faults(service, shm):
            yield f"compose.yaml: {name}: {fault}"


def _service_faults(service: Document, shm: int) -> Iterator[str]:
    if service["image"].rpartition("/")[2].partition(":")[2] in ("", "latest"):
        yield f"the image {service['image']} has no tag that stays what it is"
    if str(service.get("user", "0")).split(":")[0] in ("0", "root"):
        yield "it runs as root"
    if not service.get("read_only"):
        yield "its models can be written to"
    if "ALL" not in service.get("cap_drop", []):
        yield "it keeps capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "it may gain privileges"
    size = size_of(service.get("shm_size", "64m"))
    if size < shm:
        yield f"its /dev/shm has {size // MIB} MiB; the models need {shm // MIB} MiB"
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    if "memory" not in limits or "cpus" not in limits:
        yield "it has no limits of memory and cpus"
    elif size_of(limits["memory"]) <= size:
        yield f"its memory of {limits['memory']} is not more than its /dev/shm, which counts as memory too"
    if not any("/v2/health/ready" in word for word in service.get("healthcheck", {}).get("test", [])):
        yield "its healthcheck does not ask /v2/health/ready"
    if int(str(service.get("stop_grace_period", "10s")).removesuffix("s")) < EXIT_S + PROBE_S:
        yield f"it is killed while the server's {EXIT_S} s may still run"
    for port in service.get("ports", []):
        if not port.startswith("127.0.0.1:"):
            yield f"the port {port} is open to other machines, without TLS"
        if any(not 1 <= int(number) <= 65535 for number in port.split(":")[-2:]):
            yield f"the port {port} is none; ports are 1 to 65535"


def size_of(text: str) -> int:
    """Reads a size such as "512Mi" (Kubernetes) or "512m" (compose, where it means MiB)."""
    found = re.fullmatch(r"(\d+)([A-Za-z]*)", str(text))
    return int(found[1]) * UNITS.get(found[2], 0) if found else 0
