"""The Collector in a cluster: agents and gateways.

Applications send to the agent of their node, and the agents share out the traces among the gateways.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from multiagents_otel.tools.deploy import gateways, memory
from multiagents_otel.tools.deploy.files import QUEUE_CHECK
from multiagents_otel.tools.deploy.kubernetes.objects import (
    HARDENED,
    PROJECT,
    USER,
    Object,
    claim,
    config_map,
    container_ports,
    labels,
    made,
    pod,
    probes,
    resources,
    selecting,
    service,
)
from multiagents_otel.tools.deploy.parameters import Values

AGENT: Final = f"{PROJECT}-agent"
GATEWAY: Final = f"{PROJECT}-gateway"

_FILES: Final = {
    AGENT: ("collector.yaml", "agent.yaml"),
    GATEWAY: ("collector.yaml", "tail-sampling.yaml", "gateway.yaml"),
}
"""Each lies on top of the one before it."""

_TLS_FILE: Final = {AGENT: "agent-tls.yaml", GATEWAY: "security/mutual-tls.yaml"}
"""On top of those, if the parameter ``gateway_tls`` says so."""

_TLS_VARIABLES: Final = {
    AGENT: {"GATEWAY_CA_FILE": "ca.crt", "GATEWAY_CERT_FILE": "tls.crt", "GATEWAY_KEY_FILE": "tls.key"},
    GATEWAY: {"COLLECTOR_CLIENT_CA_FILE": "ca.crt", "COLLECTOR_CERT_FILE": "tls.crt", "COLLECTOR_KEY_FILE": "tls.key"},
}
"""What these files read: the keys of a Secret as cert-manager makes it."""

_BACKEND: Final = f"{PROJECT}-backend"
"""The Secret whose keys are the environment variables for the backend, its address and headers."""

_CONFIG: Final = "/etc/otelcol"
_CERTIFICATES: Final = "/etc/otelcol-tls"
_CHECK: Final = "/etc/otelcol-check"
_STORAGE: Final = "/var/lib/otelcol"

_OTLP: Final = {"otlp-grpc": "otlp_grpc_port", "otlp-http": "otlp_http_port"}
_PORTS: Final = {**_OTLP, "metrics": "export_port", "telemetry": "collector_metrics_port", "health": "health_port"}
"""The ports of a Collector: the names that Services and monitors know them by, and their parameters."""

_HOST: Final = re.compile(r"(?P<name>[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[^:]*)?:\d+")
"""A gateway's address whose host is a name; the rest of it, the namespace and the cluster, is the cluster's matter."""


def agent(files: Mapping[str, str], values: Values) -> list[Object]:
    """The agent: its files, the address for applications, and a pod on each node."""
    data = _data(AGENT, files, values)
    queue = {"name": "queue", "hostPath": {"path": f"/var/lib/{AGENT}", "type": "DirectoryOrCreate"}}
    template = pod(
        AGENT,
        data,
        # The queue is the node's, so that it outlives the pod; the node makes its folder as root.
        initContainers=[_owner(values), _check(values)],
        containers=[_collector(AGENT, data, values)],
        volumes=[*_volumes(AGENT, values), queue],
        tolerations=[{"operator": "Exists", "effect": "NoSchedule"}],
    )
    update = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
    spec = {**selecting(AGENT), "updateStrategy": update, "template": template}
    return [
        config_map(AGENT, data),
        config_map(f"{AGENT}-check", {QUEUE_CHECK: files[QUEUE_CHECK]}),
        # An application sends to the agent of its own node.
        service(AGENT, labels(AGENT), _ports(_OTLP, values), internalTrafficPolicy="Local"),
        made("apps/v1", "DaemonSet", AGENT, spec=spec),
    ]


def gateway(files: Mapping[str, str], values: Values) -> list[Object]:
    """The gateways: their files, a name for each, and their pods, as many as the agents know of."""
    data = _data(GATEWAY, files, values)
    apart = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels(GATEWAY)},
    }
    template = pod(
        GATEWAY,
        data,
        terminationGracePeriodSeconds=60,
        initContainers=[_check(values)],
        containers=[_collector(GATEWAY, data, values)],
        volumes=_volumes(GATEWAY, values),
        topologySpreadConstraints=[apart],
    )
    spec = {
        "serviceName": GATEWAY,
        "replicas": len(gateways.addresses(values)),
        "podManagementPolicy": "Parallel",
        **selecting(GATEWAY),
        "template": template,
        "volumeClaimTemplates": [claim("queue", int(values["gateway_storage"]))],
    }
    return [
        config_map(GATEWAY, data),
        config_map(f"{GATEWAY}-check", {QUEUE_CHECK: files[QUEUE_CHECK]}),
        service(GATEWAY, labels(GATEWAY), _ports(["otlp-grpc"], values), clusterIP="None"),
        *(_named(name, number, values) for number, name in _names(values)),
        made("apps/v1", "StatefulSet", GATEWAY, spec=spec),
        made("policy/v1", "PodDisruptionBudget", GATEWAY, spec={"maxUnavailable": 1, **selecting(GATEWAY)}),
    ]


def _names(values: Values) -> list[tuple[int, str]]:
    """The names by which the agents' file knows the gateways, with their numbers."""
    hosts = (_HOST.fullmatch(address) for address in gateways.addresses(values))
    found = {host["name"]: number for number, host in enumerate(hosts) if host}
    return [(number, name) for name, number in found.items()]


def _named(name: str, number: int, values: Values) -> Object:
    one = {"statefulset.kubernetes.io/pod-name": f"{GATEWAY}-{number}"}
    # Known also while it isn't ready: its share of the traces waits for it, nobody else could take it.
    return service(name, one, _ports(["otlp-grpc"], values), publishNotReadyAddresses=True)


def _ports(names: Iterable[str], values: Values) -> dict[str, int]:
    served = [name for name in names if name != "metrics" or values["export_prometheus"] == "true"]
    return {name: int(values[_PORTS[name]]) for name in served}


def _tls(values: Values) -> bool:
    return values["gateway_tls"] == "true"


def _data(name: str, files: Mapping[str, str], values: Values) -> dict[str, str]:
    """The ConfigMap's content, in the order in which the Collector reads it. No key of it may have a slash."""
    paths = [*_FILES[name], *([_TLS_FILE[name]] if _tls(values) else [])]
    return {path.replace("/", "--"): files[path] for path in paths}


def _volumes(name: str, values: Values) -> list[Object]:
    secret = {"secretName": f"{name}-tls", "defaultMode": 0o440}
    certificates = [{"name": "certificates", "secret": secret}] if _tls(values) else []
    maps = {"files": name, "check": f"{name}-check"}
    return [*({"name": volume, "configMap": {"name": each}} for volume, each in maps.items()), *certificates]


def _owner(values: Values) -> Object:
    alone = {"runAsNonRoot": False, "runAsUser": 0, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}
    return {
        "name": "queue-owner",
        "image": values["busybox_image"],
        "command": ["chown", f"{USER}:{USER}", _STORAGE],
        "securityContext": {**HARDENED, **alone},
        "resources": resources(16, "10m"),
        "volumeMounts": [{"name": "queue", "mountPath": _STORAGE}],
    }


def _check(values: Values) -> Object:
    """Container that puts damaged queue files aside: the Collector would not start, and its image has no shell."""
    return {
        "name": "queue-check",
        "image": values["python_image"],
        "command": ["python", f"{_CHECK}/{QUEUE_CHECK}", _STORAGE],
        "securityContext": HARDENED,
        "resources": resources(64, "10m"),
        "volumeMounts": [
            {"name": "check", "mountPath": _CHECK, "readOnly": True},
            {"name": "queue", "mountPath": _STORAGE},
        ],
    }


def _collector(name: str, data: Mapping[str, str], values: Values) -> Object:
    texts = list(data.values())
    variables = {
        "COLLECTOR_HOST": "0.0.0.0",  # noqa: S104 - of the pod
        "COLLECTOR_STORAGE": _STORAGE,
        "GOMEMLIMIT": f"{memory.refusing(texts)}MiB",
    }
    mounts = [
        {"name": "files", "mountPath": _CONFIG, "readOnly": True},
        {"name": "queue", "mountPath": _STORAGE},
    ]
    if _tls(values):
        variables |= {variable: f"{_CERTIFICATES}/{key}" for variable, key in _TLS_VARIABLES[name].items()}
        mounts += [{"name": "certificates", "mountPath": _CERTIFICATES, "readOnly": True}]
    return {
        "name": "collector",
        "image": values["collector_image"],
        "args": [f"--config={_CONFIG}/{file}" for file in data],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "envFrom": [{"secretRef": {"name": _BACKEND, "optional": True}}],
        "ports": container_ports(_ports(_PORTS, values)),
        "resources": resources(memory.needed(texts), "250m"),
        **probes("/", "health"),
        "securityContext": HARDENED,
        "volumeMounts": mounts,
    }
