"""Exceptions that the framework swallows: it catches them, logs their text, and goes on.

The log call is made inside the ``except`` clause, where the exception itself can still be seen. Only the
module logger's ``error`` is replaced: its other methods, called for every event, cost nothing more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from multiagents_otel.instrumentation.patching import Switch


def telling_error(logger: Any, switch: Switch, swallowed: Callable[[BaseException], None]) -> Callable[..., Any]:
    """A logger's ``error`` that first tells of the exception being handled, if there is one."""
    own = getattr(type(logger), "error", None)

    def error(*args: Any, **kwargs: Any) -> Any:
        if switch.on and (exception := sys.exc_info()[1]) is not None:
            swallowed(exception)
        # structlog finds its methods anew at each call, so that a later configuration holds: so do we.
        method = own.__get__(logger) if own is not None else logger.__getattr__("error")
        return method(*args, **kwargs)

    return error
