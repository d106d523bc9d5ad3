"""The workers of this process, and what is known of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from multiagents_otel import semconv
from multiagents_otel.monitors.figures import Figures, Table
from multiagents_otel.monitors.health import (
    LAST,
    RECENT_MINUTES,
    Findings,
    Last,
    Recent,
    Thresholds,
    examine,
    recent_of,
)
from multiagents_otel.monitors.windows import Windows
from multiagents_otel.semconv import Outcome
from multiagents_otel.telemetry.event import text, utf8

_MAX_WORKERS: Final = 200
_MAX_RUNNING: Final = 1_000
"""Executions under way that are known of one worker; beyond them only those that end are counted."""

_CLOCK_SET_NS: Final = 500_000_000

WorkerKey = tuple[str, str]
"""A worker's name and its instance's, which is the same unless somebody said otherwise."""

_OTHER: Final[WorkerKey] = (semconv.OTHER, semconv.OTHER)
_FIELDS: Final = {Outcome.SUCCESS: semconv.SUCCESS, Outcome.ERROR: semconv.ERROR, Outcome.TIMEOUT: semconv.TIMEOUT}


def key_of(name: str, instance: Any = None) -> WorkerKey:
    """The key of a worker as somebody named it."""
    name = utf8(name)
    return name, utf8(text(instance) or name)


class Running(NamedTuple):
    """An execution under way: since when (monotonic seconds), and its timeout if that is known."""

    since: float
    timeout: float | None


class Worker:
    """What is known of one worker.

    Attributes:
        last_seen: when it was registered or an execution of it started or ended (monotonic seconds).
        last_execution: when its last execution ended.
        last: its last executions.
        running: its executions under way, by command or execution.
        undelivered: when commands reached nobody, until one reaches somebody.
        error: its last error's text, scrubbed; ``errors``: the last ones, with their times.
        alerted: the error rate's level that was told last.
        totals: its figures since it is known.
        least, most: the shortest and the longest execution (ms).
    """

    def __init__(self, key: WorkerKey) -> None:
        self.label, self.instance = key
        self.created = time.time_ns()
        self.last_seen: float | None = None
        self.last_execution: float | None = None
        self.last: deque[Last] = deque(maxlen=LAST)
        self.running: dict[object, Running] = {}
        self.undelivered: deque[float] = deque(maxlen=1_000)
        self.error: str | None = None
        self.errors: deque[tuple[float, str | None]] = deque(maxlen=10)
        self.alerted = 0
        self.totals = Figures()
        self.least: float | None = None
        self.most: float | None = None

    @property
    def key(self) -> str:
        """``type:instance``, as the framework has it."""
        return f"{self.label}:{self.instance}"


class Workers:
    """The workers, at most 200 of them: further ones are ``_OTHER``. Not safe across threads: its owner locks.

    Args:
        windows: what executions go into, by ``type:instance``.
        thresholds: beyond which a worker is degraded.
        patience: seconds that an execution may go beyond its timeout.

    Attributes:
        any_undelivered: a command for one of them has reached nobody.
    """

    def __init__(self, windows: Windows, thresholds: Thresholds, patience: float) -> None:
        self.windows = windows
        self._thresholds = thresholds
        self._patience = patience
        self._workers: dict[WorkerKey, Worker] = {}
        self.any_undelivered = False
        self._offset = 0

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._workers.values()))

    def wall(self, moment: float) -> int:
        """A moment by the monotonic clock as ns since the epoch; the same each time, unless the wall clock is set."""
        offset = time.time_ns() - int(time.monotonic() * 1e9)
        if abs(offset - self._offset) > _CLOCK_SET_NS:
            self._offset = offset
        return int(moment * 1e9) + self._offset

    @property
    def names(self) -> list[str]:
        """The workers' names."""
        return list(dict.fromkeys(worker.label for worker in self))

    def find(self, key: WorkerKey) -> Worker | None:
        """A worker that is known."""
        return self._workers.get(key)

    def named(self, name: str) -> list[Worker]:
        """All instances of a worker; ``type:instance`` names a single one."""
        return [worker for worker in self if name in (worker.label, worker.key)]

    def known(self, key: WorkerKey) -> Worker:
        """A worker, from now on known."""
        worker = self._workers.get(key)
        if worker is None:
            if len(self._workers) >= _MAX_WORKERS:
                key = _OTHER
            worker = self._workers.get(key) or self._workers.setdefault(key, Worker(key))
        return worker

    def forget(self, key: WorkerKey) -> bool:
        """A worker is gone; its name may come again, with figures that begin anew."""
        worker = self._workers.pop(key, None)
        if worker is not None:
            self.windows.forget(worker.key)
        return worker is not None

    # --- what happens --------------------------------------------------------------------------

    def undelivered(self, name: str) -> None:
        """A command for a worker reached nobody."""
        self.known(key_of(name)).undelivered.append(self.windows.now)
        self.any_undelivered = True

    def delivered(self, name: str) -> None:
        """A command for a worker reached somebody: those before it that did not are history."""
        for worker in self.named(name):
            worker.undelivered.clear()

    def registered(self, key: WorkerKey) -> None:
        """A worker is there."""
        self.known(key).last_seen = self.windows.now

    def started(self, key: WorkerKey, execution: object, timeout: float | None) -> None:
        """An execution starts."""
        worker = self.known(key)
        worker.last_seen = self.windows.now
        if len(worker.running) < _MAX_RUNNING:
            worker.running[execution] = Running(self.windows.now, timeout)

    def ended(
        self,
        key: WorkerKey,
        execution: object,
        outcome: Outcome,
        duration: float | None,
        error: str | None,
    ) -> None:
        """An execution ended after ``duration`` ms, as it says itself; measured here if it was seen to start."""
        worker = self.known(key)
        worker.last_seen = self.windows.now
        running = worker.running.pop(execution, None)
        if isinstance(execution, str) and running is not None:  # a callback's duration is a wall clock's
            duration = (self.windows.now - running.since) * 1e3
        if outcome is Outcome.CANCELLED:
            return
        worker.last_execution = worker.last_seen
        failed = outcome is not Outcome.SUCCESS
        worker.last.append(Last(failed, duration))
        if failed:
            worker.error = error
            worker.errors.append((self.windows.now, error))
        field = _FIELDS[outcome]
        figures = self.windows.figures(worker.key)
        for counted in (figures, worker.totals):
            setattr(counted, field, getattr(counted, field) + 1)
        if duration is not None:
            self.windows.measure(figures, duration)
            worker.totals.measure(duration, distribution=False)
            worker.least = duration if worker.least is None else min(worker.least, duration)
            worker.most = duration if worker.most is None else max(worker.most, duration)

    # --- health --------------------------------------------------------------------------------

    def recent(self, worker: Worker, recent: Table | None = None) -> Recent:
        """A worker's recent executions; ``recent``: the figures of the last 5 minutes, if they are at hand."""
        if recent is None:
            recent = self.windows.window(RECENT_MINUTES, [worker.key])
        return recent_of(recent.get(worker.key) or Figures(), worker.last)

    def examine(self, worker: Worker, recent: Table | None = None) -> Findings:
        """What is wrong with a worker."""
        now = self.windows.now
        while worker.undelivered and now - worker.undelivered[0] > RECENT_MINUTES * 60:
            worker.undelivered.popleft()
        overdue = [
            now - running.since
            for running in worker.running.values()
            if running.timeout is not None and now - running.since > running.timeout + self._patience
        ]
        return examine(
            self.recent(worker, recent),
            self._thresholds,
            worker.error,
            len(worker.undelivered),
            (len(overdue), max(overdue, default=0.0)),
        )
