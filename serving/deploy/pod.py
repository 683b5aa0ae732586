"""The container and the volumes that Kubernetes and KServe share."""

from dataclasses import dataclass
from typing import Any

from i2i_rt.serving.deploy import image
from i2i_rt.serving.deploy.settings import Settings
from i2i_rt.serving.deploy.sizing import quantity

PRE_STOP_S = 10  # until every proxy has heard that no more requests may come
EXIT_S = 20  # that accepted requests have
MARGIN_S = 15  # the server's own end, and its processes'
GRACE_S = PRE_STOP_S + EXIT_S + MARGIN_S
PROBE_S = 5
QUEUE_TARGET_US = 20_000  # of queueing per request, above which more pods are started


@dataclass(frozen=True)
class Needs:
    """What a pod needs of its node.

    Attributes:
        memory: bytes in all, shared memory included.
        shared_memory: bytes of /dev/shm.
        start_s: that loading the models may take.
    """

    memory: int
    shared_memory: int
    start_s: int


def labels(settings: Settings) -> dict[str, str]:
    return {"app.kubernetes.io/name": "i2i-rt", "app.kubernetes.io/instance": settings.name}


def container(settings: Settings, needs: Needs, name: str) -> dict[str, Any]:
    """Gives the container: not root, nothing writable but scratch space and shared memory.

    Liveness and readiness come from the gateway, which answers what inferences with known results say.
    """
    cores: dict[str, Any] = {"cpu": str(settings.cpus), "memory": quantity(needs.memory)}
    if settings.device == "gpu":
        cores["nvidia.com/gpu"] = 1
    return {
        "name": name,
        "image": settings.own_image,
        "args": [*image.command(), "--admin-key-file", f"{image.KEY_FOLDER}/{image.KEY_FILE}"],
        "ports": [
            {"name": "http", "containerPort": image.HTTP},
            {"name": "grpc", "containerPort": image.GRPC},
            {"name": "metrics", "containerPort": image.METRICS},
        ],
        "env": [{"name": key, "value": value} for key, value in image.environment().items()],
        # one value for both: the pod is killed last when a node runs out of memory
        "resources": {"requests": cores, "limits": dict(cores)},
        "startupProbe": _probe("/v2/health/ready", failures=-(-needs.start_s // PROBE_S)),
        "readinessProbe": _probe("/v2/health/ready", failures=2),
        # the supervisor mends what it can within seconds; a pod that stays red for half a minute is replaced
        "livenessProbe": _probe("/v2/health/live", failures=6),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(PRE_STOP_S)]}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "scratch", "mountPath": image.SCRATCH},
            {"name": "key", "mountPath": image.KEY_FOLDER, "readOnly": True},
        ],
    }


def _probe(path: str, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": PROBE_S,
        "timeoutSeconds": PROBE_S,
        "failureThreshold": failures,
    }


def volumes(settings: Settings, needs: Needs) -> list[dict[str, Any]]:
    """Gives the volumes; a pod's own /dev/shm has 64 MiB, which two large frames fill."""
    return [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": quantity(needs.shared_memory)}},
        {"name": "scratch", "emptyDir": {"sizeLimit": "4Gi"}},
        {"name": "key", "secret": {"secretName": key_name(settings), "defaultMode": 0o440}},
    ]


def security() -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": image.USER,
        "runAsGroup": image.USER,
        "fsGroup": image.USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def key_name(settings: Settings) -> str:
    """Gives the name of the secret with the key to the restricted APIs."""
    return f"{settings.name}-admin-key"


def kustomization(settings: Settings, resources: list[str]) -> dict[str, Any]:
    """Gives what `kubectl apply -k` reads: the other files, and the secret, made of the file beside them."""
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": settings.namespace,
        "resources": resources,
        "secretGenerator": [{"name": key_name(settings), "files": [image.KEY_FILE]}],
    }


def network_policy(settings: Settings, pods: dict[str, str]) -> dict[str, Any]:
    """Lets in clients with a label, and Prometheus; lets nothing out: the server asks nobody."""

    def port(number: int) -> dict[str, Any]:
        return {"protocol": "TCP", "port": number}

    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": settings.name, "labels": labels(settings)},
        "spec": {
            "podSelector": {"matchLabels": pods},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {
                    "from": [{"podSelector": {"matchLabels": {f"{settings.name}-client": "true"}}}],
                    "ports": [port(image.HTTP), port(image.GRPC)],
                },
                {
                    "from": [
                        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
                    ],
                    "ports": [port(image.METRICS)],
                },
            ],
            "egress": [],
        },
    }
