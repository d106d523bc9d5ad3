"""The parts of the stack: where each listens, how it is started, and when it is ready."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from programs import Ready, answers, find, says

DEMO = Path(__file__).resolve().parents[1] / "demo"
sys.path.append(str(DEMO))
import redis_server  # noqa: E402 (the demo's own)

HOST = "127.0.0.1"
PORTS = {  # those that people know; a free one where somebody has it already
    "redis": 6379,
    "otlp_grpc": 4317,
    "otlp_http": 4318,
    "collector_metrics": 9464,
    "collector_own_metrics": 8888,
    "health": 13133,
    "prometheus": 9090,
    "alertmanager": 9093,
}
INTERVAL = 5  # seconds between two looks: a page that somebody watches should not lag half a minute behind


class Part(NamedTuple):
    """A program to start."""

    name: str
    argv: list[str]
    ready: Ready
    cwd: Path
    env: Mapping[str, str] = {}


def urls(ports: Mapping[str, int]) -> dict[str, str]:
    """Where each part is."""
    return {name: f"{'redis' if name == 'redis' else 'http'}://{HOST}:{port}" for name, port in ports.items()}


def parameters(ports: Mapping[str, int]) -> dict[str, str]:
    """The same as parameters of the pipeline's files: who listens where, finds whom where, and looks how often."""
    address = {name: f"{HOST}:{port}" for name, port in ports.items()}
    return {
        "otlp_grpc_port": str(ports["otlp_grpc"]),
        "otlp_http_port": str(ports["otlp_http"]),
        "health_port": str(ports["health"]),
        "export_port": str(ports["collector_metrics"]),
        "collector_metrics": address["collector_metrics"],
        "collector_metrics_port": str(ports["collector_own_metrics"]),
        "collector_own_metrics": address["collector_own_metrics"],
        "prometheus_address": address["prometheus"],
        "alertmanager_address": address["alertmanager"],
        "scrape_interval": f"{INTERVAL}s",
        "evaluation_interval": f"{INTERVAL}s",
    }


def parts(config: Path, data: Path, ports: Mapping[str, int]) -> list[Part]:
    """Everything, in the order in which it starts: each when what it needs is ready. StackError: one is missing."""
    return [*services(config, data, ports), *application(data, urls(ports))]


def services(config: Path, data: Path, ports: Mapping[str, int]) -> list[Part]:
    url = urls(ports)
    redis = [redis_server.find(), "--bind", HOST, "--port", str(ports["redis"]), "--save", ""]
    alertmanager = [
        find("prometheus-alertmanager", "alertmanager"),
        f"--config.file={config}/alertmanager/alertmanager.yaml",
        f"--storage.path={data}/alertmanager",
        f"--web.listen-address={HOST}:{ports['alertmanager']}",
        f"--web.external-url={url['alertmanager']}",
        "--cluster.listen-address=",
    ]
    collector = [find("otelcol", "otelcol-contrib"), f"--config={config}/collector.yaml"]
    prometheus = [
        find("prometheus"),
        f"--config.file={config}/prometheus/prometheus.yaml",
        f"--storage.tsdb.path={data}/prometheus",
        f"--web.listen-address={HOST}:{ports['prometheus']}",
        f"--web.external-url={url['prometheus']}",
        "--enable-feature=exemplar-storage",
    ]
    return [
        Part("redis", redis, says("Ready to accept"), data),
        # It looks for its secrets from where it runs.
        Part("alertmanager", alertmanager, answers(f"{url['alertmanager']}/-/ready"), config / "alertmanager"),
        Part("collector", collector, answers(url["health"]), data),
        Part("prometheus", prometheus, answers(f"{url['prometheus']}/-/ready"), data),
    ]


def application(data: Path, url: Mapping[str, str]) -> list[Part]:
    environment = {
        "REDIS_URL": url["redis"],
        "OTEL_EXPORTER_OTLP_ENDPOINT": url["otlp_http"],
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRIC_EXPORT_INTERVAL": str(INTERVAL * 1000),
        "no_proxy": HOST,
    }
    return [
        Part(
            script.stem,
            [sys.executable, str(script)],
            says("open\n"),
            data,
            {**environment, "OTEL_SERVICE_NAME": script.stem},
        )
        for script in (DEMO / "warehouse.py", Path(__file__).with_name("orders.py"))
    ]
