"""Rules and monitors for the Prometheus operator, and an Alertmanager of our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from multiagents_otel.tools.deploy.documents import parsed
from multiagents_otel.tools.deploy.kubernetes.collectors import AGENT, GATEWAY
from multiagents_otel.tools.deploy.kubernetes.objects import (
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
    selecting,
    service,
)
from multiagents_otel.tools.deploy.links import links_to
from multiagents_otel.tools.deploy.parameters import Values, port

ALERTMANAGER: Final = f"{PROJECT}-alertmanager"

_OPERATOR: Final = "monitoring.coreos.com/v1"
_FOLDER: Final = "/etc/alertmanager"


def rules(files: Mapping[str, str], values: Values) -> list[Object]:
    """A PrometheusRule for each file of rules."""
    return [
        made(
            _OPERATOR,
            "PrometheusRule",
            f"{PROJECT}-{PurePosixPath(path).stem}",
            also=_release(values),
            spec=parsed(text),
        )
        for path, text in files.items()
        if path.startswith("prometheus/rules/")
    ]


def monitors(files: Mapping[str, str], values: Values) -> list[Object]:
    """What Prometheus scrapes, in the jobs of prometheus.yaml: rules know them by their names."""
    prometheus = parsed(files["prometheus/prometheus.yaml"])
    jobs = {job["job_name"]: job for job in prometheus["scrape_configs"]}

    def endpoint(name: str, job: str) -> Object:
        return {
            "port": name,
            "interval": prometheus["global"]["scrape_interval"],
            "honorLabels": jobs[job].get("honor_labels", False),
            "relabelings": [{"targetLabel": "job", "replacement": job}],
            "metricRelabelings": [
                {"sourceLabels": each["source_labels"], "regex": each["regex"], "action": each["action"]}
                for each in jobs[job].get("metric_relabel_configs", ())
            ],
        }

    def monitor(name: str, selector: Object, endpoints: list[Object]) -> Object:
        spec = {"selector": selector, "podMetricsEndpoints": endpoints}
        return made(_OPERATOR, "PodMonitor", name, also=_release(values), spec=spec)

    served = [endpoint("metrics", "multiagents")] if values["export_prometheus"] == "true" else []
    collectors = {"key": "app.kubernetes.io/name", "operator": "In", "values": [AGENT, GATEWAY]}
    return [
        monitor(
            f"{PROJECT}-collectors",
            {"matchExpressions": [collectors]},
            [*served, endpoint("telemetry", "otel-collector")],
        ),
        monitor(ALERTMANAGER, {"matchLabels": labels(ALERTMANAGER)}, [endpoint("http", "alertmanager")]),
    ]


def alertmanager(files: Mapping[str, str], values: Values) -> list[Object]:
    """Alertmanager with its file and templates. Its secrets are the keys of the Secret of the same name."""
    folder = "alertmanager/"
    texts = {path.removeprefix(folder): text for path, text in files.items() if path.startswith(folder)}
    data = {path.replace("/", "--"): text for path, text in texts.items()}  # no key of a ConfigMap has a slash
    items = [{"key": key, "path": path} for key, path in zip(data, texts, strict=True)]
    ports = {"http": port(values, "alertmanager_address")}
    container = {
        "name": "alertmanager",
        "image": values["alertmanager_image"],
        "args": [
            "--config.file=files/alertmanager.yaml",
            "--storage.path=/alertmanager",
            f"--web.listen-address=:{ports['http']}",
            *links_to(values["alertmanager_url"]),
            "--cluster.listen-address=",
        ],
        # The paths of the secrets are taken from here.
        "workingDir": _FOLDER,
        "ports": container_ports(ports),
        "resources": resources(128, "50m"),
        **probes("/-/ready", "http"),
        "securityContext": HARDENED,
        "volumeMounts": [
            {"name": "files", "mountPath": f"{_FOLDER}/files", "readOnly": True},
            {"name": "secrets", "mountPath": str(PurePosixPath(_FOLDER, values["alert_secrets"])), "readOnly": True},
            {"name": "silences", "mountPath": "/alertmanager"},
        ],
    }
    volumes = [
        {"name": "files", "configMap": {"name": ALERTMANAGER, "items": items}},
        {"name": "secrets", "secret": {"secretName": ALERTMANAGER, "defaultMode": 0o440, "optional": True}},
    ]
    spec = {
        "serviceName": ALERTMANAGER,
        "replicas": 1,
        **selecting(ALERTMANAGER),
        "template": pod(ALERTMANAGER, data, containers=[container], volumes=volumes),
        "volumeClaimTemplates": [claim("silences", 1)],
    }
    return [
        config_map(ALERTMANAGER, data),
        service(ALERTMANAGER, labels(ALERTMANAGER), ports),
        made("apps/v1", "StatefulSet", ALERTMANAGER, spec=spec),
    ]


def _release(values: Values) -> dict[str, str]:
    return {"release": values["prometheus_release"]}
