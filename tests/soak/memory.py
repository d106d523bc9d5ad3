"""Memory after a million events, lost and doubled results among them, against that after ten thousand."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psutil
import structlog
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from multiagents_otel import MultiAgentsInstrumentor
from tests.bench.cpu import NoExporter
from tests.soak.traffic import Traffic

REACH_MB: Final = 10.0
FIRST: Final = 10_000
EVENTS: Final = 1_000_000


@contextmanager
def instrumented(*, on: bool = True) -> Iterator[Callable[[], None]]:
    """Spans, metrics and logs to nowhere; gives what makes everything leave that is queued."""
    # The SDK's own queue: the larger one of the CPU bench would be a part of what is measured.
    spans = TracerProvider(shutdown_on_exit=False)
    spans.add_span_processor(BatchSpanProcessor(NoExporter()))
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    logs = LoggerProvider(shutdown_on_exit=False)

    def flush() -> None:
        spans.force_flush()
        reader.get_metrics_data()

    instrumentor = MultiAgentsInstrumentor()
    if on:
        instrumentor.instrument(tracer_provider=spans, meter_provider=meters, logger_provider=logs, stall_grace=0)
    try:
        yield flush
    finally:
        if on:
            instrumentor.uninstrument()
        spans.shutdown()
        meters.shutdown()
        logs.shutdown()


def megabytes() -> float:
    """What the process holds in memory when all garbage is gone."""
    gc.collect()
    return float(psutil.Process().memory_info().rss) / (1 << 20)


async def growth(events: int = EVENTS, first: int = FIRST, *, on: bool = True) -> float:
    """Megabytes that are held after ``events`` beyond those after ``first``."""
    with instrumented(on=on) as flush:
        async with Traffic() as traffic:
            await traffic.events(first)
            flush()
            before = megabytes()
            await traffic.events(events)
            flush()
            after = megabytes()
            assert traffic.lossy.lost > events / 1000
            assert traffic.lossy.doubled > events / 1000
    return after - before


def quiet() -> None:
    """Nothing that the framework logs for each event."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def main() -> None:
    quiet()
    name = f"memory after {EVENTS:,} events, MB more than after {FIRST:,}"
    print(f"{name:60} {asyncio.run(growth()):+6.1f}   (reach +{REACH_MB:.0f})")


if __name__ == "__main__":
    main()
