"""What went wrong, as spans and metrics tell it."""

from __future__ import annotations

import traceback
from typing import Final, NamedTuple

from multiagents_otel import semconv
from multiagents_otel.processing.redaction import scrub

_WRAPPERS: Final = frozenset({"WorkerException", "EventBusException"})
"""The framework's own wrappers: their cause is what the reader looks for."""


class Failure(NamedTuple):
    """Why an operation failed.

    Attributes:
        error_type: the value of ``error.type``.
        message: the span status' description, already scrubbed.
        exception: the exception to record as an event, where this is the place that saw it first.
    """

    error_type: str
    message: str | None = None
    exception: BaseException | None = None


UNDELIVERED: Final = Failure(semconv.UNDELIVERED, "published, and no subscriber received it")


def cause_of(exception: BaseException) -> BaseException:
    """The exception inside the framework's WorkerException and EventBusException."""
    for _ in range(8):
        cause = exception.__cause__
        if cause is None or type(exception).__name__ not in _WRAPPERS:
            break
        exception = cause
    return exception


def type_name(exception: BaseException) -> str:
    """The exception's class as ``exception.type`` has it: qualified, but for builtins."""
    kind = type(exception)
    module = kind.__module__
    return kind.__qualname__ if not module or module == "builtins" else f"{module}.{kind.__qualname__}"


def message_of(exception: BaseException) -> str:
    """The exception's scrubbed text; a class whose ``__str__`` raises has none."""
    try:
        return scrub(str(exception), semconv.EXCEPTION_MESSAGE)
    except Exception:
        return ""


def failure_of(exception: BaseException) -> Failure:
    """The failure that an exception means, told of its cause."""
    cause = cause_of(exception)
    return Failure(type_name(cause), message_of(cause), cause)


def exception_attributes(exception: BaseException) -> dict[str, str]:
    """The attributes of the ``exception`` event, message and stack trace scrubbed."""
    try:
        lines = traceback.format_exception(type(exception), exception, exception.__traceback__)
        stacktrace = scrub("".join(lines), semconv.EXCEPTION_STACKTRACE)
    except Exception:
        stacktrace = "".join(traceback.format_tb(exception.__traceback__))
    return {
        semconv.EXCEPTION_TYPE: type_name(exception),
        semconv.EXCEPTION_MESSAGE: message_of(exception),
        semconv.EXCEPTION_STACKTRACE: stacktrace,
    }
