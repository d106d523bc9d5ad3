"""What an application emits, kept in memory, and the ways in which the contract's tests look at it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as log_export
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from multiagents_otel import MultiAgentsInstrumentor
from tests.support import trees
from tests.support.otlp import Attributes, ReceivedSpan

Series = frozenset[tuple[str, Any]]

QUEUE_TIME: Final = "multiagents.event.queue_time"
RECEIVERS: Final = "multiagents.event.receivers"
MACHINE_METRICS: Final = {"multiagents.system.cpu", "multiagents.system.memory", "multiagents.event_loop.lag"}
"""Figures of the machine at that moment: two runs of one program differ in them."""

# Renamed in the SDK when log records became read-only.
_LogExporter: Any = getattr(log_export, "InMemoryLogRecordExporter", None) or getattr(
    log_export, "InMemoryLogExporter", None
)


def series(**attributes: Any) -> Series:
    """An attribute set of a metric; ``__`` in a keyword stands for a dot."""
    return frozenset((key.replace("__", "."), value) for key, value in attributes.items())


@dataclass
class Observed:
    """Providers that keep what they are given; ``instrument`` hands them to the instrumentor."""

    sampler: Sampler | None = None
    exported: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    log_exporter: Any = field(default_factory=_LogExporter)

    def __post_init__(self) -> None:
        resource = Resource({"service.name": "shop", "service.instance.id": "one"})
        self.tracers = TracerProvider(sampler=self.sampler, resource=resource)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exported))
        self.meters = MeterProvider([self.reader], resource=resource, exemplar_filter=AlwaysOnExemplarFilter())
        self.loggers = LoggerProvider(resource=resource)
        self.loggers.add_log_record_processor(log_export.SimpleLogRecordProcessor(self.log_exporter))

    def instrument(self, **options: Any) -> Observed:
        """Turn the instrumentation on with these providers; what ``options`` says wins."""
        given = {"tracer_provider": self.tracers, "meter_provider": self.meters, "logger_provider": self.loggers}
        MultiAgentsInstrumentor().instrument(skip_dep_check=True, **(given | options))
        return self

    def close(self) -> None:
        self.tracers.shutdown()
        self.meters.shutdown()
        self.loggers.shutdown()

    # --- spans ---------------------------------------------------------------------------------

    @property
    def spans(self) -> list[ReadableSpan]:
        """All spans of our scope, in the order of their ends."""
        return [
            span
            for span in self.exported.get_finished_spans()
            if span.instrumentation_scope is not None and span.instrumentation_scope.name == "multiagents_otel"
        ]

    @property
    def tree(self) -> str:
        """The one trace there is, spans of the application's own included."""
        return trees.tree(self.exported.get_finished_spans())

    @property
    def forest(self) -> str:
        return trees.forest(self.exported.get_finished_spans())

    def named(self, name: str) -> list[ReceivedSpan]:
        return [trees.received(span) for span in self.spans if span.name == name]

    def one(self, name: str) -> ReceivedSpan:
        (span,) = self.named(name)
        return span

    @property
    def exceptions(self) -> list[tuple[str, str]]:
        """Every exception event: the span it is on, and its type."""
        return [
            (span.name, str((event.attributes or {})["exception.type"]))
            for span in self.exported.get_finished_spans()
            for event in span.events
            if event.name == "exception"
        ]

    def statuses(self) -> dict[str, str]:
        """Every span that is not UNSET: its ``error.type`` and its status' description."""
        return {
            span.name: f"{span.attributes.get('error.type')}: {span.status_description}"
            for span in map(trees.received, self.spans)
            if span.status != "UNSET"
        }

    def root(self) -> ReceivedSpan:
        """The one root that there must be."""
        (root,) = trees.roots(self.exported.get_finished_spans())
        assert not trees.orphans(self.exported.get_finished_spans())
        return root

    # --- metrics -------------------------------------------------------------------------------

    def metrics(self) -> dict[str, Any]:
        """Every metric of our scope by its name, as the SDK has collected it now."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            if scope.scope.name == "multiagents_otel"
            for metric in scope.metrics
        }

    def sums(self, name: str, *, zeros: bool = False) -> dict[Series, Any]:
        """A counter's or gauge's values by attribute set, those at 0 only if asked for."""
        return values_of(self.metrics().get(name), zeros=zeros)

    def counts(self, name: str) -> dict[Series, int]:
        """How often a histogram was recorded, by attribute set."""
        metric = self.metrics().get(name)
        return {frozenset(p.attributes.items()): p.count for p in metric.data.data_points} if metric else {}

    # --- logs ----------------------------------------------------------------------------------

    @property
    def logs(self) -> list[tuple[str, str, dict[str, Any], str, str]]:
        """Log events: name, severity, attributes, trace id and span id."""
        told = []
        for data in self.log_exporter.get_finished_logs():
            record = data.log_record
            ids = (f"{record.trace_id or 0:032x}", f"{record.span_id or 0:016x}")
            told.append((record.event_name, record.severity_text, dict(record.attributes), *ids))
        return told


def values_of(metric: Any, *, zeros: bool = False) -> dict[Series, Any]:
    """The values of a metric's points by attribute set."""
    if metric is None:
        return {}
    return {frozenset(p.attributes.items()): p.value for p in metric.data.data_points if p.value or zeros}


def whole(spans: Iterable[trees.AnySpan], drop: Collection[str] = ()) -> list[dict[str, Any]]:
    """Each span with all that it says, ids normalised, in the order of their starts.

    A queue time is a measurement: it is checked to be one, and stands as ``QUEUED``.
    """
    normal = trees.normalise(spans)
    names = {span.span_id: span.name for span in normal}
    return [
        {
            "name": span.name,
            "kind": span.kind,
            "parent": names.get(span.parent_id, span.parent_id),
            "status": span.status,
            "description": span.status_description,
            "events": [event.name for event in span.events],
            "links": [link.span_id for link in span.links],
            "attributes": _measured(trees.attributes_of(span, drop)),
        }
        for span in normal
    ]


def _measured(attributes: Attributes) -> dict[str, Any]:
    shown = dict(attributes)
    if QUEUE_TIME in shown:
        queued = shown[QUEUE_TIME]
        assert isinstance(queued, float)
        assert 0 <= queued < 60
        shown[QUEUE_TIME] = "QUEUED"
    return shown


def span(
    name: str, kind: str, parent: str, attributes: Mapping[str, Any], status: str = "UNSET", **more: Any
) -> dict[str, Any]:
    """What ``whole`` says of a span."""
    said = {"name": name, "kind": kind, "parent": parent, "status": status, "description": "", "events": []}
    return {**said, "links": [], "attributes": dict(attributes), **more}


def tally(pairs: Iterable[Any]) -> dict[Any, int]:
    """How often each thing occurs."""
    return dict(Counter(pairs))
