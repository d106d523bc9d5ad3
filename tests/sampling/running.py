"""Collectors of the shipped files, on free ports: rendered as an export does it, with a test's own values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from multiagents_otel.stack.files import folder
from multiagents_otel.stack.parameters import values
from multiagents_otel.stack.render import render
from tests.support.ports import free_port
from tests.support.receiver import OtlpReceiver
from tests.support.services import Collector, fetch
from tests.support.traffic import Client

SINGLE: Final = ("collector.yaml",)
SAMPLING: Final = ("collector.yaml", "tail-sampling.yaml")
AGENT: Final = ("collector.yaml", "agent.yaml")
GATEWAY: Final = ("collector.yaml", "tail-sampling.yaml", "gateway.yaml")

_PORTS: Final = ("otlp_grpc_port", "otlp_http_port", "export_port", "health_port", "collector_metrics_port")
_SAMPLE: Final = re.compile(r"(?P<name>\w+?)(?:_total)?(?:\{(?P<labels>.*)\})? (?P<value>\S+)")


class Running:
    """A Collector that runs, and where it listens."""

    def __init__(self, place: Path, files: tuple[str, ...], chosen: Mapping[str, str], env: Mapping[str, str]) -> None:
        self.ports: Final = {name: chosen.get(name) or str(free_port()) for name in _PORTS}
        place.mkdir(parents=True, exist_ok=True)
        given = values({**chosen, **self.ports})
        for name in files:
            (place / name).write_text(render((folder() / name).read_text(), given))
        self.service: Final = Collector(
            *(place / name for name in files),
            health=int(self.ports["health_port"]),
            env={"COLLECTOR_STORAGE": str(place / "storage"), **env},
        )

    @property
    def address(self) -> str:
        """Where it takes OTLP over gRPC."""
        return f"127.0.0.1:{self.ports['otlp_grpc_port']}"

    @property
    def http_endpoint(self) -> str:
        """Where it takes OTLP over HTTP, without ``/v1/traces``."""
        return f"http://127.0.0.1:{self.ports['otlp_http_port']}"

    def client(self, timeout: float = 30.0) -> Client:
        return Client(int(self.ports["otlp_http_port"]), timeout)

    def figure(self, name: str, **labels: str) -> float:
        """One of its own metrics, ``otelcol_`` left out: the sum of the series that have these labels."""
        text = fetch(f"http://127.0.0.1:{self.ports['collector_metrics_port']}/metrics")
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(sample["value"])
            for sample in map(_SAMPLE.fullmatch, text.splitlines())
            if sample
            and sample["name"] == f"otelcol_{name}"
            and all(label in (sample["labels"] or "") for label in wanted)
        )


@contextmanager
def running(
    place: Path, files: tuple[str, ...], backend: OtlpReceiver | None = None, **chosen: str
) -> Iterator[Running]:
    """Start a Collector of these files with these parameters; its queue lives in ``place``, as it does."""
    env = {"BACKEND_EXPORTER": "otlp_http", "BACKEND_ENDPOINT": backend.http_endpoint} if backend else {}
    collector = Running(place, files, chosen, env)
    with collector.service:
        yield collector
