"""What all loggers are: the framework's ``ILogger`` and the guide's, in one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any

from multiagents_otel.framework_interfaces import serve
from multiagents_otel.logs.record import NAMES, Record, level_of


class Logger:
    """A logger of the framework's kind. Its methods never raise and never wait for anything.

    A call is ``await logger.info("message", key=value, ...)``; ``error`` may be an exception, a text or None.

    Attributes:
        dropped: records that it has lost.
    """

    def __init__(self, level: object = logging.INFO, *, include_caller_info: bool = False) -> None:
        """Make a logger.

        Args:
            level: the least level that it takes: a word in any case, the framework's enum or a number of
                ``logging``.
            include_caller_info: tell where in the code each call stands.

        Raises:
            ValueError: there is no such level.
        """
        self._level = level_of(level)
        self._caller = include_caller_info
        self._faults = 0
        serve()  # as the framework's ILogger

    @property
    def level(self) -> str:
        """The least level that it takes."""
        return NAMES[self._level]

    @property
    def dropped(self) -> int:
        """Records that it has lost."""
        return self._faults

    async def debug(self, *args: Any, **context: Any) -> None:
        """Log at DEBUG."""
        if self._level <= logging.DEBUG and (rest := self._take(logging.DEBUG, args, context)) is not None:
            await rest

    async def info(self, *args: Any, **context: Any) -> None:
        """Log at INFO."""
        if self._level <= logging.INFO and (rest := self._take(logging.INFO, args, context)) is not None:
            await rest

    async def warning(self, *args: Any, **context: Any) -> None:
        """Log at WARNING."""
        if self._level <= logging.WARNING and (rest := self._take(logging.WARNING, args, context)) is not None:
            await rest

    async def error(self, *args: Any, **context: Any) -> None:
        """Log at ERROR; the second argument, or ``error=``, is the error."""
        if self._level <= logging.ERROR and (rest := self._take(logging.ERROR, args, context)) is not None:
            await rest

    async def critical(self, *args: Any, **context: Any) -> None:
        """Log at CRITICAL; the second argument, or ``error=``, is the error."""
        if (rest := self._take(logging.CRITICAL, args, context)) is not None:
            await rest

    async def log(self, level: object, *args: Any, **context: Any) -> None:
        """Log at any level: ``log(level, message, metadata, error)``, or ``log(level, message, key=value, ...)``.

        Args:
            level: as in the constructor; what is no level counts as INFO.
            args: the message; then a dict of metadata and an error, both optional and in any order.
            context: more metadata, ``error`` and ``metadata`` among it, and ``message`` if it is not in ``args``.
        """
        try:
            number = level_of(level)
        except Exception:
            number = logging.INFO
        if number >= self._level and (rest := self._take(number, args, context)) is not None:
            await rest

    async def close(self) -> None:
        """Have everything written; may be called again, and the logger goes on to work."""

    def emit(self, record: Record) -> None:
        """Take a record; where subclasses do what they are for."""
        raise NotImplementedError

    def takes(self, record: Record) -> bool:
        """Whether a record is of its level."""
        return record.level >= self._level

    def _take(self, level: int, args: tuple[Any, ...], context: dict[str, Any]) -> Awaitable[None] | None:
        """Take a call; what has to be awaited after it, if anything."""
        try:
            self.emit(Record(level, args, context, caller=self._caller))
        except Exception:
            self._faults += 1
        return None
