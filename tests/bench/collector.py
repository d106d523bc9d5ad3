"""What a Collector costs on one core, with each of the files: CPU for a span, memory before and after.

CPU is the Collector's own, in seconds that the system has counted; how busy the machine is otherwise hardly matters.
The load is 1,000 three-step workflows a second in requests as large as the SDK's, made by this process, on other cores.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import grpc  # type: ignore[import-untyped,unused-ignore]

from tests.sampling.running import AGENT, GATEWAY, ONE_MACHINE, SAMPLING, figure
from tests.support.collectors import Running, collector
from tests.support.expected import COMPENSATED, COMPLETED
from tests.support.ports import free_port
from tests.support.services import Collector, wait_until
from tests.support.traffic import Shape, trace_ids, traces

WORKFLOWS: Final = 1_000
"""A second."""
SECONDS: Final = 15
REQUEST: Final = 512
"""Spans in a request: the SDK's own number."""
PROCESSES: Final = 8
"""Each of an application's has one request under way."""
FAILING: Final = 50
"""One in so many workflows."""
CORE: Final = max(os.sched_getaffinity(0))
"""The Collector's; the load and what stands for a backend have the others."""

_EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Case(NamedTuple):
    """A way to run a Collector."""

    name: str
    files: tuple[str, ...]
    parameters: Mapping[str, Any] = MappingProxyType({})
    more: tuple[str, ...] = ()


_NO_REDACTION: Final = "service::pipelines::traces::processors: [memory_limiter]"
_IN_MEMORY: Final = "exporters::otlp_http::sending_queue::storage: null"
CASES: Final = (
    Case("collector.yaml, queue in memory, no redaction", ONE_MACHINE, more=(_IN_MEMORY, _NO_REDACTION)),
    Case("collector.yaml, no redaction", ONE_MACHINE, more=(_NO_REDACTION,)),
    Case("collector.yaml", ONE_MACHINE),
    Case("tail-sampling.yaml, held for 10 s", SAMPLING, {"decision_wait": "10s"}),
    Case("tail-sampling.yaml, held for all of it", SAMPLING, {"decision_wait": "10m"}),
    Case("agent.yaml", AGENT),
    Case("gateway.yaml, held for 10 s", GATEWAY, {"decision_wait": "10s"}),
)


class Sink(Collector):
    """Takes everything and keeps nothing."""

    def __init__(self) -> None:
        self.grpc, self.http, health = free_port(), free_port(), free_port()
        super().__init__(
            f"yaml:receivers::otlp::protocols::grpc: {{endpoint: '127.0.0.1:{self.grpc}', max_recv_msg_size_mib: 64}}",
            f"yaml:receivers::otlp::protocols::http: {{endpoint: '127.0.0.1:{self.http}'}}",
            "yaml:exporters: {nop: }",
            f"yaml:extensions: {{health_check: {{endpoint: '127.0.0.1:{health}'}}}}",
            "yaml:service: {extensions: [health_check], telemetry: {metrics: {level: none}}}",
            "yaml:service::pipelines::traces: {receivers: [otlp], exporters: [nop]}",
            health=health,
        )


class Used(NamedTuple):
    """What a process has used so far."""

    cpu: float
    resident: float

    @classmethod
    def of(cls, pid: int) -> Used:
        """Seconds, and MiB that are resident now."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        assert found
        return cls((int(fields[11]) + int(fields[12])) / _TICKS, int(found[1]) / 1024)


def requests(seconds: float) -> Iterator[tuple[bytes, int]]:
    """Bodies, and how many spans each holds."""
    healthy, failing = Shape(COMPLETED), Shape(COMPENSATED)
    spans: list[bytes] = []
    for number, trace_id in enumerate(islice(trace_ids(1), round(WORKFLOWS * seconds))):
        spans += (failing if number % FAILING == 0 else healthy).stamped(trace_id)
        if len(spans) >= REQUEST:
            yield traces(spans), len(spans)
            spans = []


def load(port: int, seconds: float) -> tuple[int, float]:
    """Send at the rate, and give the spans that were accepted and the time that it took."""
    sent, started, pause = 0, time.monotonic(), threading.Event()
    rate = WORKFLOWS * (len(Shape(COMPLETED)) * (FAILING - 1) + len(Shape(COMPENSATED))) / FAILING
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        export = channel.unary_unary(_EXPORT)
        under_way: deque[Any] = deque()
        for body, spans in requests(seconds):
            under_way.append(export.future(body, timeout=60))
            if len(under_way) > PROCESSES:
                under_way.popleft().result()
            sent += spans
            pause.wait(max(0.0, started + sent / rate - time.monotonic()))
        for each in under_way:
            each.result()
    return sent, time.monotonic() - started


def pinned(running: Running) -> int:
    """Its process, on one core."""
    pid = running.service.process.pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {CORE})
    return pid


def measure(case: Case, place: Path, seconds: float) -> None:
    """Run a case, and print its row."""
    with Sink() as backend, Sink() as other:
        env = {
            "GOMAXPROCS": "1",
            "BACKEND_EXPORTER": "otlp_http",
            "BACKEND_ENDPOINT": f"http://127.0.0.1:{backend.http}",
        }
        gateways = f"127.0.0.1:{backend.grpc}, 127.0.0.1:{other.grpc}"
        with collector(place, *case.files, more=case.more, env=env, gateways=gateways, **case.parameters) as running:
            pid = pinned(running)
            load(running.ports["otlp_grpc_port"], 1)
            before, own = Used.of(pid), time.process_time()
            spans, took = load(running.ports["otlp_grpc_port"], seconds)
            own = time.process_time() - own
            loaded = Used.of(pid)
            wait_until(lambda: figure(running, "exporter_queue_size") == 0, "the queue is empty", 60)
            after = Used.of(pid)
            held = figure(running, "processor_tail_sampling_sampling_traces_on_memory")
    cpu = (after.cpu - before.cpu) / spans
    print(
        f"{case.name:46} {cpu * 1e6:5.1f} us a span, {cpu * 100 * spans / seconds:4.0f} % of a core, "
        f"{before.resident:5.0f} -> {loaded.resident:5.0f} MiB, {held:6.0f} held, "
        f"{spans / took:6.0f} spans/s, load {own / spans * 1e6:.1f} us a span",
        flush=True,
    )


def run(cases: Sequence[Case], seconds: float) -> None:
    """Measure these cases."""
    os.sched_setaffinity(0, os.sched_getaffinity(0) - {CORE} or {CORE})
    for case in cases:
        with tempfile.TemporaryDirectory() as place:
            measure(case, Path(place), seconds)


def main() -> None:
    """``python -m tests.bench.collector [seconds]``."""
    run(CASES, float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)


if __name__ == "__main__":
    main()
