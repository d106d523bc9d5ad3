"""What a workflow's log records are found by, on every one that is made inside a workflow, whoever makes it."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.sdk._logs import LogRecordProcessor

from multiagents_otel import semconv
from multiagents_otel.core import scope
from multiagents_otel.telemetry.observers import OBSERVERS
from multiagents_otel.telemetry.providers import attribute


class WorkflowIds(LogRecordProcessor):
    """Adds ``workflow.transaction_id``, trace and span where a record has none.

    Records that come through ``logging`` or structlog's own instrumentation, and the application's own.
    """

    def on_emit(self, log_record: Any) -> None:
        """Add what is missing."""
        try:
            record = log_record.log_record
            if not record.trace_id:
                span = trace.get_current_span(scope.context()).get_span_context()
                record.trace_id, record.span_id, record.trace_flags = span.trace_id, span.span_id, span.trace_flags
            attributes = record.attributes
            if (transaction := scope.transaction_id()) is not None and semconv.TRANSACTION_ID not in (attributes or ()):
                if attributes is None:
                    record.attributes = {semconv.TRANSACTION_ID: transaction}
                else:
                    attributes[semconv.TRANSACTION_ID] = transaction
        except Exception:
            OBSERVERS.guard.caught("log")

    def shutdown(self) -> None:
        """Nothing to do."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing to do."""
        return True


def add_first(provider: Any) -> None:
    """Have a provider's records pass through a :class:`WorkflowIds`, before whatever exports them."""
    several = attribute(provider, "_multi_log_record_processor")
    add = attribute(provider, "add_log_record_processor")
    if several is None or add is None or any(isinstance(each, WorkflowIds) for each in _processors(several)):
        return
    add(WorkflowIds())
    added = _processors(several)
    if added and isinstance(added[-1], WorkflowIds):  # the SDK has no way to add one in front
        several._log_record_processors = (added[-1], *added[:-1])


def _processors(several: Any) -> tuple[Any, ...]:
    return tuple(getattr(several, "_log_record_processors", ()))
