"""Commands that wait for their result, and what happens when none comes."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from multiagents_otel.telemetry.ledger import Key

if TYPE_CHECKING:
    from multiagents_otel.telemetry.workflow import Step, Workflow

_CAPACITY = 20_000


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
    and a look at the heads finds what is late. One timer, on the event loop that publishes, is set for the
    earliest deadline: nothing polls.

    Args:
        late: called with each command whose result did not come in time.
    """

    def __init__(self, grace: float, late: Callable[[Flight], None]) -> None:
        self._grace = grace
        self._late = late
        self._flights: dict[str, Flight] = {}
        self._queues: dict[float, dict[str, Flight]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = 0.0

    def __len__(self) -> int:
        return len(self._flights)

    def add(self, command_id: str, worker: str, timeout: float, workflow: Workflow | None, step: Step | None) -> None:
        """A command is being published."""
        if command_id in self._flights:
            self.remove(command_id)
        if len(self._flights) >= _CAPACITY:
            self.remove(next(iter(self._flights)))
        if timeout not in self._queues and len(self._queues) >= 256:
            timeout = max(self._queues)  # timeouts run wild: late is better than unbounded
        flight = Flight(command_id, worker, timeout, time.monotonic() + timeout + self._grace, workflow, step)
        self._flights[command_id] = flight
        self._queues.setdefault(timeout, {})[command_id] = flight
        self._schedule(flight.deadline)

    def remove(self, command_id: str) -> None:
        """A command was answered, or never delivered; one that is unknown is no error."""
        flight = self._flights.pop(command_id, None)
        if flight is not None:
            queue = self._queues[flight.timeout]
            del queue[command_id]
            if not queue:
                del self._queues[flight.timeout]

    def counts(self) -> dict[Key, int]:
        """The commands in flight, by worker."""
        counts: dict[Key, int] = {}
        for flight in list(self._flights.values()):
            counts[flight.worker,] = counts.get((flight.worker,), 0) + 1
        return counts

    def clear(self) -> None:
        """Forget every command and stop the timer."""
        for command_id in list(self._flights):
            self.remove(command_id)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def sweep(self) -> None:
        """Report what is late by now, and set the timer for what comes next."""
        self._timer = None
        now = time.monotonic()
        earliest: float | None = None
        for queue in list(self._queues.values()):
            for flight in list(queue.values()):
                if flight.deadline > now:
                    earliest = flight.deadline if earliest is None else min(earliest, flight.deadline)
                    break
                self.remove(flight.command_id)
                self._late(flight)
        if earliest is not None:
            self._schedule(earliest)

    def _schedule(self, deadline: float) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        timer, owner = self._timer, self._loop
        if timer is not None and owner is not None:
            if owner is loop:
                if self._due <= deadline:
                    return
                timer.cancel()
            elif not owner.is_closed():
                return  # that loop's timer serves this one's commands too
        self._loop = loop
        self._due = deadline
        # An empty context: the timer must not carry the span that happens to be current.
        self._timer = loop.call_later(max(0.0, deadline - time.monotonic()), self.sweep, context=contextvars.Context())
