"""Manifests for KServe 0.15 and later: a runtime, which says how to run the image, and a service that uses it."""

from typing import Any

from i2i_rt.serving.deploy import image, pod
from i2i_rt.serving.deploy.kubernetes import queue_query
from i2i_rt.serving.deploy.pod import Needs
from i2i_rt.serving.deploy.settings import Settings

FORMAT = "i2i-rt"
CONTAINER = "kserve-container"  # the name that KServe looks for
PROMETHEUS = "http://prometheus-operated.monitoring.svc:9090"
SERVICE_LABEL = "serving.kserve.io/inferenceservice"  # that KServe gives to pods


def manifests(settings: Settings, needs: Needs) -> dict[str, Any]:
    """Gives the files of the folder `kserve/` by name; `kubectl apply -k kserve/` takes them."""
    files = {
        "serving-runtime.yaml": serving_runtime(settings, needs),
        "inference-service.yaml": inference_service(settings),
        "network-policy.yaml": pod.network_policy(settings, {SERVICE_LABEL: settings.name}),
    }
    return {
        **files,
        "kustomization.yaml": {
            **pod.kustomization(settings, sorted(files)),
            # KServe's own kinds are unknown to kustomize, which would not put the secret's generated name there
            "generatorOptions": {"disableNameSuffixHash": True},
        },
    }


def serving_runtime(settings: Settings, needs: Needs) -> dict[str, Any]:
    """Gives the runtime; the models are in the image, so nothing is fetched and nothing can change under it."""
    container = pod.container(settings, needs, CONTAINER)
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": settings.name, "labels": pod.labels(settings)},
        "spec": {
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(image.METRICS)},
            "supportedModelFormats": [{"name": FORMAT, "version": "1", "autoSelect": False}],
            "protocolVersions": ["v2", "grpc-v2"],
            "multiModel": False,
            "containers": [container],
            "volumes": pod.volumes(settings, needs),
        },
    }


def inference_service(settings: Settings) -> dict[str, Any]:
    """Gives the service, without Knative, whose proxies take one protocol and one volume kind only."""
    least, greatest = settings.replicas
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": settings.name,
            "labels": pod.labels(settings),
            "annotations": {
                "serving.kserve.io/deploymentMode": "RawDeployment",
                "serving.kserve.io/autoscalerClass": "keda",
            },
        },
        "spec": {
            "predictor": {
                "minReplicas": least,
                "maxReplicas": greatest,
                "timeout": 60,
                "deploymentStrategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
                },
                "terminationGracePeriodSeconds": pod.GRACE_S,
                "automountServiceAccountToken": False,
                "securityContext": pod.security(),
                "autoScaling": {
                    "metrics": [
                        {
                            "type": "External",
                            "external": {
                                "metric": {
                                    "backend": "prometheus",
                                    "serverAddress": PROMETHEUS,
                                    "query": queue_query(
                                        f'namespace="{settings.namespace}",pod=~"{settings.name}-predictor-.*"'
                                    ),
                                },
                                "target": {"type": "Value", "value": str(pod.QUEUE_TARGET_US)},
                            },
                        }
                    ]
                },
                "model": {
                    "modelFormat": {"name": FORMAT, "version": "1"},
                    "runtime": settings.name,
                    "runtimeVersion": settings.own_image.rpartition(":")[2],
                    "protocolVersion": "v2",
                },
            }
        },
    }
