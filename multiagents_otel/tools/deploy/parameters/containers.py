"""Parameters of applications, docker-compose and Kubernetes.

The images are those versions that the files are tested with. A later Prometheus changes what a range holds at its edge
and how bucket bounds are written: try the rules before you move.
"""

from __future__ import annotations

from typing import Final

from multiagents_otel.tools.deploy.forms import IMAGE, LABEL, URL, VARIABLE
from multiagents_otel.tools.deploy.parameter import Parameter

ROWS: Final[tuple[Parameter, ...]] = (
    Parameter("service_name", "text", "orders", "what the application calls itself, in application.env", form=VARIABLE),
    Parameter("otlp_endpoint", "text", "http://localhost:4318", "where the application sends to, over HTTP", form=URL),
    Parameter("metric_export_ms", "integer", "30000", "how often it sends its metrics, in milliseconds", 1, 86_400_000),
    Parameter("tail_sampling", "flag", "false", "docker-compose's Collector samples: tail-sampling.yaml"),
    Parameter(
        "collector_image",
        "text",
        "otel/opentelemetry-collector-contrib:0.156.0",
        "container of the Collector",
        form=IMAGE,
    ),
    Parameter("prometheus_image", "text", "prom/prometheus:v2.42.0", "container of Prometheus", form=IMAGE),
    Parameter("alertmanager_image", "text", "prom/alertmanager:v0.25.0", "container of Alertmanager", form=IMAGE),
    Parameter("grafana_image", "text", "grafana/grafana:11.6.0", "container of Grafana", form=IMAGE),
    Parameter(
        "busybox_image", "text", "busybox:1.37", "container that prepares volumes and holds the network", form=IMAGE
    ),
    Parameter(
        "python_image", "text", "python:3.13-alpine", "container that checks the Collector's queue files", form=IMAGE
    ),
    Parameter("prometheus_retention", "duration", "15d", "how long Prometheus keeps its data"),
    Parameter("gateway_tls", "flag", "false", "agents and gateways speak mutual TLS in Kubernetes"),
    Parameter("gateway_storage", "integer", "10", "disk of a gateway's queue in Kubernetes, in GiB", 1, 10**6),
    Parameter(
        "prometheus_release",
        "text",
        "kube-prometheus-stack",
        "the label `release` by which the Prometheus operator finds rules and monitors",
        form=LABEL,
    ),
)
