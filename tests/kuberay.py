"""The fields of a RayJob, as the API reference of KubeRay 1.4 lists them for ray.io/v1
(https://github.com/ray-project/kuberay/blob/v1.4.2/docs/reference/api.md), and the pods that KubeRay makes of one.
"""

import copy
from typing import Any

Resource = dict[str, Any]

# Whose values are not looked at: types of Kubernetes itself, which have schemas of their own.
KUBERNETES = object()
TEXTS = {str: str}  # keys and values
FIELDS: dict[str, dict[str, Any]] = {
    "RayJob": {"apiVersion": ("ray.io/v1",), "kind": ("RayJob",), "metadata": KUBERNETES, "spec": "RayJobSpec"},
    "RayJobSpec": {
        "activeDeadlineSeconds": int,
        "backoffLimit": int,
        "rayClusterSpec": "RayClusterSpec",
        "submitterPodTemplate": KUBERNETES,
        "metadata": TEXTS,
        "clusterSelector": TEXTS,
        "submitterConfig": "SubmitterConfig",
        "managedBy": ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"),
        "deletionStrategy": "DeletionStrategy",
        "entrypoint": str,
        "runtimeEnvYAML": str,
        "jobId": str,
        "submissionMode": ("K8sJobMode", "HTTPMode", "InteractiveMode"),
        "entrypointResources": str,
        "entrypointNumCpus": float,
        "entrypointNumGpus": float,
        "ttlSecondsAfterFinished": int,
        "shutdownAfterJobFinishes": bool,
        "suspend": bool,
    },
    "SubmitterConfig": {"backoffLimit": int},
    "DeletionStrategy": {"onSuccess": "DeletionPolicy", "onFailure": "DeletionPolicy"},
    "DeletionPolicy": {"policy": ("DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone")},
    "RayClusterSpec": {
        "suspend": bool,
        "managedBy": ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"),
        "autoscalerOptions": "AutoscalerOptions",
        "headServiceAnnotations": TEXTS,
        "enableInTreeAutoscaling": bool,
        "gcsFaultToleranceOptions": "GcsFaultToleranceOptions",
        "headGroupSpec": "HeadGroupSpec",
        "rayVersion": str,
        "workerGroupSpecs": ["WorkerGroupSpec"],
    },
    "GcsFaultToleranceOptions": {
        "redisUsername": KUBERNETES,
        "redisPassword": KUBERNETES,
        "externalStorageNamespace": str,
        "redisAddress": str,
    },
    "AutoscalerOptions": {
        "resources": KUBERNETES,
        "image": str,
        "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
        "securityContext": KUBERNETES,
        "idleTimeoutSeconds": int,
        "upscalingMode": ("Default", "Aggressive", "Conservative"),
        "version": ("v1", "v2"),
        "env": KUBERNETES,
        "envFrom": KUBERNETES,
        "volumeMounts": KUBERNETES,
    },
    "HeadGroupSpec": {
        "template": KUBERNETES,
        "headService": KUBERNETES,
        "enableIngress": bool,
        "rayStartParams": TEXTS,
        "serviceType": ("ClusterIP", "NodePort", "LoadBalancer"),
    },
    "WorkerGroupSpec": {
        "suspend": bool,
        "groupName": str,
        "replicas": int,
        "minReplicas": int,
        "maxReplicas": int,
        "idleTimeoutSeconds": int,
        "rayStartParams": TEXTS,
        "template": KUBERNETES,
        "scaleStrategy": KUBERNETES,
        "numOfHosts": int,
    },
}


def faults(value: Any, kind: Any = "RayJob", place: str = "") -> list[str]:
    """What in a RayJob is none of these fields, or of another type."""
    if kind is KUBERNETES:
        return []
    if isinstance(kind, str) and isinstance(value, dict):
        known = FIELDS[kind]
        return [
            fault
            for name, each in value.items()
            for fault in (faults(each, known[name], f"{place}.{name}") if name in known else [f"{place}.{name}: unknown"])
        ]
    if isinstance(kind, list) and isinstance(value, list):
        return [fault for number, each in enumerate(value) for fault in faults(each, kind[0], f"{place}[{number}]")]
    if isinstance(kind, tuple):
        fits = value in kind
    elif kind is TEXTS:
        fits = isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)
    else:
        fits = isinstance(kind, type) and type(value) is kind
    return [] if fits else [f"{place}: {value!r}"]


def pods(job: Resource) -> list[Resource]:
    """The templates of the head, with the autoscaler that KubeRay puts beside it, and of each group of workers."""
    cluster = job["spec"]["rayClusterSpec"]
    head = copy.deepcopy(cluster["headGroupSpec"]["template"])
    if cluster.get("enableInTreeAutoscaling"):
        told = {
            name: value
            for name, value in cluster["autoscalerOptions"].items()
            if FIELDS["AutoscalerOptions"][name] is KUBERNETES
        }
        head["spec"]["containers"].append({"name": "autoscaler", "image": head["spec"]["containers"][0]["image"], **told})
    return [head, *(group["template"] for group in cluster["workerGroupSpecs"])]
