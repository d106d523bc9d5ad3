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

ROUNDS: Final = 15
WORKFLOWS: Final = 300


def workflows_a_second() -> float:
    """Of the real framework, one after the other, by the clock."""
    started = time.perf_counter()
    asyncio.run(System().run(WORKFLOWS))
    return WORKFLOWS / (time.perf_counter() - started)


def main() -> None:
    """Rounds with the backend there and away in turn."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    rates: dict[str, list[float]] = {"there": [], "away": []}
    with Sink() as backend, tempfile.TemporaryDirectory() as place:
        env = {"BACKEND_EXPORTER": "otlp_http", "BACKEND_ENDPOINT": f"http://127.0.0.1:{backend.http}"}
        with collector(Path(place), *ONE_MACHINE, env=env) as running:
            provider = TracerProvider()
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(running.grpc, insecure=True)))
            instrumentor = MultiAgentsInstrumentor()
            instrumentor.instrument(tracer_provider=provider, meter_provider=NoOpMeterProvider())
            workflows_a_second()
            for _ in range(ROUNDS):
                rates["there"].append(workflows_a_second())
                backend.stop()
                rates["away"].append(workflows_a_second())
                backend.start()
            instrumentor.uninstrument()
            provider.shutdown()
    median = {name: statistics.median(taken) for name, taken in rates.items()}
    print(f"backend there: {median['there']:.0f} workflows/s; away: {median['away'] / median['there']:.2f} x that")


if __name__ == "__main__":
    main()
