"""A logger in front of another one, which lets no secret through, or no context at all."""

from __future__ import annotations

import inspect
import logging
import sys
from typing import Any, Final

from multiagents_otel.processing.redaction import in_force, scrub, scrub_value

_logger = logging.getLogger("multiagents_otel")

RESTRICTED: Final = "restricted"
_LEVELS: Final = ("standard", RESTRICTED)
_FRAMEWORK: Final = "multiagents"
_INTERFACES: Final = "multiagents.monitoring.interfaces"
_MAX_CHAIN: Final = 8


class SecureLogger:
    """The guide's SecureLogger: hands records on to a logger, sanitised.

    A call is that of the logger behind it: ``await logger.info("message", key=value)``,
    ``await logger.log("INFO", "message", key=value)`` or the framework's ``log(level, message, metadata, error)``.
    With ``restricted`` only level and message are handed on; with any other access level the context as well, nested
    values too, without its secrets. The message, and an exception's texts, are scrubbed in both cases. Whatever the
    logger behind it does: nothing is raised.

    Attributes:
        base_logger: the logger behind it: the framework's, one of ours, or any with the same methods, async or not.
        access_level: ``standard`` or ``restricted``.
    """

    def __init__(self, base_logger: Any, access_level: str = "standard") -> None:
        self.base_logger = base_logger
        self.access_level = access_level
        if not isinstance(access_level, str) or access_level.lower() not in _LEVELS:
            # As the guide has it, whatever is not restricted is standard: a misspelt one opens what was to be closed.
            _logger.warning(
                "SecureLogger: access_level is 'standard' or 'restricted', not %r: the context is handed on",
                access_level,
            )

    async def log(self, level: Any, *args: Any, **kwargs: Any) -> None:
        """Log at any level."""
        await self._hand_on("log", args, kwargs, level)

    async def debug(self, *args: Any, **kwargs: Any) -> None:
        """Log at DEBUG."""
        await self._hand_on("debug", args, kwargs)

    async def info(self, *args: Any, **kwargs: Any) -> None:
        """Log at INFO."""
        await self._hand_on("info", args, kwargs)

    async def warning(self, *args: Any, **kwargs: Any) -> None:
        """Log at WARNING."""
        await self._hand_on("warning", args, kwargs)

    async def error(self, *args: Any, **kwargs: Any) -> None:
        """Log at ERROR, with ``error=`` an exception."""
        await self._hand_on("error", args, kwargs)

    async def critical(self, *args: Any, **kwargs: Any) -> None:
        """Log at CRITICAL, with ``error=`` an exception."""
        await self._hand_on("critical", args, kwargs)

    async def close(self) -> None:
        """Close the logger behind it."""
        try:
            await _done(getattr(self.base_logger, "close", lambda: None)())
        except Exception:
            in_force().guard.caught("logs")

    def __getattr__(self, name: str) -> Any:
        if name == "base_logger":  # while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self.base_logger, name)

    async def _hand_on(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], *level: Any) -> None:
        try:
            method = getattr(self.base_logger, name)
            # The guide gives the message twice.
            message = args[0] if args else kwargs.get("message", "")
            rest, context = args[1:], {key: value for key, value in kwargs.items() if key != "message"}
            if str(self.access_level).lower() == RESTRICTED:
                rest, context = (), {}
            rest = tuple(_sanitized(value) for value in rest)
            context = {key: _sanitized(value, key) for key, value in context.items()}
            if type(self.base_logger).__module__.partition(".")[0] == _FRAMEWORK:
                level = tuple(map(_framework_level, level))
                context = _as_framework_takes(method, context)
            await _done(method(*level, scrub(str(message)), *rest, **context))
        except Exception:
            in_force().guard.caught("logs")


async def _done(result: Any) -> None:
    if inspect.isawaitable(result):
        await result


def _sanitized(value: Any, key: str | None = None) -> Any:
    return without_secrets(value) if isinstance(value, BaseException) else scrub_value(value, key)


def _framework_level(level: Any) -> Any:
    """The framework's loggers fail on a level that is not a member of their enum."""
    levels = getattr(sys.modules.get(_INTERFACES), "LogLevel", None)
    if levels is None or isinstance(level, levels) or not isinstance(level, str):
        return level
    return levels.__members__.get(level.upper(), levels.INFO)


def _as_framework_takes(method: Any, context: dict[str, Any]) -> dict[str, Any]:
    """``log`` takes ``metadata`` and ``error`` alone, and no error that is not an exception."""
    if "error" in context and not isinstance(context["error"], BaseException):
        context = {**context, "error_message": context["error"]}
        del context["error"]
    parameters = inspect.signature(method).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return context
    known = {key: value for key, value in context.items() if key in parameters}
    if more := {key: value for key, value in context.items() if key not in parameters}:
        given = known.get("metadata")
        known["metadata"] = {**given, **more} if isinstance(given, dict) else more
    return known


def without_secrets(error: BaseException) -> BaseException:
    """The exception, or one in its place with scrubbed texts where it or what it was raised from holds a secret.

    That one's class has the same names, and its traceback and chain are the same.
    """
    return _stand_in(error) if _holds_secret(error, _MAX_CHAIN) else error


def _holds_secret(error: BaseException | None, depth: int) -> bool:
    if error is None:
        return False
    if depth == 0 or any(scrub(text) != text for text in (_text(error), *_notes(error))):
        return True  # what is not looked at counts as one that does
    return _holds_secret(error.__cause__, depth - 1) or _holds_secret(_context(error), depth - 1)


def _stand_in(error: BaseException, depth: int = _MAX_CHAIN) -> BaseException:
    kind = type(error)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    place: BaseException = type(kind.__name__, (Exception,), names)(scrub(_text(error)))
    place.__traceback__ = error.__traceback__
    if notes := _notes(error):
        place.__notes__ = list(map(scrub, notes))  # type: ignore[attr-defined]
    if depth > 1:
        if error.__cause__ is not None:
            place.__cause__ = _stand_in(error.__cause__, depth - 1)
        if (context := _context(error)) is not None:
            place.__context__ = _stand_in(context, depth - 1)
    place.__suppress_context__ = error.__suppress_context__
    return place


def _context(error: BaseException) -> BaseException | None:
    """What it was raised in the handling of, where that is shown and not its cause."""
    return None if error.__suppress_context__ or error.__cause__ is not None else error.__context__


def _notes(error: BaseException) -> list[str]:
    return [note for note in getattr(error, "__notes__", ()) if isinstance(note, str)]


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""
