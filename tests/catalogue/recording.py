"""Instrumented with the real SDK in memory: what rows D, E and H of the catalogue look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as log_export
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from multiagents_otel import MultiAgentsInstrumentor

Series = dict[tuple[tuple[str, Any], ...], Any]


class OpenSpans(SpanProcessor):
    """Counts what has started and not ended, by name."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self.ended: Counter[int] = Counter()

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self._open[span.name] += 1

    def on_end(self, span: ReadableSpan) -> None:
        self._open[span.name] -= 1
        context = span.get_span_context()
        assert context is not None
        self.ended[context.span_id] += 1

    @property
    def names(self) -> list[str]:
        """The names of the open spans."""
        return sorted(self._open.elements())


class Recording:
    """Everything that was recorded while instrumented."""

    def __init__(self, sampler: Sampler = ALWAYS_ON, *, keep_spans: bool = True) -> None:
        self.open = OpenSpans()
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(self.open)
        if keep_spans:
            self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader], shutdown_on_exit=False)
        # Renamed in 1.39; the older name is still there, and deprecated.
        kind = getattr(log_export, "InMemoryLogRecordExporter", None) or log_export.InMemoryLogExporter
        self.log_exporter: Any = kind()
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(log_export.SimpleLogRecordProcessor(self.log_exporter))

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """In the order of their ends."""
        return self.exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        """The one span of a name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def metrics(self) -> dict[str, Series]:
        """Every series: sums and gauges as their value, histograms as ``(count, sum)``."""
        data = self.reader.get_metrics_data()
        found: dict[str, Series] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        value = getattr(point, "value", None)
                        if value is None:
                            value = (getattr(point, "count", None), getattr(point, "sum", None))
                        found.setdefault(metric.name, {})[tuple(sorted((point.attributes or {}).items()))] = value
        return found

    def counts(self, name: str) -> Series:
        """The series of a counter or gauge that are not 0."""
        return {key: value for key, value in self.metrics().get(name, {}).items() if value}


@contextmanager
def recording(sampler: Sampler = ALWAYS_ON, *, keep_spans: bool = True, **options: Any) -> Iterator[Recording]:
    """Instrument with the real SDK, and uninstrument at the end."""
    record = Recording(sampler, keep_spans=keep_spans)
    instrumentor = MultiAgentsInstrumentor()
    instrumentor.instrument(
        tracer_provider=record.tracer_provider,
        meter_provider=record.meter_provider,
        logger_provider=record.logger_provider,
        **options,
    )
    try:
        yield record
    finally:
        instrumentor.uninstrument()
        record.tracer_provider.shutdown()
        record.meter_provider.shutdown()
        record.logger_provider.shutdown()
