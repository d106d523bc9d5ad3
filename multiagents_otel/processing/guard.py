"""The guard: a fault of ours is counted and logged, and never reaches the application."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

_logger = logging.getLogger("multiagents_otel")

_LOG_INTERVAL_SECONDS = 60.0


_OURS: Final = (
    "multiagents_otel failed in %s (%s) and went on without it; the application is not affected "
    "(counted in multiagents.otel.errors, logged once a minute, details at DEBUG)"
)
_OF_USERS: Final = (
    "%s raised %s: your hook, not multiagents_otel, which went on without it; the application is not affected "
    "(counted in multiagents.otel.errors, logged once a minute, details at DEBUG)"
)


def _raised() -> str:
    kind = sys.exc_info()[0]
    return kind.__name__ if kind is not None else ""


def ends_application(error: BaseException) -> bool:
    """Whether an exception is meant for the application: a signal handler raised it in the main thread."""
    return isinstance(error, (KeyboardInterrupt, SystemExit)) and threading.current_thread() is threading.main_thread()


class Guard:
    """Called in every ``except`` clause that stands between our code and the application's.

    Args:
        count: called with the component's name for each fault (``multiagents.otel.errors``).
    """

    strict = False
    """True in our own tests: a fault is raised, so that none goes unseen."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._quiet_until: dict[str, float] = {}
        self._inside = threading.local()

    def run(self, component: str, call: Callable[[], object]) -> None:
        """Make a call whose faults are ours."""
        try:
            call()
        except Exception:
            self.caught(component)

    def caught(self, component: str, of_users: str = "") -> None:
        """Count the exception being handled, and log it at most once a minute for each component.

        The record is a WARNING without the exception's text, which may hold a secret; the traceback
        is logged at DEBUG. ``of_users`` names what raised where that is the user's own, a hook.
        """
        if self.strict:
            raise
        # A log handler may itself publish events or fail: without this the guard would call itself for ever.
        if getattr(self._inside, "active", False):
            return
        self._inside.active = True
        try:
            self._count(component)
            now = time.monotonic()
            who = of_users or component
            if now >= self._quiet_until.get(who, 0.0):
                self._quiet_until[who] = now + _LOG_INTERVAL_SECONDS
                _logger.warning(_OF_USERS if of_users else _OURS, who, _raised())
                _logger.debug("%s raised", who, exc_info=True)
        except Exception:  # noqa: S110 - the last line of defence has nobody left to tell
            pass
        finally:
            self._inside.active = False
