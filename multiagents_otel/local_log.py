"""Warnings about the telemetry pipeline, which the pipeline itself can't carry."""

from __future__ import annotations

import logging
from collections.abc import Iterator


def warn_locally(logger: logging.Logger, message: str, *args: object) -> None:
    """Log a warning with every handler but OpenTelemetry's own, or on standard error where there is no other.

    OpenTelemetry's handler would put the warning into the pipeline that has failed or ended, and its presence keeps
    ``logging.lastResort`` from being used: the user would never see the warning.
    """
    if not logger.isEnabledFor(logging.WARNING):
        return
    record = logger.makeRecord(logger.name, logging.WARNING, __file__, 0, message, args, None)
    if not logger.filter(record):
        return
    handlers: list[logging.Handler | None] = [*_local_handlers(logger)]
    for handler in handlers or [logging.lastResort]:
        if handler is not None and record.levelno >= handler.level:
            handler.handle(record)


def _local_handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    current: logging.Logger | None = logger
    while current is not None:
        yield from (each for each in current.handlers if not type(each).__module__.startswith("opentelemetry."))
        current = current.parent if current.propagate else None
