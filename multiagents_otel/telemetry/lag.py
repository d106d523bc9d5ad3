"""How late event loops are: ``multiagents.event_loop.lag``.

One call to a language model that does not give the loop back stalls every worker and every event of the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable
from time import perf_counter
from typing import Final

from multiagents_otel import semconv
from multiagents_otel.core.trace_context import EMPTY
from multiagents_otel.telemetry.core import Telemetry
from multiagents_otel.telemetry.in_flight import LATE_SECONDS, running_loop

_INTERVAL_SECONDS: Final = 1.0


class LoopLag:
    """Probes event loops with a timer each, which goes with its loop: nothing waits, and nothing is kept alive.

    A timer of 1 s has a loop of asyncio's keep timers that were cancelled behind it, a hundred of them at most: as
    the framework's own monitors have, which sleep in a loop.

    Args:
        telemetry: what is recorded with.
        resumed: called inside a loop that was stopped or blocked, with its lateness.
    """

    def __init__(self, telemetry: Telemetry, resumed: Callable[[float], None]) -> None:
        self._telemetry = telemetry
        self._resumed = resumed
        self._on = True
        self._watched = False
        # A timer holds its loop: held weakly, or neither would ever go.
        self._timers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Callable[[], asyncio.TimerHandle | None]] = (
            weakref.WeakKeyDictionary()
        )

    def watch(self) -> None:
        """Probe the running loop, if there is one, from now on; once, however often it is called."""
        loop = running_loop()
        if self._on and loop is not None and loop not in self._timers:
            self._watched = True
            self._set(loop)

    @property
    def idle(self) -> bool:
        """Whether loops have been probed and none of them is left: all are closed."""
        # keyrefs() copies: another thread may be about to watch a loop.
        loops = (ref() for ref in self._timers.keyrefs())
        return self._watched and all(loop is None or loop.is_closed() for loop in loops)

    def stop(self) -> None:
        """Probe no more; another thread's loop has its last timer lapse, for it is not ours to cancel."""
        self._on = False
        loop = running_loop()
        if loop is not None and (ref := self._timers.get(loop)) is not None and (timer := ref()) is not None:
            timer.cancel()

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + _INTERVAL_SECONDS
        # An empty context: the timer must not carry the span that happens to be current. Weakly: it outlives an
        # instrumentation that ends.
        real = perf_counter() + _INTERVAL_SECONDS
        timer = loop.call_at(due, _probe, weakref.ref(self), due, real, context=contextvars.Context())
        self._timers[loop] = weakref.ref(timer) if hasattr(timer, "__weakref__") else _nothing

    def probe(self, due: float, real: float) -> None:
        """Record how late a probe is that was due then by the loop's clock and by the real one; set the next one."""
        if not self._on:
            return
        try:
            loop = asyncio.get_running_loop()
            # A loop may be early by its clock's resolution.
            self._telemetry.instruments.record(semconv.EVENT_LOOP_LAG, max(0.0, loop.time() - due), (), EMPTY)
            if (lateness := perf_counter() - real) > LATE_SECONDS:
                self._resumed(lateness)
            self._set(loop)
        except Exception:
            self._telemetry.guard.caught("event_loop")


def _nothing() -> None:
    """Stands for a timer that cannot be referred to weakly: it lapses."""


def _probe(lag: weakref.ref[LoopLag], due: float, real: float) -> None:
    if (alive := lag()) is not None:
        alive.probe(due, real)
