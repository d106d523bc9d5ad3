"""Runs orders with several providers and writes all that is exported as OTLP; clocks and ids are always the same.

``python -m tests.sdk.program light`` or ``... ordinary``, then the names of arms, else all: both write the same.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

_NOW: Final = 1_700_000_000 * 10**9


def stop_the_clocks() -> None:
    """Before anything is imported that takes the functions by their names."""
    changed: Any = time
    changed.time_ns = lambda: _NOW
    changed.time = lambda: _NOW / 1e9
    changed.perf_counter_ns = lambda: 10**9
    changed.perf_counter = lambda: 1.0
    numbers = random.Random(1)
    changed_ids: Any = uuid
    changed_ids.uuid4 = lambda: uuid.UUID(int=numbers.getrandbits(128), version=4)


def arms() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, arguments of the TracerProvider, options."""
    from opentelemetry.sdk.trace import SpanLimits
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

    yield "default", {}, {}
    yield "always on, messaging metrics", {"sampler": ALWAYS_ON}, {"messaging_metrics": True}
    yield "late sampling", {"sampler": ALWAYS_OFF}, {"keep_errors": True}
    yield "coarse", {}, {"detailed_timing": False}
    yield "limits", {"span_limits": SpanLimits(max_span_attributes=4, max_attribute_length=12, max_events=1)}, {}
    yield "hooks", {}, {"publish_hook": mark, "process_hook": mark, "workflow_hook": mark, "step_hook": mark}


def mark(span: Any, *_args: Any) -> None:
    """Do to a span what a user's hook may do."""
    span.set_attribute("by.hook", ["a", "b"])
    span.set_attributes({"by.hook.plain": 1})
    span.add_event("by hook", {"key": "value"}, _NOW)


class Counting:
    """An id generator whose ids are in order."""

    def __init__(self) -> None:
        numbers = count(1)
        self.generate_span_id: Callable[[], int] = lambda: next(numbers)
        self.generate_trace_id: Callable[[], int] = lambda: next(numbers) << 64
        self.is_trace_id_random: Callable[[], bool] = lambda: True


async def run_orders() -> None:
    from tests.support.sagas import order_payload, order_system

    async with order_system(monitors=False) as system:
        for payload in (order_payload(), order_payload(fail_at="charge_payment", message="declined"), order_payload()):
            transaction = await system.run(payload)
            await system.wait_ended(transaction)
            await system.bus.drain()


def export(tracer_arguments: dict[str, Any], options: dict[str, Any]) -> dict[str, str]:
    """Run orders with providers of their own, and give what they export, as hexadecimal OTLP."""
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.metrics.view import DropAggregation, View
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from multiagents_otel import MultiAgentsInstrumentor

    resource, ids = Resource({"service.name": "shop"}), Counting()
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False, **tracer_arguments)  # type: ignore[arg-type]
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    of_the_machine = [
        View(instrument_name=name, aggregation=DropAggregation())
        for name in ("multiagents.system.*", "multiagents.event_loop.lag")
    ]
    meters = MeterProvider([reader], resource, views=of_the_machine, shutdown_on_exit=False)
    instrumentor = MultiAgentsInstrumentor()
    instrumentor.instrument(tracer_provider=tracers, meter_provider=meters, skip_dep_check=True, **options)
    try:
        asyncio.run(run_orders())
    finally:
        instrumentor.uninstrument()
    data = reader.get_metrics_data()
    assert data is not None
    return {
        "spans": encode_spans(exporter.get_finished_spans()).SerializeToString(deterministic=True).hex(),
        "metrics": encode_metrics(data).SerializeToString(deterministic=True).hex(),
    }


def main() -> None:
    """Write the exports of all arms, the log lines, and whether light spans and bulk histograms were used."""
    stop_the_clocks()
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(f"{record.name}: {record.getMessage()}")  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    from opentelemetry.sdk.trace import TracerProvider

    from multiagents_otel.telemetry import keeping, starting
    from multiagents_otel.telemetry.bulk_histogram import BulkHistograms
    from multiagents_otel.telemetry.light_span import light_spans

    changed: Any = keeping
    changed.utc_ns = lambda _moment: _NOW  # a saga has its times from a clock that can't be stopped
    light = light_spans(TracerProvider(shutdown_on_exit=False).get_tracer("any")) is not None
    if sys.argv[1] == "ordinary":
        changed = BulkHistograms
        changed.series = lambda *_arguments: None
        changed = starting
        changed.light_spans = lambda _tracer: None
    chosen = sys.argv[2:]
    exports = {
        name: export(tracer_arguments, options)
        for name, tracer_arguments, options in arms()
        if not chosen or name in chosen
    }
    print(json.dumps({"exports": exports, "lines": lines, "light": light}))


if __name__ == "__main__":
    main()
