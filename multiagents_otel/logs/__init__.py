"""Loggers that serve as the framework's ``ILogger``, and the framework's own records in OpenTelemetry's pipeline."""

from __future__ import annotations

from typing import Any

from multiagents_otel.logs.composite import CompositeLogger
from multiagents_otel.logs.console import ConsoleLogger
from multiagents_otel.logs.file import DEFAULT_PATH, MEGABYTE, FileLogger
from multiagents_otel.logs.logger import Logger
from multiagents_otel.logs.otel import OtelLogger
from multiagents_otel.logs.structlog_chain import structlog_processor

__all__ = [
    "CompositeLogger",
    "ConsoleLogger",
    "FileLogger",
    "Logger",
    "OtelLogger",
    "create_logger",
    "structlog_processor",
]


def create_logger(section: Any, logger_provider: Any = None) -> Logger:
    """The logger that a ``logging`` section of a configuration asks for.

    Whatever it is, its records go through OpenTelemetry's logs pipeline too, where there is one.

    Args:
        section: has as attributes, each of them optional: ``default_logger`` (``composite``: file and console;
            ``file``, ``console``, ``otel``), ``level``, ``json_format``, ``include_metadata``,
            ``include_caller_info``; ``file_path``, ``max_size_mb`` or ``max_file_size_mb``, ``backup_count``;
            ``use_colors``, ``console_min_level``. The framework's own section will do.
        logger_provider: OpenTelemetry's, used instead of the global one.

    Raises:
        ValueError: an unknown ``default_logger`` or level.
    """
    kind = _get(section, "default_logger", "composite")
    makers = {"composite": (_file, _console_beside_file), "file": (_file,), "console": (_console,), "otel": ()}
    if kind not in makers:
        raise ValueError(f"default_logger must be one of {', '.join(makers)}, not {kind!r}")
    otel = OtelLogger(
        _get(section, "level", "INFO"),
        logger_provider=logger_provider,
        include_caller_info=_get(section, "include_caller_info", False),
    )
    if kind == "otel":
        return otel
    return CompositeLogger([*(make(section) for make in makers[kind]), otel])


def _get(section: Any, name: str, default: Any) -> Any:
    value = getattr(section, name, None)
    return default if value is None else value


def _file(section: Any) -> Logger:
    megabytes = _get(section, "max_file_size_mb", _get(section, "max_size_mb", 100))
    return FileLogger(
        _get(section, "file_path", DEFAULT_PATH),
        int(megabytes * MEGABYTE),
        _get(section, "backup_count", 5),
        _get(section, "json_format", True),
        _get(section, "include_metadata", True),
        _get(section, "level", "INFO"),
        include_caller_info=_get(section, "include_caller_info", False),
    )


def _console(section: Any) -> Logger:
    return ConsoleLogger(
        _get(section, "json_format", True),
        _get(section, "include_metadata", True),
        _get(section, "level", "INFO"),
        _get(section, "use_colors", True),
        include_caller_info=_get(section, "include_caller_info", False),
    )


def _console_beside_file(section: Any) -> Logger:
    """For people, since the file has the JSON; and only what they must see, as the framework has it."""
    return ConsoleLogger(
        False,
        _get(section, "include_metadata", True),
        _get(section, "console_min_level", "WARNING"),
        _get(section, "use_colors", True),
        include_caller_info=_get(section, "include_caller_info", False),
    )
