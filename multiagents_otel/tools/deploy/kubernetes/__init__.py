"""The pipeline in a Kubernetes cluster, made of the very files that run on one machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from multiagents_otel.tools.deploy.documents import text_of
from multiagents_otel.tools.deploy.kubernetes import alerting, collectors
from multiagents_otel.tools.deploy.kubernetes.objects import Object
from multiagents_otel.tools.deploy.parameters import Values

__all__ = ["files"]

_Maker = Callable[[Mapping[str, str], Values], list[Object]]

_FILES: Final[dict[str, tuple[_Maker, tuple[str, ...]]]] = {
    "agent": (
        collectors.agent,
        (
            "The Collector on each node. Applications send to http://multiagents-otel-agent:4318, or :4317 for gRPC.",
            "Where it runs: a namespace that allows hostPath, for the queue.",
        ),
    ),
    "gateway": (
        collectors.gateway,
        (
            "The Collectors that decide which transactions are kept, each for its share of the traces.",
            "Their number is the agents' too: change it with the parameter `gateways`, not with `kubectl scale`.",
            "With the parameter `gateway_tls` agents and gateways speak mutual TLS. Their certificates are then in the",
            "Secrets multiagents-otel-agent-tls and multiagents-otel-gateway-tls: tls.crt, tls.key, ca.crt.",
            "The backend comes from a Secret, whose keys are the variables that collector.yaml names:",
            "  kubectl create secret generic multiagents-otel-backend --from-literal=BACKEND_EXPORTER=otlp_http \\",
            "    --from-literal=BACKEND_ENDPOINT=https://otlp.example.com \\",
            "    --from-literal=BACKEND_HEADERS='{x-api-key: ...}'",
        ),
    ),
    "rules": (alerting.rules, ("The rules of prometheus/rules, for the Prometheus operator.",)),
    "monitors": (alerting.monitors, ("What Prometheus scrapes, for the Prometheus operator.",)),
    "alertmanager": (
        alerting.alertmanager,
        (
            "An Alertmanager. Its secrets are files:",
            "  kubectl create secret generic multiagents-otel-alertmanager --from-file=alertmanager/secrets",
            "The operator's Prometheus is told in `alerting.alertmanagers`: multiagents-otel-alertmanager, port http.",
        ),
    ),
}


def files(texts: Mapping[str, str], values: Values) -> dict[str, str]:
    """The manifests, by path, made of the other files' texts."""
    return {
        f"kubernetes/{name}.yaml": text_of(
            make(texts, values), *comments, "Made of the files one folder up by `multiagents-otel config export`."
        )
        for name, (make, comments) in _FILES.items()
    }
