"""Manifests for Kubernetes 1.30 and later."""

from typing import Any

from i2i_rt.serving.deploy import image, pod
from i2i_rt.serving.deploy.pod import Needs
from i2i_rt.serving.deploy.settings import Settings

QUEUE_METRIC = "i2i_rt_queue_us_per_request"
WINDOW = "1m"


def manifests(settings: Settings, needs: Needs) -> dict[str, Any]:
    """Gives the files of the folder `kubernetes/` by name; `kubectl apply -k kubernetes/` takes them."""
    files = {
        "deployment.yaml": deployment(settings, needs),
        "service.yaml": service(settings, headless=False),
        "service-headless.yaml": service(settings, headless=True),
        "autoscaler.yaml": autoscaler(settings),
        "disruption-budget.yaml": disruption_budget(settings),
        "network-policy.yaml": pod.network_policy(settings, pod.labels(settings)),
    }
    # what the autoscaler asks is made of Prometheus' series by the adapter, which belongs to the cluster
    return {
        **files,
        "kustomization.yaml": pod.kustomization(settings, sorted(files)),
        "prometheus-adapter.values.yaml": adapter_values(),
    }


def deployment(settings: Settings, needs: Needs) -> dict[str, Any]:
    labels = pod.labels(settings)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": settings.name, "labels": labels},
        "spec": {
            # without `replicas`: that is the autoscaler's
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "progressDeadlineSeconds": needs.start_s + 300,  # pulling the image comes first
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(image.METRICS)},
                },
                "spec": {
                    "terminationGracePeriodSeconds": pod.GRACE_S,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": pod.security(),
                    "containers": [pod.container(settings, needs, "server")],
                    "volumes": pod.volumes(settings, needs),
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "kubernetes.io/hostname",
                            "whenUnsatisfiable": "ScheduleAnyway",
                            "labelSelector": {"matchLabels": labels},
                        }
                    ],
                },
            },
        },
    }


def service(settings: Settings, *, headless: bool) -> dict[str, Any]:
    """Gives the service; the headless one is for gRPC, whose connections stay with the pod that they were made to."""
    spec: dict[str, Any] = {
        "selector": pod.labels(settings),
        "ports": [
            {"name": name, "port": port, "targetPort": name, "appProtocol": protocol}
            for name, port, protocol in (
                ("http", image.HTTP, "http"),
                ("grpc", image.GRPC, "kubernetes.io/h2c"),
                ("metrics", image.METRICS, "http"),
            )
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": f"{settings.name}-headless" if headless else settings.name,
            "labels": pod.labels(settings),
        },
        "spec": {"clusterIP": "None", **spec} if headless else {"type": "ClusterIP", **spec},
    }


def autoscaler(settings: Settings) -> dict[str, Any]:
    """Scales by the time that a request waits: load on a processor says little where requests are batched."""
    least, greatest = settings.replicas
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": settings.name, "labels": pod.labels(settings)},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": settings.name},
            "minReplicas": least,
            "maxReplicas": greatest,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": QUEUE_METRIC},
                        "target": {"type": "AverageValue", "averageValue": str(pod.QUEUE_TARGET_US)},
                    },
                }
            ],
            "behavior": {
                "scaleUp": {
                    "stabilizationWindowSeconds": 0,
                    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 60}],
                },
                "scaleDown": {
                    "stabilizationWindowSeconds": 300,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
                },
            },
        },
    }


def disruption_budget(settings: Settings) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": settings.name, "labels": pod.labels(settings)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": pod.labels(settings)}},
    }


def queue_query(selector: str, by: str = "") -> str:
    """Gives the query for microseconds of queueing per request: where nothing came, nothing waited."""
    waited, served = (
        f"sum(rate({name}{{{selector}}}[{WINDOW}])){by}"
        for name in ("nv_inference_queue_duration_us", "nv_inference_request_success")
    )
    return f"{waited} / clamp_min({served}, 0.001)"


def adapter_values() -> dict[str, Any]:
    """Gives the rule that the chart prometheus-adapter takes in its values, among others that a cluster may have."""
    return {
        "rules": {
            "custom": [
                {
                    "seriesQuery": 'nv_inference_queue_duration_us{namespace!="",pod!=""}',
                    "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
                    "name": {"as": QUEUE_METRIC},
                    "metricsQuery": queue_query("<<.LabelMatchers>>", " by (<<.GroupBy>>)"),
                }
            ]
        }
    }
