"""The shipped files as they are put together: one Collector that samples, or an agent before several gateways."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.collectors import Running, collector
from tests.support.deadline import DEADLINE
from tests.support.receiver import OtlpReceiver
from tests.support.traffic import Client, traces

ONE_MACHINE: Final = ("collector.yaml",)
SAMPLING: Final = ("collector.yaml", "tail-sampling.yaml")
AGENT: Final = ("collector.yaml", "agent.yaml")
GATEWAY: Final = ("collector.yaml", "tail-sampling.yaml", "gateway.yaml")
GATEWAY_FOR_ALL: Final = ("collector.yaml", "gateway.yaml")
"""A gateway that passes everything on."""

_SAMPLE: Final = re.compile(r"(?P<name>\w+?)(?:_total)?(?:\{(?P<labels>.*)\})? (?P<value>\S+)")


def client(entry: Running, timeout: float = DEADLINE) -> Client:
    """A client of a Collector, over HTTP."""
    return Client(entry.ports["otlp_http_port"], timeout)


def figure(running: Running, name: str, **labels: str) -> float:
    """One of a Collector's own metrics, ``otelcol_`` left out: the sum of the series that have these labels."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(
        float(sample["value"])
        for sample in map(_SAMPLE.fullmatch, running.own_metrics().splitlines())
        if sample and sample["name"] == f"otelcol_{name}" and all(label in (sample["labels"] or "") for label in wanted)
    )


@dataclass(frozen=True)
class Pipeline:
    """Where applications send to, and the Collectors that sample: itself, or those behind it."""

    entry: Running
    samplers: Sequence[Running]

    def send(self, *requests: list[bytes]) -> None:
        """Send spans, a request for each list, and see each accepted."""
        sender = client(self.entry)
        for spans in requests:
            assert sender.send("traces", traces(spans)) == 200
        sender.close()

    def figure(self, name: str, **labels: str) -> float:
        """A metric of the samplers, summed."""
        return sum(figure(sampler, name, **labels) for sampler in self.samplers)

    @property
    def let_go(self) -> float:
        """How many transactions were held for all of their wait, and then dropped."""
        return self.figure("processor_tail_sampling_global_count_traces_sampled", decision="not_sampled")


@contextmanager
def one_collector(place: Path, backend: OtlpReceiver, **parameters: Any) -> Iterator[Pipeline]:
    """A single Collector that samples."""
    with collector(place, *SAMPLING, backend=backend, **parameters) as sampler:
        yield Pipeline(sampler, [sampler])


@contextmanager
def gateways(
    place: Path, backend: OtlpReceiver, files: tuple[str, ...] = GATEWAY, count: int = 2, **parameters: Any
) -> Iterator[Pipeline]:
    """An agent, and gateways behind it that send to the backend."""
    with ExitStack() as started:
        samplers = [
            started.enter_context(collector(place / f"gateway-{number}", *files, backend=backend, **parameters))
            for number in range(count)
        ]
        addresses = ", ".join(f"127.0.0.1:{sampler.ports['otlp_grpc_port']}" for sampler in samplers)
        agent = started.enter_context(collector(place / "agent", *AGENT, gateways=addresses, **parameters))
        yield Pipeline(agent, samplers)
