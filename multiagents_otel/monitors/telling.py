"""What monitors tell the user's logger: whatever it is, and whatever it does, the monitor goes on."""

from __future__ import annotations

import inspect
import logging
from typing import Any

_logger = logging.getLogger("multiagents_otel")


async def tell(logger: Any, level: str, message: str, **context: Any) -> None:
    """Write a record to a logger like the framework's, async or not.

    Args:
        logger: has a method for each level; what it raises is swallowed. One of the standard library does as well;
            None: that of this package.
        level: the method's name.
        message: the text.
        **context: what the record is about.
    """
    try:
        if logger is None or isinstance(logger, logging.Logger):
            about = " ".join(f"{key}={value}" for key, value in context.items())
            (logger or _logger).log(logging.getLevelName(level.upper()), "%s %s", message, about)
            return
        answer = getattr(logger, level)(message, **context)
        if inspect.isawaitable(answer):
            await answer
    except Exception:
        _logger.debug("a monitor's logger failed", exc_info=True)
