"""Exceptions that the framework swallows: it catches them, logs their text, and goes on.

The log call is made inside the ``except`` clause, where the exception itself can still be seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from multiagents_otel.instrumentation.patching import Switch


class LoggerProxy:
    """A framework module's logger, which tells of the exception being handled when ``error`` is called."""

    def __init__(self, logger: Any, switch: Switch, swallowed: Callable[[BaseException], None]) -> None:
        self._logger = logger
        self._switch = switch
        self._swallowed = swallowed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)

    def error(self, *args: Any, **kwargs: Any) -> Any:
        """The logger's own ``error``, after the exception was told."""
        if self._switch.on:
            exception = sys.exc_info()[1]
            if exception is not None:
                self._swallowed(exception)
        return self._logger.error(*args, **kwargs)
