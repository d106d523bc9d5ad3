"""Commands that wait for their result, and what happens when none comes."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from multiagents_otel.telemetry.ledger import Key

if TYPE_CHECKING:
    from multiagents_otel.telemetry.workflow import Step, Workflow

_CAPACITY = 20_000
_SLICE_SECONDS = 0.002


class Flight:
    """A command under way: whose, and until when its result is waited for (monotonic seconds)."""

    __slots__ = ("command_id", "deadline", "step", "timeout", "worker", "workflow")

    def __init__(
        self,
        command_id: str,
        worker: str,
        timeout: float,
        deadline: float,
        workflow: Workflow | None,
        step: Step | None,
    ) -> None:
        self.command_id = command_id
        self.worker = worker
        self.timeout = timeout
        self.deadline = deadline
        self.workflow = workflow
        self.step = step


class InFlight:
    """The commands that this process published and that are not answered; ``multiagents.events.in_flight``.

    Commands of one timeout expire in the order in which they came, so there is a queue for each timeout,
    and a look at the heads finds what is late. Each event loop that publishes has one timer, set for the
    earliest deadline that it knows of: nothing polls. Much that is late at once is reported in slices.

    Args:
        late: called with each command whose result did not come in time.
    """

    def __init__(self, grace: float, late: Callable[[Flight], None]) -> None:
        self._grace = grace
        self._late = late
        self._flights: dict[str, Flight] = {}
        self._queues: dict[float, dict[str, Flight]] = {}
        self._lock = threading.RLock()  # as the ledger's
        self._timers: dict[asyncio.AbstractEventLoop, tuple[float, asyncio.Handle]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, command_id: object) -> bool:
        return command_id in self._flights

    def add(self, command_id: str, worker: str, timeout: float, workflow: Workflow | None, step: Step | None) -> None:
        """A command is being published."""
        if command_id in self._flights:
            self.remove(command_id)
        if len(self._flights) >= _CAPACITY:
            self.remove(next(iter(self._flights)))
        if timeout not in self._queues and len(self._queues) >= 256:
            timeout = max(self._queues)  # timeouts run wild: late is better than unbounded
        flight = Flight(command_id, worker, timeout, time.monotonic() + timeout + self._grace, workflow, step)
        with self._lock:
            self._flights[command_id] = flight
            self._queues.setdefault(timeout, {})[command_id] = flight
        self._schedule(flight.deadline)

    def remove(self, command_id: str) -> bool:
        """A command was answered, or never delivered; False for one that is not known."""
        if command_id not in self._flights:
            return False
        with self._lock:
            flight = self._flights.pop(command_id, None)
            if flight is None:
                return False
            queue = self._queues[flight.timeout]
            del queue[command_id]
            if not queue:
                del self._queues[flight.timeout]
        return True

    def counts(self) -> dict[Key, int]:
        """The commands in flight, by worker."""
        counts: dict[Key, int] = {}
        for flight in list(self._flights.values()):
            counts[flight.worker,] = counts.get((flight.worker,), 0) + 1
        return counts

    def clear(self) -> None:
        """Forget every command and stop the timers."""
        for command_id in list(self._flights):
            self.remove(command_id)
        for _due, timer in list(self._timers.values()):
            timer.cancel()
        self._timers.clear()

    def sweep(self) -> None:
        """Report what is late by now, as much as fits a slice, and set the timer for what comes next."""
        loop = running_loop()
        if loop is not None:
            self._timers.pop(loop, None)
        now = time.monotonic()
        until = time.perf_counter() + _SLICE_SECONDS
        earliest: float | None = None
        for queue in list(self._queues.values()):
            for flight in list(queue.values()):
                if flight.deadline > now:
                    earliest = flight.deadline if earliest is None else min(earliest, flight.deadline)
                    break
                if self.remove(flight.command_id):
                    self._late(flight)
                if loop is not None and time.perf_counter() > until:
                    # The application's turn; then the rest.
                    self._timers[loop] = (now, loop.call_soon(self.sweep, context=contextvars.Context()))
                    return
        if earliest is not None:
            self._schedule(earliest)

    def _schedule(self, deadline: float) -> None:
        loop = running_loop()
        if loop is None:
            return
        known = self._timers.get(loop)
        if known is not None:
            if known[0] <= deadline:
                return
            known[1].cancel()
        else:
            for other in [other for other in list(self._timers) if other.is_closed()]:
                self._timers.pop(other, None)
        # An empty context: the timer must not carry the span that happens to be current.
        timer = loop.call_later(max(0.0, deadline - time.monotonic()), self.sweep, context=contextvars.Context())
        self._timers[loop] = (deadline, timer)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
