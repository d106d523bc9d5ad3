"""The Collector in a cluster: an agent on each node, which the applications of the node send to, and the gateways,
among which the agents share out the traces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import yaml

from multiagents_otel.stack.kubernetes.objects import (
    HARDENED,
    PROJECT,
    Object,
    claim,
    config_map,
    container_ports,
    labels,
    made,
    pod,
    probes,
    resources,
    service,
)
from multiagents_otel.stack.parameters import Values

AGENT: Final = f"{PROJECT}-agent"
GATEWAY: Final = f"{PROJECT}-gateway"

_BACKEND: Final = f"{PROJECT}-backend"
"""The Secret whose keys are the environment variables for the backend, its address and headers."""

_CONFIG: Final = "/etc/otelcol"
_STORAGE: Final = "/var/lib/otelcol"


_OTLP: Final = {"otlp-grpc": "otlp_grpc_port", "otlp-http": "otlp_http_port"}
_PORTS: Final = {**_OTLP, "metrics": "export_port", "telemetry": "collector_metrics_port", "health": "health_port"}
"""The ports of a Collector: the names that Services and monitors know them by, and their parameters."""


def _ports(names: Iterable[str], values: Values) -> dict[str, int]:
    return {name: int(values[_PORTS[name]]) for name in names}


def agent(files: Mapping[str, str], values: Values) -> list[Object]:
    """The agent: its file, the address for applications, and a pod on each node."""
    data = {"agent.yaml": files["agent.yaml"]}
    gateways = {
        f"GATEWAY_{number}": f"{GATEWAY}-{number}.{GATEWAY}:{values['otlp_grpc_port']}"
        for number in range(int(values["gateways"]))
    }
    queue = {"name": "queue", "hostPath": {"path": f"/var/lib/{AGENT}", "type": "DirectoryOrCreate"}}
    template = pod(
        AGENT,
        data,
        # The queue is the node's, so that it outlives the pod; the kubelet makes its folder as root.
        initContainers=[_owner(values)],
        containers=[_collector("agent.yaml", files, values, gateways)],
        volumes=[_files(AGENT), queue],
        tolerations=[{"operator": "Exists", "effect": "NoSchedule"}],
    )
    spec = {
        "selector": {"matchLabels": labels(AGENT)},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "template": template,
    }
    return [
        config_map(AGENT, data),
        # An application sends to the agent of its own node.
        service(AGENT, _ports(_OTLP, values), internalTrafficPolicy="Local"),
        made("apps/v1", "DaemonSet", AGENT, spec=spec),
    ]


def gateway(files: Mapping[str, str], values: Values) -> list[Object]:
    """The gateways: their file, a name for each, and their pods, as many as the agents know of."""
    data = {"gateway.yaml": files["gateway.yaml"]}
    template = pod(
        GATEWAY,
        data,
        terminationGracePeriodSeconds=60,
        containers=[_collector("gateway.yaml", files, values)],
        volumes=[_files(GATEWAY)],
        topologySpreadConstraints=[
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels(GATEWAY)},
            }
        ],
    )
    spec = {
        "serviceName": GATEWAY,
        "replicas": int(values["gateways"]),
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels(GATEWAY)},
        "template": template,
        "volumeClaimTemplates": [claim("queue", int(values["gateway_storage"]))],
    }
    budget = {"maxUnavailable": 1, "selector": {"matchLabels": labels(GATEWAY)}}
    return [
        config_map(GATEWAY, data),
        # Headless, with names also for a gateway that isn't ready: a trace has one gateway, and waits for it.
        service(GATEWAY, _ports(["otlp-grpc"], values), clusterIP="None", publishNotReadyAddresses=True),
        made("apps/v1", "StatefulSet", GATEWAY, spec=spec),
        made("policy/v1", "PodDisruptionBudget", GATEWAY, spec=budget),
    ]


def _files(name: str) -> Object:
    return {"name": "files", "configMap": {"name": name}}


def _owner(values: Values) -> Object:
    return {
        "name": "queue-owner",
        "image": values["busybox_image"],
        "command": ["chown", "10001:10001", _STORAGE],
        "securityContext": {
            **HARDENED,
            "runAsNonRoot": False,
            "runAsUser": 0,
            "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
        },
        "resources": resources(16, "10m"),
        "volumeMounts": [{"name": "queue", "mountPath": _STORAGE}],
    }


def _collector(
    file: str, files: Mapping[str, str], values: Values, more: Mapping[str, str] | None = None
) -> Object:
    limit = int(yaml.safe_load(files[file])["processors"]["memory_limiter"]["limit_mib"])
    variables = {
        "COLLECTOR_HOST": "0.0.0.0",  # noqa: S104 - the pod's own network
        "COLLECTOR_STORAGE": _STORAGE,
        "GOMEMLIMIT": f"{limit}MiB",
        **(more or {}),
    }
    return {
        "name": "collector",
        "image": values["collector_image"],
        "args": [f"--config={_CONFIG}/{file}"],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "envFrom": [{"secretRef": {"name": _BACKEND, "optional": True}}],
        "ports": container_ports(_ports(_PORTS, values)),
        "resources": resources(limit * 5 // 4, "250m"),  # what is not heap needs room above the limiter's
        **probes("/", "health"),
        "securityContext": HARDENED,
        "volumeMounts": [
            {"name": "files", "mountPath": _CONFIG, "readOnly": True},
            {"name": "queue", "mountPath": _STORAGE},
        ],
    }
