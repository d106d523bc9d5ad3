"""What a backend that is away costs an application in front of a Collector: its workflows a second, as a ratio."""

from __future__ import annotations

import asyncio
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import structlog
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from multiagents_otel import MultiAgentsInstrumentor
from tests.bench.collector import Sink
from tests.bench.workload import System
from tests.sampling.running import ONE_MACHINE
from tests.support.collectors import collector

ROUNDS: Final = 7
WORKFLOWS: Final = 150


def run() -> tuple[float, float]:
    """Workflows of the real framework, one after the other: how many a second by the clock, and by CPU."""
    clock, cpu = time.perf_counter(), time.process_time()
    asyncio.run(System().run(WORKFLOWS))
    return WORKFLOWS / (time.perf_counter() - clock), WORKFLOWS / (time.process_time() - cpu)


def main() -> None:
    """Rounds with the backend there and away in turn."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    taken: dict[str, list[tuple[float, float]]] = {"there": [], "away": []}
    with Sink() as backend, tempfile.TemporaryDirectory() as place:
        env = {"BACKEND_EXPORTER": "otlp_http", "BACKEND_ENDPOINT": f"http://127.0.0.1:{backend.http}"}
        with collector(Path(place), *ONE_MACHINE, env=env) as running:
            provider = TracerProvider()
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(running.grpc, insecure=True)))
            instrumentor = MultiAgentsInstrumentor()
            instrumentor.instrument(tracer_provider=provider, meter_provider=NoOpMeterProvider())
            run()
            for _ in range(ROUNDS):
                taken["there"].append(run())
                backend.stop()
                taken["away"].append(run())
                backend.start()
            instrumentor.uninstrument()
            provider.shutdown()
    # The best round by the clock: who else uses the machine slows single rounds down, and none up.
    clock = {name: max(by_clock for by_clock, _ in rounds) for name, rounds in taken.items()}
    cpu = {name: statistics.median(by_cpu for _, by_cpu in rounds) for name, rounds in taken.items()}
    print(f"workflows/s with the backend there: {clock['there']:.0f}")
    print(f"away, by the clock: {clock['away'] / clock['there']:.2f} x; by CPU: {cpu['away'] / cpu['there']:.2f} x")


if __name__ == "__main__":
    main()
