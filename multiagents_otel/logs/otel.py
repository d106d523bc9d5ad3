"""Log records through OpenTelemetry's logs pipeline."""

from __future__ import annotations

import logging
from typing import Any, Final

from opentelemetry._logs import Logger as ApiLogger
from opentelemetry._logs import (
    LoggerProvider,
    NoOpLogger,
    SeverityNumber,
    get_logger_provider,
)

from multiagents_otel import semconv
from multiagents_otel.core.scope import EMITTING
from multiagents_otel.logs.logger import Logger
from multiagents_otel.logs.record import Record
from multiagents_otel.logs.rendering import as_json, scrubbed_text
from multiagents_otel.telemetry.providers import is_set
from multiagents_otel.version import __version__

_SEVERITIES: Final = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}


class OtelLogger(Logger):
    """Emits each record as an OpenTelemetry log record, in the trace and span of the call.

    The body is the message; attributes are the call's context (what is nested as JSON),
    ``workflow.transaction_id``, the ``exception.*`` of an error and, if asked for, the ``code.*`` of the caller;
    all of it scrubbed. Without a logger provider nothing is done.
    """

    def __init__(
        self,
        min_level: object = "DEBUG",
        *,
        logger_provider: LoggerProvider | None = None,
        level: object = None,
        include_caller_info: bool = False,
        name: str = semconv.SCOPE_NAME,
    ) -> None:
        """Make a logger.

        Args:
            min_level: the least level that is emitted.
            logger_provider: used instead of the global one.
            level: the guide's word for ``min_level``.
            include_caller_info: tell file, line and function of the call.
            name: of the instrumentation scope.

        Raises:
            ValueError: there is no such level.
        """
        super().__init__(min_level if level is None else level, include_caller_info=include_caller_info)
        self._name = name
        self._provider = logger_provider
        self._logger: ApiLogger | None = None

    def emit(self, record: Record) -> None:
        """Emit a record."""
        logger = self._logger or self._find()
        if logger is None or EMITTING.get():
            return
        token = EMITTING.set(True)  # a log processor may log through this very logger
        try:
            severity = _SEVERITIES[record.level]
            logger.emit(
                timestamp=record.time_ns,
                context=record.context,
                severity_number=severity,
                severity_text=severity.name,
                body=scrubbed_text(record).message,
                attributes=_attributes(record),
            )
        finally:
            EMITTING.reset(token)

    def _find(self) -> ApiLogger | None:
        """The provider's logger, once there is a provider."""
        provider = self._provider if self._provider is not None else get_logger_provider()
        if not is_set(provider):
            return None
        logger = provider.get_logger(self._name, __version__, semconv.SCHEMA_URL)
        if isinstance(logger, NoOpLogger):
            return None
        self._logger = logger
        return logger


def _attributes(record: Record) -> dict[str, Any]:
    _, fields, error = scrubbed_text(record)
    attributes = {key: _attribute(value) for key, value in fields.items() if value is not None}
    if record.transaction_id is not None:
        attributes[semconv.TRANSACTION_ID] = record.transaction_id
    if error:
        attributes[semconv.EXCEPTION_MESSAGE] = error["message"]
        if "type" in error:
            attributes[semconv.EXCEPTION_TYPE] = error["type"]
        if "traceback" in error:
            attributes[semconv.EXCEPTION_STACKTRACE] = error["traceback"]
    if (caller := record.caller) is not None:
        attributes[semconv.CODE_FILE] = caller.file
        attributes[semconv.CODE_LINE] = caller.line
        attributes[semconv.CODE_FUNCTION] = caller.function
    return attributes


def _attribute(value: Any) -> Any:
    """A list of values of one kind, or JSON: the oldest SDK knows no maps, and not every backend does."""
    if isinstance(value, dict) or (isinstance(value, list) and len({type(item) for item in value}) > 1):
        return as_json(value)
    if isinstance(value, list) and value and not isinstance(value[0], (str, bool, int, float)):
        return as_json(value)
    return value
