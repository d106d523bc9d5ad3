"""CPU added to a three-step workflow, as ratios against the floor."""

from __future__ import annotations

import asyncio
import gc
import logging
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import NoOpTracerProvider

from multiagents_otel import MultiAgentsInstrumentor
from tests.bench.floor import FloorSystem
from tests.bench.workload import System

ROUNDS = 9
WORKFLOWS = 150


class NoExporter(SpanExporter):
    """Takes every batch and does nothing with it."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


@contextmanager
def traced(sampler: Sampler = ALWAYS_ON) -> Iterator[TracerProvider]:
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(NoExporter(), max_queue_size=100_000))
    yield provider
    provider.shutdown()


@contextmanager
def ours(sampler: Sampler = ALWAYS_ON, *, metrics: bool = False, **options: Any) -> Iterator[System]:
    with traced(sampler) as provider:
        meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False) if metrics else NoOpMeterProvider()
        instrumentor = MultiAgentsInstrumentor()
        instrumentor.instrument(tracer_provider=provider, meter_provider=meters, **options)
        try:
            yield System()
        finally:
            instrumentor.uninstrument()


@contextmanager
def floor() -> Iterator[System]:
    with traced() as provider:
        yield FloorSystem(provider)


@contextmanager
def disabled() -> Iterator[System]:
    instrumentor = MultiAgentsInstrumentor()
    instrumentor.instrument(tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider())
    try:
        yield System()
    finally:
        instrumentor.uninstrument()


@contextmanager
def bare(*, builtin_monitors: bool = False) -> Iterator[System]:
    yield System(builtin_monitors=builtin_monitors)


ONE_PERCENT = ParentBased(TraceIdRatioBased(0.01))

ARMS: dict[str, Callable[[], Any]] = {
    "bare": bare,
    "floor": floor,
    "spans": ours,
    "metrics": lambda: ours(metrics=True),
    "metrics, 1 % sampled": lambda: ours(ONE_PERCENT, metrics=True),
    "spans, 1 % sampled": lambda: ours(ONE_PERCENT),
    "spans, not detailed": lambda: ours(detailed_timing=False),
    "disabled": disabled,
    "the framework's own monitors": lambda: bare(builtin_monitors=True),
}


def measure(arm: Callable[[], Any], workflows: int) -> float:
    """CPU seconds of the whole process for one workflow."""
    with arm() as system:
        gc.collect()
        gc.freeze()
        started = time.process_time()
        asyncio.run(system.run(workflows))
        used = time.process_time() - started
        gc.unfreeze()
    return used / workflows


def run(names: Sequence[str], rounds: int = ROUNDS, workflows: int = WORKFLOWS) -> dict[str, float]:
    """The median of each arm, the arms taken in turn."""
    taken: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        measure(ARMS[name], 20)
    for _ in range(rounds):
        for name in names:
            taken[name].append(measure(ARMS[name], workflows))
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    sys.stdout.flush()
    median = run(list(ARMS))
    added = {name: value - median["bare"] for name, value in median.items()}
    print(
        f"bare three-step workflow: {median['bare'] * 1e6:.0f} us of CPU; the floor adds {added['floor'] * 1e6:.0f} us"
    )
    rows = [
        ("spans only, x floor", added["spans"] / added["floor"], "1.10"),
        ("all metrics, one reader, x floor", added["metrics"] / added["floor"], "1.25"),
        (
            "1 % head sampling, spans only, x the added CPU at 100 %",
            added["spans, 1 % sampled"] / added["spans"],
            "0.30",
        ),
        (
            "1 % head sampling, all metrics, x the added CPU at 100 %",
            added["metrics, 1 % sampled"] / added["metrics"],
            "0.30",
        ),
        ("detailed_timing off, x the added CPU with it", added["spans, not detailed"] / added["spans"], "0.50"),
        ("the framework's own monitors, x floor", added["the framework's own monitors"] / added["floor"], "-"),
    ]
    for name, ratio, reach in rows:
        print(f"{name:60} {ratio:6.2f}   (reach {reach})")
    calls = 3 * 7 + 4  # patched calls in the workflow, see docs
    print(f"{'disabled: us a patched call':60} {added['disabled'] * 1e6 / calls:6.2f}   (reach 2)")


if __name__ == "__main__":
    main()
