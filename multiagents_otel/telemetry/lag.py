"""How late event loops are: ``multiagents.event_loop.lag``.

One call to a language model that does not give the loop back stalls every worker and every event of the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from typing import Final

from multiagents_otel import semconv
from multiagents_otel.telemetry.core import NO_CONTEXT, Telemetry

_INTERVAL_SECONDS: Final = 1.0


class LoopLag:
    """Probes event loops with a timer each, which goes with its loop: nothing waits, and nothing is kept alive.

    Attributes:
        on: while false, the probes end where they next would be.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self.on = True
        self._telemetry = telemetry
        self._loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    def watch(self) -> None:
        """Probe the running loop, if there is one, from now on; once, however often it is called."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        try:
            if self.on and loop not in self._loops:
                self._loops.add(loop)
                self._set(loop)
        except Exception:
            self._telemetry.guard.caught("event_loop")

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + _INTERVAL_SECONDS
        # An empty context: the timer must not carry the span that happens to be current.
        loop.call_at(due, self._probe, due, context=contextvars.Context())

    def _probe(self, due: float) -> None:
        if not self.on:
            return
        try:
            loop = asyncio.get_running_loop()
            # A loop may be early by its clock's resolution.
            self._telemetry.instruments.record(semconv.EVENT_LOOP_LAG, max(0.0, loop.time() - due), (), NO_CONTEXT)
            self._set(loop)
        except Exception:
            self._telemetry.guard.caught("event_loop")
