"""Exporters that scrub what they are given, on the thread that exports: nothing of it is paid by the application.

A span processor could not do it: when a span ends its attributes can't be changed any more, and a View that drops an
attribute still lets it out with the exemplars.
"""

from __future__ import annotations

import copy
import logging
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, Status

from multiagents_otel import semconv
from multiagents_otel.core.exporting import EXPORTING
from multiagents_otel.processing.redaction import MAX_ATTRIBUTE, Redactor, has_mark, in_force, scrub

_MAX_PLACES: Final = 32

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter
else:  # what these bases define would stand before the exporter's own
    LogRecordExporter = MetricExporter = SpanExporter = object


class _RedactingExporter:
    """Everything but ``export`` is the exporter's own.

    Attributes:
        waiting: whether the exporter is at work, which is to say: waits for its backend.
        failures: how many exports have failed.
    """

    def __init__(self, exporter: Any, redactor: Redactor | None = None) -> None:
        self._exporter = exporter
        self._redactor = redactor
        self.waiting = False
        self.failures = 0

    def export(self, batch: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Export as the exporter does, without the secrets."""
        with EXPORTING:
            return self._export(batch, *args, **kwargs)

    def _export(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        redactor = self._redactor or in_force()
        if redactor.enabled:
            batch = self.redacted(redactor, batch)
        self.waiting, failed = True, True
        try:
            result = self._exporter.export(batch, *args, **kwargs)
            failed = getattr(result, "name", "") == "FAILURE"
            return result
        finally:
            self.waiting = False
            self.failures += failed

    @staticmethod
    def redacted(redactor: Redactor, batch: Any) -> Any:
        """What is exported in the place of what was given."""
        raise NotImplementedError

    if TYPE_CHECKING:

        def shutdown(self, *args: Any, **kwargs: Any) -> None: ...

        def force_flush(self, *args: Any, **kwargs: Any) -> bool: ...

    def __getattr__(self, name: str) -> Any:
        if name == "_exporter":  # while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self._exporter, name)


class RedactingSpanExporter(_RedactingExporter, SpanExporter):  # type: ignore[misc]
    """Scrubs spans on their way to an exporter, whoever made them: ``RedactingSpanExporter(OTLPSpanExporter())``.

    Scrubbed are names, attributes, events (exception messages and stack traces are attributes of theirs), links'
    attributes and status descriptions. ``multiagents.redacted`` says where a secret was. A span that can't be
    scrubbed is exported without all of these.

    Args:
        exporter: a SpanExporter.
        redactor: that of the options by default.
    """

    @staticmethod
    def redacted(redactor: Redactor, batch: Any) -> Any:
        return [_each(redactor, span, _span, _bare_span) for span in batch]


class RedactingLogExporter(_RedactingExporter, LogRecordExporter):  # type: ignore[misc]
    """Scrubs bodies and attributes of log records on their way to an exporter, whoever wrote them.

    ``multiagents.redacted`` says where a secret was. A record that can't be scrubbed is exported without both.

    Args:
        exporter: a LogRecordExporter.
        redactor: that of the options by default.
    """

    @staticmethod
    def redacted(redactor: Redactor, batch: Any) -> Any:
        return [_each(redactor, record, _log, _bare_log) for record in batch]


class RedactingMetricExporter(_RedactingExporter, MetricExporter):  # type: ignore[misc]
    """Scrubs the attributes of data points and their exemplars on their way to an exporter.

    Args:
        exporter: a MetricExporter.
        redactor: that of the options by default.
    """

    @staticmethod
    def redacted(redactor: Redactor, batch: Any) -> Any:
        return _each(redactor, batch, _metrics, lambda data: replace(data, resource_metrics=()))


def _each(
    redactor: Redactor, item: Any, redacted: Callable[[Redactor, Any], Any], without: Callable[[Any], Any]
) -> Any:
    try:
        return redacted(redactor, item)
    except Exception:
        redactor.guard.caught("redaction")
        return without(item)


# --- spans ----------------------------------------------------------------------------------------


class _RedactedSpan(ReadableSpan):
    """A span in another's place."""

    def __init__(self, span: ReadableSpan, name: str, status: Status, **parts: Any) -> None:
        super().__init__(
            name,
            span.context,
            span.parent,
            span.resource,
            kind=span.kind,
            status=status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
            **parts,
        )
        self._given = span

    dropped_attributes = property(lambda self: self._given.dropped_attributes)
    dropped_events = property(lambda self: self._given.dropped_events)
    dropped_links = property(lambda self: self._given.dropped_links)


def _span(redactor: Redactor, span: ReadableSpan) -> ReadableSpan:
    """The span, or one in its place where scrubbing changes something."""
    note: list[str] = []  # where a secret was
    scope = span.instrumentation_scope
    own = scope is not None and scope.name == semconv.SCOPE_NAME  # the names of our spans are names
    name = span.name if own else _text(redactor, "name", span.name, note)
    description = span.status.description
    if description:
        description = _text(redactor, "status", description, note)
    attributes = span.attributes or {}
    changed = redactor.attributes(attributes, note)
    if own and not (changed or description or note or span.events or span.links):
        return span  # what nearly every span of ours is
    events = [_event(redactor, event, note) for event in span.events]
    links = [_link(redactor, link, note) for link in span.links]
    same = not (changed or note) and name == span.name and description == span.status.description
    if same and _same(events, span.events) and _same(links, span.links):
        return span
    return _RedactedSpan(
        span,
        name,
        span.status if description == span.status.description else Status(span.status.status_code, description),
        attributes={**(attributes if changed is None else changed), **_noted(note)},
        events=events,
        links=links,
    )


def _event(redactor: Redactor, event: Event, note: list[str]) -> Event:
    name = _text(redactor, "events.name", event.name, note)
    changed = redactor.attributes(event.attributes, note, f"events.{name}.")
    if changed is None and name == event.name:
        return event
    return Event(name, _like(event.attributes, changed), event.timestamp)


def _link(redactor: Redactor, link: Link, note: list[str]) -> Link:
    changed = redactor.attributes(link.attributes, note, "links.")
    return link if changed is None else Link(link.context, _like(link.attributes, changed))


def _bare_span(span: ReadableSpan) -> ReadableSpan:
    return _RedactedSpan(span, "", Status(span.status.status_code))


def _text(redactor: Redactor, place: str, text: str, note: list[str]) -> str:
    scrubbed = redactor.text_at(place, text, MAX_ATTRIBUTE)
    if has_mark(scrubbed):
        note.append(place)
    return scrubbed


def _noted(note: list[str]) -> dict[str, Any]:
    return {semconv.REDACTED_PLACES: tuple(dict.fromkeys(map(scrub, note)))[:_MAX_PLACES]} if note else {}


def _like(attributes: Any, changed: dict[str, Any] | None) -> Any:
    """Changed attributes in the place of the given ones; they still tell how many were dropped."""
    if changed is None:
        return attributes
    if isinstance(attributes, BoundedAttributes) and hasattr(attributes, "_dict"):
        bounded = copy.copy(attributes)
        bounded._dict = changed
        return bounded
    return changed


# --- logs -----------------------------------------------------------------------------------------


def _log(redactor: Redactor, item: Any) -> Any:
    """A readable log record (before SDK 1.39: log data), or one in its place."""
    record, note = item.log_record, list[str]()
    body = redactor.value(record.body, None, MAX_ATTRIBUTE)
    if has_mark(body):
        note.append("body")
    changed = redactor.attributes(record.attributes, note)
    if body == record.body and changed is None and not note:
        return item
    attributes = {**((record.attributes or {}) if changed is None else changed), **_noted(note)}
    return _with_record(item, body, _like(record.attributes, attributes))


def _bare_log(item: Any) -> Any:
    return _with_record(item, None, {})


def _with_record(item: Any, body: Any, attributes: Any) -> Any:
    record = copy.copy(item.log_record)
    record.body, record.attributes = body, attributes
    item = copy.copy(item)
    object.__setattr__(item, "log_record", record)  # it is a frozen dataclass
    return item


# --- metrics --------------------------------------------------------------------------------------


def _metrics(redactor: Redactor, data: Any) -> Any:
    return _replaced(
        data,
        "resource_metrics",
        lambda resource: _replaced(
            resource, "scope_metrics", lambda scope: _replaced(scope, "metrics", lambda each: _metric(redactor, each))
        ),
    )


def _metric(redactor: Redactor, metric: Any) -> Any:
    points = _replaced(metric.data, "data_points", lambda point: _point(redactor, point))
    return metric if points is metric.data else replace(metric, data=points)


def _point(redactor: Redactor, point: Any) -> Any:
    point = _replaced(point, "exemplars", lambda exemplar: _measured(redactor, exemplar, "filtered_attributes"))
    return _measured(redactor, point, "attributes")


def _measured(redactor: Redactor, item: Any, field: str) -> Any:
    attributes = getattr(item, field)
    changed = redactor.attributes(attributes, [])
    return item if changed is None else replace(item, **{field: changed})


def _replaced(item: Any, field: str, each: Callable[[Any], Any]) -> Any:
    """A dataclass with the things in one of its fields replaced; itself if none is."""
    before: Sequence[Any] = getattr(item, field)
    after = [each(inside) for inside in before]
    return item if _same(after, before) else replace(item, **{field: after})


def _same(after: Iterable[Any], before: Iterable[Any]) -> bool:
    return all(map(operator.is_, after, before))


def redact_reader(reader: Any) -> None:
    """Have what a reader collects scrubbed that has no exporter: Prometheus' is read from outside."""
    receive = getattr(reader, "_receive_metrics", None)
    if receive is None:
        return

    def scrubbed(data: Any, *args: Any, **kwargs: Any) -> None:
        receive(RedactingMetricExporter.redacted(in_force(), data), *args, **kwargs)

    reader._receive_metrics = scrubbed


# --- providers that are there already -------------------------------------------------------------


def exporter_holders(provider: Any) -> Iterator[tuple[str, Any]]:
    """Give what holds an exporter in one of the SDK's providers, and its signal."""
    spans = getattr(getattr(provider, "_active_span_processor", None), "_span_processors", ())
    logs = getattr(getattr(provider, "_multi_log_record_processor", None), "_log_record_processors", ())
    readers = getattr(getattr(provider, "_measurement_consumer", None), "_reader_storages", ())
    for signal, holders in (("traces", spans), ("logs", logs), ("metrics", readers)):
        for holder in holders:
            yield signal, getattr(holder, "_batch_processor", holder)


def redact_exporters(provider: Any) -> None:
    """Have the exporters of an SDK's provider scrubbed that was built by somebody else (``OTEL_CONFIG_FILE``)."""
    scrub_exporter_logs()
    kinds = {"traces": RedactingSpanExporter, "logs": RedactingLogExporter, "metrics": RedactingMetricExporter}
    for signal, holder in exporter_holders(provider):
        for name in ("_exporter", "span_exporter"):
            exporter = vars(holder).get(name)
            if exporter is not None and not isinstance(exporter, _RedactingExporter):
                setattr(holder, name, kinds[signal](exporter))


# --- the exporters' own log records ---------------------------------------------------------------


class _Scrub(logging.Filter):
    """Scrubs a log record before any handler gets it: an exporter may log the URL of a request that failed."""

    _formatter: Final = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the record's texts where they hold a secret."""
        try:
            message = record.getMessage()
            if (scrubbed := scrub(message)) != message:
                record.msg, record.args = scrubbed, ()
            if record.exc_info:
                trace = self._formatter.formatException(record.exc_info)
                if (scrubbed := scrub(trace)) != trace:
                    record.exc_info, record.exc_text = None, scrubbed
        except Exception:
            record.msg, record.args, record.exc_info = "an export failed, and its report can't be scrubbed", (), None
        return True


_SCRUB: Final = _Scrub()


def scrub_exporter_logs() -> None:
    """Scrub what OpenTelemetry's exporters log from now on; a logger passes its filters on to no other logger."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.startswith("opentelemetry.exporter.") and isinstance(logger, logging.Logger):
            logger.addFilter(_SCRUB)
