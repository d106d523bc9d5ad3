"""The Collector with a file of ``collector-config/``, on free ports, for tests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from multiagents_otel.tools.deploy.files import folder
from multiagents_otel.tools.deploy.render import render
from tests.support.parameters import at_any_pace
from tests.support.ports import free_port
from tests.support.receiver import OtlpReceiver
from tests.support.services import Collector, fetch

FOLDER: Final = folder()
_PORTS: Final = ("otlp_grpc_port", "otlp_http_port", "export_port", "health_port", "collector_metrics_port")


@dataclass(frozen=True)
class Running:
    """A Collector that takes OTLP."""

    service: Collector
    ports: Mapping[str, int]
    storage: Path

    def environment(self, protocol: str = "grpc", interval_ms: int = 100) -> dict[str, str]:
        """Environment variables that make a process export here, and soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": {"grpc": self.grpc, "http/protobuf": self.http}[protocol],
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_BSP_SCHEDULE_DELAY": str(interval_ms),
            "OTEL_BLRP_SCHEDULE_DELAY": str(interval_ms),
            "OTEL_METRIC_EXPORT_INTERVAL": str(interval_ms),
        }

    @property
    def grpc(self) -> str:
        return f"http://127.0.0.1:{self.ports['otlp_grpc_port']}"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.ports['otlp_http_port']}"

    def metrics(self) -> str:
        """What Prometheus scrapes, in the format that has exemplars."""
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        return fetch(f"http://127.0.0.1:{self.ports['export_port']}/metrics", headers=accept)

    def own_metrics(self) -> str:
        """What the Collector tells of itself."""
        return fetch(f"http://127.0.0.1:{self.ports['collector_metrics_port']}/metrics")

    def counted(self, name: str) -> float:
        """The sum of one of its own counters, 0 before there is one."""
        found = re.findall(rf"^{name}(?:_total)?(?:\{{.*\}})? (\S+)$", self.own_metrics(), re.MULTILINE)
        return sum(map(float, found))

    def complaints(self) -> list[str]:
        """The warnings and errors of its log."""
        return [line for line in self.service.process.lines if re.search(r"\t(warn|error|fatal|panic)\t", line)]


def rendered(target: Path, *names: str, **parameters: object) -> list[Path]:
    """Write these files of ``collector-config/`` with these values into a folder, as an export does."""
    chosen = at_any_pace({name: str(value) for name, value in parameters.items()})
    written = []
    for name in names:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render((FOLDER / name).read_text(), chosen))
        written.append(path)
    return written


@contextmanager
def collector(
    target: Path,
    *names: str,
    backend: OtlpReceiver | None = None,
    exporter: str = "otlp_http",
    more: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    **parameters: object,
) -> Iterator[Running]:
    """Run a Collector with these files, and keep its files in ``target``.

    Args:
        target: a folder of the test's.
        names: of files in ``collector-config/``, later ones on top.
        backend: where it sends what it has; without one it has no backend.
        exporter: by which protocol.
        more: YAML that goes on top.
        env: for its process.
        parameters: of the files.
    """
    ports = {name: int(str(parameters.get(name) or free_port())) for name in _PORTS}
    files = rendered(target, *(names or ("collector.yaml",)), **{**parameters, **ports})
    environment = {"COLLECTOR_STORAGE": str(target / "storage"), **(env or {})}
    if backend is not None:
        addresses: dict[str, Callable[[], str]] = {
            "otlp_http": lambda: backend.http_endpoint,
            "otlp_grpc": lambda: backend.grpc_endpoint,
        }
        environment = {"BACKEND_EXPORTER": exporter, "BACKEND_ENDPOINT": addresses[exporter](), **environment}
    service = Collector(*files, *(f"yaml:{text}" for text in more), health=ports["health_port"], env=environment)
    with service:
        yield Running(service, ports, target / "storage")
