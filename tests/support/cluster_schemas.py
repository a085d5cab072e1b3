"""What the job files of clusters may say: the keys of their formats, written down from the published references.

A schema is a mapping of known keys to schemas, a list of one schema for a list, a set of allowed values, or None for
anything. Kubernetes batch/v1 (1.33), KubeRay ray.io/v1 (1.1 to 1.5), SkyPilot (0.9 to 0.10), sbatch (22.05 to 25.05).
"""

from __future__ import annotations

from typing import Any

RESOURCES = {"requests": None, "limits": None, "claims": None}
CONTAINER = dict.fromkeys(
    "name image imagePullPolicy command args workingDir ports env envFrom volumeMounts lifecycle livenessProbe "
    "readinessProbe startupProbe securityContext terminationMessagePath tty stdin".split()
) | {
    "resources": RESOURCES,
    "env": [{"name": None, "value": None, "valueFrom": None}],
    "volumeMounts": [dict.fromkeys(("name", "mountPath", "readOnly", "subPath", "mountPropagation"))],
}
POD = {
    "metadata": dict.fromkeys(("labels", "annotations", "name")),
    "spec": {
        "containers": [CONTAINER],
        "initContainers": [CONTAINER],
        "restartPolicy": {"Always", "OnFailure", "Never"},
        "terminationGracePeriodSeconds": None,
        "volumes": [{"name": None, "persistentVolumeClaim": {"claimName": None, "readOnly": None}, "emptyDir": None}],
        **dict.fromkeys(("nodeSelector", "tolerations", "affinity", "serviceAccountName", "priorityClassName")),
    },
}
JOB = {
    "apiVersion": {"batch/v1"},
    "kind": {"Job"},
    "metadata": dict.fromkeys(("name", "namespace", "labels", "annotations", "generateName")),
    "spec": {
        **dict.fromkeys("parallelism completions activeDeadlineSeconds backoffLimit backoffLimitPerIndex".split()),
        **dict.fromkeys("maxFailedIndexes selector manualSelector ttlSecondsAfterFinished suspend managedBy".split()),
        "completionMode": {"Indexed", "NonIndexed"},
        "podReplacementPolicy": {"Failed", "TerminatingOrFailed"},
        "successPolicy": None,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": {"FailJob", "FailIndex", "Ignore", "Count"},
                    "onExitCodes": {"containerName": None, "operator": {"In", "NotIn"}, "values": None},
                    "onPodConditions": [{"type": None, "status": {"True", "False", "Unknown"}}],
                }
            ]
        },
        "template": POD,
    },
}
RAY_GROUP = {
    **dict.fromkeys("groupName replicas minReplicas maxReplicas numOfHosts rayStartParams scaleStrategy".split()),
    "template": POD,
}
RAYJOB = {
    "apiVersion": {"ray.io/v1"},
    "kind": {"RayJob"},
    "metadata": JOB["metadata"],
    "spec": {
        **dict.fromkeys("activeDeadlineSeconds backoffLimit submitterPodTemplate metadata clusterSelector".split()),
        **dict.fromkeys("managedBy deletionStrategy entrypoint runtimeEnvYAML jobId entrypointResources".split()),
        **dict.fromkeys("entrypointNumCpus entrypointNumGpus ttlSecondsAfterFinished suspend".split()),
        "shutdownAfterJobFinishes": {True, False},
        "submitterConfig": {"backoffLimit": None},
        "submissionMode": {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"},
        "rayClusterSpec": {
            **dict.fromkeys(
                "rayVersion enableInTreeAutoscaling autoscalerOptions suspend headServiceAnnotations".split()
            ),
            "headGroupSpec": {
                **dict.fromkeys("serviceType headService enableIngress rayStartParams".split()),
                "template": POD,
            },
            "workerGroupSpecs": [RAY_GROUP],
        },
    },
}
SKY = {
    **dict.fromkeys("name workdir num_nodes envs secrets setup run config volumes".split()),
    "resources": dict.fromkeys(
        "infra accelerators accelerator_args cpus memory instance_type use_spot disk_size disk_tier network_tier "
        "image_id ports labels autostop any_of ordered job_recovery max_hourly_cost".split()
    ),
    "file_mounts": None,
}
SBATCH = set(
    "account array begin chdir comment constraint cpus-per-gpu cpus-per-task dependency error exclude exclusive "
    "export gpus gpus-per-node gpus-per-task gres job-name mail-type mail-user mem mem-per-cpu mem-per-gpu nice nodes "
    "no-requeue ntasks ntasks-per-node open-mode output partition qos requeue reservation signal time wait".split()
)


def breaches(value: Any, schema: Any, path: str = "") -> list[str]:
    """Keys that a format does not know, and values that it does not allow."""
    if schema is None:
        return []
    if isinstance(schema, set):
        return [] if value in schema else [f"{path}: {value!r}"]
    if isinstance(schema, list):
        return [each for i, item in enumerate(value) for each in breaches(item, schema[0], f"{path}[{i}]")]
    if not isinstance(value, dict):
        return [f"{path}: no mapping"]
    found = [f"{path}.{key}: unknown" for key in value if key not in schema]
    return found + [
        each for key in value if key in schema for each in breaches(value[key], schema[key], f"{path}.{key}")
    ]
