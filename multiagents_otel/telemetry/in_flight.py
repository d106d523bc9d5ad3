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
LATE_SECONDS = 0.25
"""A loop that calls a timer later than this was stopped or blocked, and its sockets may hold unread results."""
_BACKLOG_SECONDS = 1.0
_MAX_HOLDS = 30


class Flight:
    """A command under way: whose, and until when its result is waited for (monotonic seconds)."""

    __slots__ = ("command_id", "deadline", "loop", "started", "step", "timeout", "worker", "workflow")

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
        self.loop = running_loop()
        self.started = time.perf_counter()

    def belongs_to_other(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Whether another loop, which runs, waits for the result: only that loop knows whether it could read it."""
        return self.loop is not None and self.loop is not loop and self.loop.is_running()


class _Hold:
    """A loop that was stopped or blocked: nothing is reported as late until then (monotonic seconds)."""

    __slots__ = ("answered", "count", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self.answered = 0
        self.count = 0


class InFlight:
    """The commands that this process published and that are not answered; ``multiagents.events.in_flight``.

    Commands of one timeout expire in the order in which they came, so there is a queue for each timeout,
    and a look at the heads finds what is late. Each event loop that publishes has one timer, set for the
    earliest deadline that it knows of: nothing polls. Much that is late at once is reported in slices.

    A loop that was stopped or blocked (a signal, a debugger, a blocking call) calls its timers before it reads its
    sockets, which may hold the results. A timer that comes late therefore reports nothing: deadlines move by its
    lateness, up to the grace, and further for as long as results keep coming in.

    Args:
        grace: seconds after a command's timeout.
        late: called with each command whose result did not come in time.
    """

    def __init__(self, grace: float, late: Callable[[Flight], None]) -> None:
        self._grace = grace
        self._late = late
        self._flights: dict[str, Flight] = {}
        self._queues: dict[float, dict[str, Flight]] = {}
        self._lock = threading.RLock()  # as the ledger's
        self._timers: dict[asyncio.AbstractEventLoop, tuple[float, float, asyncio.Handle]] = {}
        self._holds: dict[asyncio.AbstractEventLoop, _Hold] = {}
        self._answered = 0

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

    def get(self, command_id: str) -> Flight | None:
        """Return a command that is not answered; None for one that is not known."""
        return self._flights.get(command_id)

    def remove(self, command_id: str) -> Flight | None:
        """Remove a command that was answered, or never delivered; None for one that is not known."""
        if command_id not in self._flights:
            return None
        with self._lock:
            flight = self._flights.pop(command_id, None)
            if flight is None:
                return None
            queue = self._queues[flight.timeout]
            del queue[command_id]
            if not queue:
                del self._queues[flight.timeout]
        self._answered += 1
        return flight

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
        for _due, _real, timer in list(self._timers.values()):
            timer.cancel()
        self._timers.clear()
        self._holds.clear()

    def resumed(self, lateness: float) -> None:
        """Take note that the running loop was stopped or blocked: it reads what has come before anything is late."""
        loop = running_loop()
        if loop is not None and self._flights:
            self._hold(loop, lateness)

    def sweep(self) -> None:
        """Report what is late by now, as much as fits a slice, and set the timer for what comes next."""
        loop = running_loop()
        now = time.monotonic()
        known = self._timers.pop(loop, None) if loop is not None else None
        if loop is not None and known is not None:
            held = self._held(loop, now, time.perf_counter() - known[1])
            if held > now:
                self._schedule(held)
                return
        until = time.perf_counter() + _SLICE_SECONDS
        earliest: float | None = None
        for queue in list(self._queues.values()):
            for flight in list(queue.values()):
                if flight.deadline > now:
                    earliest = flight.deadline if earliest is None else min(earliest, flight.deadline)
                    break
                if flight.belongs_to_other(loop):
                    continue
                if self.remove(flight.command_id):
                    self._late(flight)
                if loop is not None and time.perf_counter() > until:
                    # The application's turn; then the rest.
                    timer = loop.call_soon(self.sweep, context=contextvars.Context())
                    self._timers[loop] = (now, time.perf_counter() + _SLICE_SECONDS, timer)
                    return
        if earliest is not None:
            self._schedule(earliest)

    def _held(self, loop: asyncio.AbstractEventLoop, now: float, lateness: float) -> float:
        """Return until when nothing is reported by a loop whose sweep came so late."""
        if lateness > LATE_SECONDS:
            self._hold(loop, lateness)
        hold = self._holds.get(loop)
        if hold is None:
            return now
        if hold.until <= now and hold.answered != self._answered and hold.count < _MAX_HOLDS:
            self._hold(loop, _BACKLOG_SECONDS)  # the backlog is still being read
        if hold.until <= now:
            del self._holds[loop]
        return hold.until

    def _hold(self, loop: asyncio.AbstractEventLoop, lateness: float) -> None:
        hold = self._holds.get(loop)
        if hold is None:
            for other in [other for other in list(self._holds) if other.is_closed()]:
                self._holds.pop(other, None)
            hold = self._holds[loop] = _Hold()
        if hold.count < _MAX_HOLDS:  # a loop that is always late must not hide a stall for ever
            hold.count += 1
            hold.answered = self._answered
            until = time.monotonic() + max(_BACKLOG_SECONDS, min(lateness, self._grace))
            hold.until = max(hold.until, until)

    def _schedule(self, deadline: float) -> None:
        loop = running_loop()
        if loop is None:
            return
        known = self._timers.get(loop)
        if known is not None:
            if known[0] <= deadline:
                return
            known[2].cancel()
        else:
            for other in [other for other in list(self._timers) if other.is_closed()]:
                self._timers.pop(other, None)
        delay = max(0.0, deadline - time.monotonic())
        # An empty context: the timer must not carry the span that happens to be current.
        timer = loop.call_later(delay, self.sweep, context=contextvars.Context())
        # Lateness is measured by the clock of durations: a clock that is set forward stops no process.
        self._timers[loop] = (deadline, time.perf_counter() + delay, timer)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
