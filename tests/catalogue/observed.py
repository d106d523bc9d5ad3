"""What a run looked like from outside: its spans, metrics and log events, each run with providers of its own."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from multiagents_otel import MultiAgentsInstrumentor

try:
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
except ImportError:  # the oldest SDK that is allowed
    from opentelemetry.sdk._logs.export import (  # type: ignore[attr-defined,no-redef,unused-ignore]
        InMemoryLogExporter as InMemoryLogRecordExporter,
    )


class Observed:
    """Providers that keep everything in memory, and readers for it."""

    def __init__(self, **tracing: Any) -> None:
        self.span_exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False, **tracing)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.span_exporter))
        self.metric_reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.metric_reader], shutdown_on_exit=False)
        self.log_exporter: Any = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call,unused-ignore]
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self.log_exporter))

    @property
    def tracer(self) -> Any:
        """A tracer for the application's own spans."""
        return self.tracer_provider.get_tracer("app")

    @property
    def spans(self) -> list[ReadableSpan]:
        """All finished spans, the application's own among them."""
        return list(self.span_exporter.get_finished_spans())

    @property
    def ours(self) -> list[ReadableSpan]:
        """The finished spans of our scope."""
        return [
            span
            for span in self.spans
            if span.instrumentation_scope is not None and span.instrumentation_scope.name == "multiagents_otel"
        ]

    def span(self, name: str) -> ReadableSpan:
        """The one finished span of a name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def metric(self, name: str) -> dict[tuple[str, ...], Any]:
        """Values by label values in the labels' order; a histogram's value is its count."""
        data = self.metric_reader.get_metrics_data()
        values: dict[tuple[str, ...], Any] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        for point in metric.data.data_points:
                            key = tuple(str(value) for _, value in sorted((point.attributes or {}).items()))
                            values[key] = getattr(point, "value", getattr(point, "count", None))
        return values

    def clear(self) -> None:
        """Forget the spans so far."""
        self.span_exporter.clear()


@contextmanager
def instrumented(observed: Observed | None = None, /, **options: Any) -> Iterator[Observed]:
    """Instrumented inside, not afterwards."""
    observed = observed or Observed()
    instrumentor = MultiAgentsInstrumentor()
    instrumentor.instrument(
        tracer_provider=observed.tracer_provider,
        meter_provider=observed.meter_provider,
        logger_provider=observed.logger_provider,
        **options,
    )
    try:
        yield observed
    finally:
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()


@contextmanager
def records(name: str = "opentelemetry") -> Iterator[list[logging.LogRecord]]:
    """The log records of a logger and those below it (``opentelemetry.context``: failed detaches)."""
    seen: list[logging.LogRecord] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    handler, logger = Collect(), logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield seen
    finally:
        logger.removeHandler(handler)


def ambient() -> dict[Any, Any]:
    """Every context variable of the current context with its value: OpenTelemetry's context and ours."""
    return {
        var: value
        for var, value in contextvars.copy_context().items()
        if value is not None and not (var.name == "current_context" and not value)
    }
