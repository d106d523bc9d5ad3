"""The framework's structlog records: ids in what is rendered, and each record once in OpenTelemetry's pipeline.

Nothing of structlog's or ``logging``'s configuration is changed. A logger's chain of processors gets two more,
which see what the user's own chain makes of a record: what it drops is not exported, what it scrubs is scrubbed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any, Final

from opentelemetry import trace

from multiagents_otel import semconv
from multiagents_otel.core import scope
from multiagents_otel.logs.otel import OtelLogger
from multiagents_otel.logs.record import LEVELS, Record
from multiagents_otel.logs.rendering import SPAN_ID, TRACE_ID

_PAYLOADS: Final = ("context", "data", "event_data", "item", "payload", "result")
"""The keys under which the framework logs whole payloads, prompts and results: they stay in the process."""

_NOT_FIELDS: Final = (
    *("event", "level", "timestamp", "logger", "logger_name", "exc_info", "exception", "stack", "stack_info"),
    *(TRACE_ID, SPAN_ID, semconv.TRANSACTION_ID, "_record", "_from_structlog", "_logger", "_name"),
)
_STRUCTLOG_INSTRUMENTATION: Final = "opentelemetry.instrumentation.structlog"


def structlog_processor(logger: Any, method_name: str, event_dict: Any) -> Any:
    """A structlog processor: adds ``trace_id``, ``span_id`` and ``workflow.transaction_id``, where there are any.

    For ``structlog.configure(processors=[..., structlog_processor, renderer])``, so that the lines of an
    application's own loggers carry them too. Keys that are there already stay.
    """
    if isinstance(event_dict, MutableMapping):
        span = trace.get_current_span(scope.context()).get_span_context()
        if span.is_valid:
            event_dict.setdefault(TRACE_ID, trace.format_trace_id(span.trace_id))
            event_dict.setdefault(SPAN_ID, trace.format_span_id(span.span_id))
        transaction = scope.transaction_id() or event_dict.get("transaction_id")
        if isinstance(transaction, str):
            event_dict.setdefault(semconv.TRANSACTION_ID, transaction)
    return event_dict


class Chain:
    """A logger's processors, with ours around all but the last, which renders.

    It is a view of the user's own sequence: where that is changed (``structlog.testing.capture_logs`` does), this
    one changes too.
    """

    __slots__ = ("_exporter", "processors")

    def __init__(self, processors: Iterable[Any], exporter: Exporter) -> None:
        self.processors = processors
        self._exporter = exporter

    def __iter__(self) -> Iterator[Any]:
        if not self._exporter.on:
            return iter(self.processors)
        processors = list(self.processors)
        return iter([self._add_ids, *processors[:-1], self._export, *processors[-1:]])

    def __reduce__(self) -> Any:
        """A logger that is copied or pickled takes along what it would have without us."""
        return list, (list(self.processors),)

    def _add_ids(self, logger: Any, method_name: str, event_dict: Any) -> Any:
        try:
            structlog_processor(logger, method_name, event_dict)
        except Exception:
            self._exporter.caught()
        return event_dict

    def _export(self, logger: Any, method_name: str, event_dict: Any) -> Any:
        try:
            self._exporter.export(self.processors, logger, method_name, event_dict)
        except Exception:
            self._exporter.caught()
        return event_dict


class Exporter:
    """Exports records that nothing behind them exports.

    Args:
        name: of the instrumentation scope.
        caught: called where a fault of ours is being handled.
        logger_provider: used instead of the global one.
        exports: False adds the ids only.

    Attributes:
        on: False makes every chain what it was.
    """

    def __init__(
        self,
        name: str,
        caught: Callable[[], None],
        logger_provider: Any = None,
        *,
        exports: bool = True,
    ) -> None:
        self.on = True
        self.caught = caught
        self._otel = OtelLogger(logger_provider=logger_provider, name=name)
        self._exports = exports
        self._chain: Chain | None = None  # the last one: a configuration has one sequence for all of its loggers

    def chain(self, bound: Any) -> bool:
        """Put :class:`Chain` around a bound logger's processors, and those of what is bound from it; False if not."""
        processors = getattr(bound, "_processors", None)
        if processors is None or isinstance(processors, Chain):
            return False
        chain = self._chain
        if chain is None or chain.processors is not processors:
            chain = self._chain = Chain(processors, self)
        bound._processors = chain
        return True

    def export(self, processors: Iterable[Any], logger: Any, method_name: str, event: Any) -> None:
        """Emit a record, unless its level is off or somebody behind will emit it."""
        level = LEVELS.get(method_name.upper(), logging.ERROR if method_name == "exception" else logging.INFO)
        if not self._exports or _exported(processors, logger, level):
            return
        if not isinstance(event, MutableMapping):
            self._otel.emit(Record(level, (event,), {}))
            return
        message = event.get("event", event.get("message", event.get("msg", "")))
        fields = {key: value for key, value in event.items() if key not in _NOT_FIELDS and key not in _PAYLOADS}
        for key in ("message", "msg"):
            if fields.get(key) is message or isinstance(fields.get(key), MutableMapping):
                fields.pop(key, None)  # the text under another name; a raw message of Redis'
        if isinstance(exception := event.get("exception"), str):
            fields.setdefault("error", exception)
        self._otel.emit(Record(level, (message,), fields))


def _exported(processors: Iterable[Any], logger: Any, level: int) -> bool:
    """Whether a record will reach OpenTelemetry's pipeline without us, or nowhere at all."""
    if any(type(processor).__module__.startswith(_STRUCTLOG_INSTRUMENTATION) for processor in processors):
        return True
    if not isinstance(logger, logging.Logger):
        return False
    if not logger.isEnabledFor(level):
        return True
    ancestor: logging.Logger | None = logger
    while ancestor is not None:
        for handler in ancestor.handlers:
            # The SDK's, or the logging instrumentation's.
            if handler.level <= level and any(
                cls.__name__ == "LoggingHandler" and cls.__module__.startswith("opentelemetry.")
                for cls in type(handler).__mro__
            ):
                return True
        ancestor = ancestor.parent if ancestor.propagate else None
    return False
