"""The pipeline in containers of one machine, out of the very files that run without containers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from multiagents_otel.tools.deploy import memory
from multiagents_otel.tools.deploy.documents import text_of
from multiagents_otel.tools.deploy.files import QUEUE_CHECK
from multiagents_otel.tools.deploy.links import links_to
from multiagents_otel.tools.deploy.parameters import Values, port

__all__ = ["files"]

_COMMENTS: Final = (
    "Collector, Prometheus, Alertmanager and Grafana on one machine:",
    "",
    "  STACK_USER=$(id -u):$(id -g) docker compose up --detach",
    "",
    "STACK_USER is who the programs run as: the owner of alertmanager/secrets, which nobody else can read.",
    "An application sends to http://localhost:{http} (OTLP over HTTP) or :{grpc} (gRPC); in this network to",
    "http://pipeline:{http}. The backend is told by BACKEND_EXPORTER, BACKEND_ENDPOINT and BACKEND_HEADERS.",
    "After a loss of power the Collector may not open its queue file. queue-check puts it aside at `up`,",
    "not at a restart by Docker: run `up` again if the Collector keeps restarting.",
    "All share one network, as on one machine, so that `localhost` in the files means what it says.",
    "",
    "Made of the files beside it by `multiagents-otel config export`.",
)

_USER: Final = "${STACK_USER:-1000:1000}"
_VARIABLE: Final = re.compile(r"\$\{env:(\w+)")

_NETWORK: Final = "pipeline"
_OWNER: Final = "volume-owner"
_CHECK: Final = "queue-check"

_HARDENED: Final[dict[str, Any]] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "restart": "unless-stopped",
}

_DATA: Final = {
    "collector-data": "/var/lib/otelcol",
    "prometheus-data": "/prometheus",
    "alertmanager-data": "/alertmanager",
    "grafana-data": "/var/lib/grafana",
}
"""The named volumes, and where the programs want them."""

_LISTENING: Final = ("prometheus_address", "alertmanager_address")


def files(texts: Mapping[str, str], values: Values) -> dict[str, str]:
    """``docker-compose.yaml``, made of the other files' texts."""
    ports = {"grpc": values["otlp_grpc_port"], "http": values["otlp_http_port"]}
    project = {
        "name": "multiagents-otel",
        "services": {
            _NETWORK: _network(values),
            _OWNER: _owner(values),
            _CHECK: _check(values),
            "collector": _collector(texts, values),
            "prometheus": _prometheus(values),
            "alertmanager": _alertmanager(values),
            "grafana": _grafana(values),
        },
        "volumes": {name: {} for name in _DATA},
    }
    return {"docker-compose.yaml": text_of([project], *(line.format(**ports) for line in _COMMENTS))}


def _network(values: Values) -> dict[str, Any]:
    """Holds the network that all share, and outlives each of them."""
    ports = [values["otlp_grpc_port"], values["otlp_http_port"], *(port(values, name) for name in _LISTENING), "3000"]
    return {
        "image": values["busybox_image"],
        "command": ["sleep", "infinity"],
        "init": True,
        "user": "65534:65534",
        # Of this machine alone: nobody has to log in to Prometheus and Alertmanager.
        "ports": [f"127.0.0.1:{each}:{each}" for each in ports],
        **_HARDENED,
    }


def _owner(values: Values) -> dict[str, Any]:
    """Gives the volumes to who writes into them: they are made as root's."""
    return {
        "image": values["busybox_image"],
        "command": ["chown", _USER, *_DATA.values()],
        "network_mode": "none",
        "volumes": [_volume(name) for name in _DATA],
        **_HARDENED,
        "cap_add": ["CHOWN"],
        "restart": "no",
    }


def _check(values: Values) -> dict[str, Any]:
    """Service that puts damaged queue files aside: the Collector would not start, and its image has no shell."""
    return {
        "image": values["python_image"],
        "user": _USER,
        "command": ["python", f"/etc/otelcol/{QUEUE_CHECK}", _DATA["collector-data"]],
        "network_mode": "none",
        "depends_on": {_OWNER: {"condition": "service_completed_successfully"}},
        "volumes": [_file(QUEUE_CHECK, f"/etc/otelcol/{QUEUE_CHECK}"), _volume("collector-data")],
        **_HARDENED,
        "restart": "no",
    }


def _program(image: str, volumes: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "image": image,
        "user": _USER,
        "network_mode": f"service:{_NETWORK}",
        "depends_on": {
            _NETWORK: {"condition": "service_started"},
            _OWNER: {"condition": "service_completed_successfully"},
        },
        **more,
        "volumes": volumes,
        **_HARDENED,
    }


def _collector(texts: Mapping[str, str], values: Values) -> dict[str, Any]:
    used = ["collector.yaml", *(["tail-sampling.yaml"] if values["tail_sampling"] == "true" else [])]
    own = [texts[file] for file in used]
    theirs = dict.fromkeys(_VARIABLE.findall("".join(own)))  # without a value: that of who starts it
    ours = {"COLLECTOR_HOST": "0.0.0.0", "COLLECTOR_STORAGE": _DATA["collector-data"]}  # noqa: S104 - see _network
    program = _program(
        values["collector_image"],
        [*(_file(file, f"/etc/otelcol/{file}") for file in used), _volume("collector-data")],
        command=[f"--config=/etc/otelcol/{file}" for file in used],
        environment={**theirs, **ours, "GOMEMLIMIT": f"{memory.refusing(own)}MiB"},
        mem_limit=f"{memory.needed(own)}m",
        stop_grace_period="30s",
    )
    program["depends_on"][_CHECK] = {"condition": "service_completed_successfully"}
    return program


def _prometheus(values: Values) -> dict[str, Any]:
    own = port(values, "prometheus_address")
    return _program(
        values["prometheus_image"],
        [_file("prometheus", "/etc/prometheus"), _volume("prometheus-data")],
        command=[
            "--config.file=/etc/prometheus/prometheus.yaml",
            f"--storage.tsdb.path={_DATA['prometheus-data']}",
            f"--storage.tsdb.retention.time={values['prometheus_retention']}",
            f"--web.listen-address=:{own}",
            *links_to(values["prometheus_url"]),
            "--enable-feature=exemplar-storage",
        ],
        healthcheck=_healthy(f"http://localhost:{own}/-/ready"),
    )


def _alertmanager(values: Values) -> dict[str, Any]:
    own = port(values, "alertmanager_address")
    return _program(
        values["alertmanager_image"],
        [_file("alertmanager", "/etc/alertmanager"), _volume("alertmanager-data")],
        command=[
            "--config.file=alertmanager.yaml",
            f"--storage.path={_DATA['alertmanager-data']}",
            f"--web.listen-address=:{own}",
            *links_to(values["alertmanager_url"]),
            "--cluster.listen-address=",
        ],
        working_dir="/etc/alertmanager",  # whence the secrets' paths are taken
        healthcheck=_healthy(f"http://localhost:{own}/-/ready"),
    )


def _grafana(values: Values) -> dict[str, Any]:
    return _program(
        values["grafana_image"],
        [
            _file("grafana/provisioning", "/etc/grafana/provisioning"),
            _file("grafana/dashboards", "/var/lib/grafana/dashboards"),
            _volume("grafana-data"),
        ],
        environment={
            "PROMETHEUS_URL": f"http://localhost:{port(values, 'prometheus_address')}",
            "TRACES_URL": "${TRACES_URL:-http://localhost:3200}",
            "GF_SECURITY_ADMIN_PASSWORD": None,  # else the first login, admin and admin, is asked for one
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
        },
        healthcheck=_healthy("http://localhost:3000/api/health"),
    )


def _file(source: str, target: str) -> dict[str, Any]:
    return {
        "type": "bind",
        "source": f"./{source}",
        "target": target,
        "read_only": True,
        "bind": {"create_host_path": False},
    }


def _volume(name: str) -> dict[str, Any]:
    return {"type": "volume", "source": name, "target": _DATA[name]}


def _healthy(url: str) -> dict[str, Any]:
    return {"test": ["CMD", "wget", "--quiet", "--spider", url], "interval": "10s", "timeout": "3s", "retries": 3}
