"""A strict schema of the fields of KServe 0.15 to 0.16 that are written here; made by hand from its API's types.

KServe's own schema has a megabyte. What its kinds take over from Kubernetes is judged by the schema of Kubernetes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
from referencing import Registry, Resource

CORE = "_definitions.json#/$defs/io.k8s.api.core.v1."
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}


def _strict(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": dict(items)}


TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
FLAG = {"type": "boolean"}
METADATA = _strict(("name",), name=TEXT, labels=STRINGS, annotations=STRINGS, namespace=TEXT)
FORMAT = _strict(("name",), name=TEXT, version=TEXT)

SERVING_RUNTIME = _strict(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "serving.kserve.io/v1alpha1"},
    kind={"const": "ServingRuntime"},
    metadata=METADATA,
    spec=_strict(
        ("containers",),
        annotations=STRINGS,
        labels=STRINGS,
        containers=_list({"$ref": f"{CORE}Container"}),
        volumes=_list({"$ref": f"{CORE}Volume"}),
        supportedModelFormats=_list(
            _strict(("name",), name=TEXT, version=TEXT, autoSelect=FLAG, priority={"type": "integer", "minimum": 1})
        ),
        protocolVersions=_list({"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}),
        multiModel=FLAG,
    ),
)
METRIC_TARGET = _strict(
    (),
    type={"enum": ["Utilization", "Value", "AverageValue"]},
    value={"type": ["string", "integer"], "pattern": r"^\d+$"},
    averageValue={"type": ["string", "integer"], "pattern": r"^\d+$"},
    averageUtilization=COUNT,
)
INFERENCE_SERVICE = _strict(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "serving.kserve.io/v1beta1"},
    kind={"const": "InferenceService"},
    metadata=METADATA,
    spec=_strict(
        ("predictor",),
        predictor=_strict(
            ("model",),
            minReplicas=COUNT,
            maxReplicas=COUNT,
            scaleMetric={"enum": ["cpu", "memory", "concurrency", "rps"]},
            timeout=COUNT,
            deploymentStrategy={"$ref": "_definitions.json#/$defs/io.k8s.api.apps.v1.DeploymentStrategy"},
            terminationGracePeriodSeconds=COUNT,
            automountServiceAccountToken=FLAG,
            securityContext={"$ref": f"{CORE}PodSecurityContext"},
            autoScaling=_strict(
                ("metrics",),
                metrics=_list(
                    _strict(
                        ("type",),
                        type={"enum": ["Resource", "External", "PodMetric"]},
                        external=_strict(
                            ("metric", "target"),
                            metric=_strict(
                                ("backend",),
                                backend={"enum": ["prometheus", "graphite"]},
                                serverAddress=TEXT,
                                query=TEXT,
                                namespace=TEXT,
                            ),
                            target=METRIC_TARGET,
                        ),
                    )
                ),
            ),
            model=_strict(
                ("modelFormat",),
                modelFormat=FORMAT,
                runtime=TEXT,
                runtimeVersion=TEXT,
                protocolVersion={"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]},
                storageUri=TEXT,
            ),
        ),
    ),
)
KINDS = {"ServingRuntime": SERVING_RUNTIME, "InferenceService": INFERENCE_SERVICE}


def validate(document: Mapping[str, Any], kubernetes: str) -> None:
    """Raises `jsonschema.ValidationError` where a document is not what KServe takes.

    Args:
        document: of one of the two kinds.
        kubernetes: the version whose containers and volumes it has.
    """
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{kubernetes}.0-local-strict"
    definitions = json.loads((folder / "_definitions.json").read_text())
    registry: Registry[Any] = Registry().with_resource("_definitions.json", Resource.from_contents(definitions))
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **KINDS[document["kind"]]}
    jsonschema.Draft202012Validator(schema, registry=registry).validate(document)
