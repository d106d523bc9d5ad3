"""One log record: what a call of any logger makes, and what every sink renders."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from enum import Enum
from time import time_ns
from traceback import TracebackException
from typing import Any, Final, NamedTuple

from multiagents_otel.core import scope
from multiagents_otel.logs.plain import plain_fields, text_of
from multiagents_otel.telemetry.failure import type_name

LEVELS: Final = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
    "FATAL": logging.CRITICAL,
}
NAMES: Final = {
    logging.DEBUG: "DEBUG",
    logging.INFO: "INFO",
    logging.WARNING: "WARNING",
    logging.ERROR: "ERROR",
    logging.CRITICAL: "CRITICAL",
}

_OURS: Final = ("multiagents_otel.logs.", "asyncio.")
_FRAMES: Final = 12


class Caller(NamedTuple):
    """Where a log call stands in the code."""

    file: str
    line: int
    function: str


class Error(NamedTuple):
    """What went wrong, as far as the call tells.

    Attributes:
        message: its text.
        type: the exception's class as ``exception.type`` has it; None if the call gave only a text.
        traceback: captured at the call. Not the exception itself: its frames would hold what they know for as
            long as the record is queued.
    """

    message: str
    type: str | None = None
    traceback: TracebackException | None = None


class ScrubbedText(NamedTuple):
    """Scrubbed text of a record: done once, however many loggers render it.

    Attributes:
        message: the message.
        fields: nested ones and those with a telling name are scrubbed too.
        error: ``type``, ``message`` and ``traceback`` of the error, as far as it has them.
    """

    message: str
    fields: dict[str, Any]
    error: dict[str, str]


def level_of(level: object) -> int:
    """The number of a level that is given as a word in any case, as an enum, or as a number of ``logging``.

    Raises:
        ValueError: it is none of them.
    """
    if isinstance(level, Enum):
        level = level.value
    if isinstance(level, str):
        number = LEVELS.get(level.strip().upper())
        if number is not None:
            return number
    elif isinstance(level, int) and not isinstance(level, bool) and level >= 0:
        # What lies between two levels counts as the lower one.
        return max((known for known in NAMES if known <= level), default=logging.DEBUG)
    raise ValueError(f"a log level is one of {', '.join(NAMES.values())}, or a number of logging, not {level!r}")


class Record:
    """A log record, complete and unchangeable from the moment that it is made.

    Attributes:
        time_ns: when, ns since the epoch.
        level: one of ``logging``'s five numbers.
        message: the text; not scrubbed yet, as everything in a record.
        fields: the call's context as plain values.
        error: what went wrong, if anything.
        context: the OpenTelemetry context of the call, which holds trace and span.
        transaction_id: of the workflow that the call was made in; else what the call itself tells.
        caller: where the call stands, if that is asked for.
        size: about how many characters it holds.
        scrubbed: what :mod:`multiagents_otel.logs.rendering` has made of it.
    """

    __slots__ = (
        *("caller", "context", "error", "fields", "level"),
        *("message", "size", "time_ns", "scrubbed", "transaction_id"),
    )

    def __init__(self, level: int, args: tuple[Any, ...], fields: dict[str, Any], *, caller: bool = False) -> None:
        """Make the record of one call.

        Args:
            level: its level.
            args: the message; after it a dict is metadata, anything else the error, as the framework has it.
            fields: the call's keywords, which the record keeps. ``error`` is the error, ``metadata`` may be more
                of them, and ``message`` is the message if there is none in ``args``.
            caller: look for the caller.
        """
        self.time_ns = time_ns()
        self.level = level
        self.context = scope.context()
        error = fields.pop("error", None)
        message = args[0] if args else fields.pop("message", "")
        for argument in args[1:]:
            if isinstance(argument, Mapping):
                _merge(fields, argument)
            elif argument is not None:
                error = argument
        if isinstance(metadata := fields.get("metadata"), Mapping):
            del fields["metadata"]
            _merge(fields, metadata)
        if message is fields.get("message") and message is not None:
            del fields["message"]  # the guide's SecureLogger gives it twice
        self.message = text_of(message)
        self.fields, self.size = plain_fields(fields)
        self.size += len(self.message) + 256
        self.error = _captured(error) if error is not None else None
        self.transaction_id = scope.transaction_id() or _told(self.fields)
        self.caller = _caller() if caller else None
        self.scrubbed: ScrubbedText | None = None


def _merge(fields: dict[str, Any], more: Mapping[Any, Any]) -> None:
    try:
        fields.update({text_of(key): value for key, value in more.items()})
    except Exception:  # a mapping that is none
        fields["metadata"] = more


def _told(fields: dict[str, Any]) -> str | None:
    told = fields.get("transaction_id")
    return told if isinstance(told, str) else None


def _captured(error: object) -> Error:
    message = text_of(error)
    if not isinstance(error, BaseException):
        return Error(message)
    try:
        traceback = TracebackException.from_exception(error, limit=50, lookup_lines=False)
    except Exception:
        traceback = None
    return Error(message, type_name(error), traceback)


def _caller() -> Caller | None:
    frame = sys._getframe(2)
    for _ in range(_FRAMES):
        if not f"{frame.f_globals.get('__name__')}.".startswith(_OURS):
            return Caller(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None
