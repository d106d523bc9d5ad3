"""One logger for several."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from typing import Any

from multiagents_otel.logs.logger import Logger
from multiagents_otel.logs.record import NAMES, Record


class CompositeLogger(Logger):
    """Hands each record to several loggers, ours and any other of the framework's kind.

    Our own are given one record, which is made once. Another's fault is its own: it reaches neither the
    application nor the loggers beside it.
    """

    def __init__(self, loggers: Sequence[Any], *, include_caller_info: bool = False) -> None:
        """Make a logger of loggers, each of which keeps its own level.

        Raises:
            ValueError: no logger is given.
        """
        if not loggers:
            raise ValueError("a CompositeLogger needs at least one logger")
        super().__init__(logging.DEBUG, include_caller_info=include_caller_info)
        self.loggers: list[Any] = []
        for logger in loggers:
            self.add_logger(logger)

    def add_logger(self, logger: Any) -> None:
        """Hand records to one more logger; one that is there already is not added again."""
        if logger not in self.loggers:
            self.loggers = [*self.loggers, logger]
            self._refresh()

    def remove_logger(self, logger: Any) -> bool:
        """Hand records to one logger less; False if it was not there."""
        if logger not in self.loggers:
            return False
        self.loggers = [other for other in self.loggers if other is not logger]
        self._refresh()
        return True

    def get_loggers(self) -> list[Any]:
        """The loggers."""
        return list(self.loggers)

    def _refresh(self) -> None:
        self._ours = [logger for logger in self.loggers if isinstance(logger, Logger)]
        self._others = [logger for logger in self.loggers if not isinstance(logger, Logger)]
        # What nobody takes costs no record.
        levels = [logger._level for logger in self._ours]
        self._level = min(levels, default=logging.CRITICAL) if not self._others else logging.DEBUG
        self._caller = self._caller or any(logger._caller for logger in self._ours)

    @property
    def dropped(self) -> int:
        """Records that our own loggers among them have lost."""
        return self._faults + sum(logger.dropped for logger in self._ours)

    def emit(self, record: Record) -> None:
        """Hand a record to our own loggers."""
        for logger in self._ours:
            if logger.takes(record):
                logger.emit(record)

    async def close(self) -> None:
        """Close them all."""
        for logger in self.loggers:
            try:
                await logger.close()
            except Exception:
                self._faults += 1

    def _take(self, level: int, args: tuple[Any, ...], context: dict[str, Any]) -> Awaitable[None] | None:
        if not self._others:
            return super()._take(level, args, context)
        try:
            errors = (error for error in (context.get("error"), *args[1:]) if isinstance(error, BaseException))
            error = next(errors, None)
            record = Record(level, args, context, caller=self._caller)
            self.emit(record)
            return self._forward(record, error)
        except Exception:
            self._faults += 1
            return None

    async def _forward(self, record: Record, error: BaseException | None) -> None:
        """Hand a record to the others, as the framework itself calls a logger."""
        fields = {key: value for key, value in record.fields.items() if key != "message"}
        if error is not None and record.level >= logging.ERROR:
            fields["error"] = error
        elif record.error is not None:
            fields["error_message"] = record.error.message  # the framework's own fail on an error that is a text
        for logger in self._others:
            try:
                await getattr(logger, NAMES[record.level].lower())(record.message, **fields)
            except Exception:
                self._faults += 1
