"""The small parts that objects of Kubernetes have in common."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, TypeAlias

Object: TypeAlias = dict[str, Any]

PROJECT: Final = "multiagents-otel"
USER: Final = 10001  # that of the Collector's image; any number but 0 would do

HARDENED: Final[Object] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def labels(name: str) -> dict[str, str]:
    """The labels that select the pods of a part."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": PROJECT}


def made(api: str, kind: str, name: str, *, also: Mapping[str, str] | None = None, **content: Any) -> Object:
    """An object with our labels, and others."""
    metadata = {"name": name, "labels": {**labels(name), **(also or {})}}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **content}


def config_map(name: str, data: Mapping[str, str]) -> Object:
    """Files as a ConfigMap."""
    return made("v1", "ConfigMap", name, data=dict(data))


def selecting(name: str) -> Object:
    """The selector of what has pods of a part."""
    return {"selector": {"matchLabels": labels(name)}}


def service(name: str, pods: Mapping[str, str], ports: Mapping[str, int], **spec: Any) -> Object:
    """A Service for the pods with these labels, by the ports' names."""
    listed = [{"name": port, "port": number, "targetPort": port} for port, number in ports.items()]
    return made("v1", "Service", name, spec={"selector": dict(pods), **spec, "ports": listed})


def pod(name: str, data: Mapping[str, str], **spec: Any) -> Object:
    """A pod's template. It changes when its files do, so that they are read: nothing watches a ConfigMap."""
    digest = sha256("\0".join(f"{path}\0{text}" for path, text in sorted(data.items())).encode()).hexdigest()
    return {
        "metadata": {"labels": labels(name), "annotations": {f"{PROJECT}/files": digest[:16]}},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **spec,
        },
    }


def container_ports(ports: Mapping[str, int]) -> list[Object]:
    """Ports of a container, by their names."""
    return [{"name": name, "containerPort": number} for name, number in ports.items()]


def resources(memory: int, cpu: str) -> Object:
    """What a container asks for, and how much memory (MiB) it may have. The CPU has no limit: it would throttle."""
    return {"requests": {"cpu": cpu, "memory": f"{memory // 2}Mi"}, "limits": {"memory": f"{memory}Mi"}}


def probes(path: str, port: str) -> Object:
    """Started, alive and ready are told by one address."""
    asked = {"httpGet": {"path": path, "port": port}}
    return {
        "startupProbe": {**asked, "periodSeconds": 2, "failureThreshold": 30},
        "livenessProbe": {**asked, "periodSeconds": 10, "failureThreshold": 3},
        "readinessProbe": {**asked, "periodSeconds": 5},
    }


def claim(name: str, gibibytes: int) -> Object:
    """A disk for each pod of a StatefulSet."""
    size = {"requests": {"storage": f"{gibibytes}Gi"}}
    return {"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": size}}
