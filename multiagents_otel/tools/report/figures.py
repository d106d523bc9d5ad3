"""A report's figures: pure data, without a word of how they are shown or where they are from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from multiagents_otel.semconv import WorkflowStatus
from multiagents_otel.tools.distributions import Estimate, merged, quantile
from multiagents_otel.tools.records import Buckets, Distribution
from multiagents_otel.tools.report.period import Period

UNDELIVERED: Final = "undelivered"
DUPLICATED: Final = "run twice"
STALE: Final = "stale result"
PUBLISH_ERROR: Final = "publish error"
COMPENSATION_UNDELIVERED: Final = "compensation undelivered"
TELEMETRY_FAULT: Final = "telemetry fault"
TELEMETRY_DROPPED: Final = "telemetry dropped"

NO_TIMES: Final = Distribution(0, 0.0, None, None, Buckets((), ()))

BAD_STATUS: Final = frozenset({WorkflowStatus.FAILED, WorkflowStatus.COMPENSATED, WorkflowStatus.STALLED})
"""What counts against success. A cancelled workflow counts for neither side: somebody wanted it so."""


def share(part: float, whole: float) -> float | None:
    """Return ``part`` of ``whole``, from 0 to 1, None if there is nothing to be a part of."""
    return part / whole if whole else None


@dataclass(frozen=True)
class Timed:
    """How long something took, each time. Its ``times`` are in seconds."""

    times: Distribution = NO_TIMES

    @property
    def count(self) -> int:
        return self.times.count

    @property
    def total(self) -> float:
        """Seconds."""
        return self.times.total or 0.0

    def percentile(self, percent: float) -> Estimate | None:
        """Return an estimate in seconds, None if nothing was timed."""
        return quantile(self.times, percent / 100)


def together(parts: Iterable[Timed]) -> Timed:
    """Return all the times of some parts."""
    times = [part.times for part in parts if part.count]
    return Timed(merged(times)) if times else Timed()


@dataclass(frozen=True)
class Workflow:
    """A workflow's definition: how often it was started, and how it ended."""

    id: str
    started: int
    ended: Mapping[str, int]
    """Workflows by status."""
    timed: Timed

    @property
    def completed(self) -> int:
        return self.ended.get(WorkflowStatus.COMPLETED, 0)

    @property
    def bad(self) -> int:
        return sum(count for status, count in self.ended.items() if status in BAD_STATUS)

    @property
    def success(self) -> float | None:
        return share(self.completed, self.completed + self.bad)


@dataclass(frozen=True)
class Step:
    """A step of a workflow."""

    workflow: str
    name: str
    timed: Timed


@dataclass(frozen=True)
class Worker:
    """A worker: executions by outcome, their times, and how long commands waited for it."""

    name: str
    succeeded: int
    failed: int
    cancelled: int
    timed: Timed
    queue: Timed

    @property
    def success(self) -> float | None:
        return share(self.succeeded, self.succeeded + self.failed)


@dataclass(frozen=True)
class Event:
    """A type of event, by its handlers' outcome."""

    type: str
    succeeded: int
    failed: int
    timed: Timed

    @property
    def success(self) -> float | None:
        return share(self.succeeded, self.succeeded + self.failed)


@dataclass(frozen=True)
class Fault:
    """Something that went wrong between processes, such as ``undelivered``, and where."""

    kind: str
    where: str
    count: int


@dataclass(frozen=True)
class Figures:
    """What happened in a period."""

    period: Period
    workflows: tuple[Workflow, ...] = ()
    steps: tuple[Step, ...] = ()
    workers: tuple[Worker, ...] = ()
    events: tuple[Event, ...] = ()
    errors: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Failed executions by worker and error type."""
    faults: tuple[Fault, ...] = ()
    compensations: int = 0
    """Requested, delivered or not."""

    @property
    def ended(self) -> int:
        return sum(sum(each.ended.values()) for each in self.workflows)

    @property
    def success(self) -> float | None:
        completed = sum(each.completed for each in self.workflows)
        return share(completed, completed + sum(each.bad for each in self.workflows))

    @property
    def stalled(self) -> int:
        return sum(each.ended.get(WorkflowStatus.STALLED, 0) for each in self.workflows)

    @property
    def workflow_times(self) -> Timed:
        return together(each.timed for each in self.workflows)

    @property
    def queue_times(self) -> Timed:
        return together(each.queue for each in self.workers)

    @property
    def executions(self) -> int:
        return sum(each.succeeded + each.failed + each.cancelled for each in self.workers)

    @property
    def worker_success(self) -> float | None:
        good = sum(each.succeeded for each in self.workers)
        return share(good, good + sum(each.failed for each in self.workers))

    @property
    def event_success(self) -> float | None:
        good = sum(each.succeeded for each in self.events)
        return share(good, good + sum(each.failed for each in self.events))

    def of_kind(self, kind: str) -> int:
        """Return how many faults of one kind there were."""
        return sum(fault.count for fault in self.faults if fault.kind == kind)


@dataclass(frozen=True)
class Timeline:
    """A period in parts of equal length, the oldest first; a list of values has one for each part."""

    period: Period
    slot: float
    """Seconds."""
    ended: Mapping[str, tuple[int, ...]]
    """Workflows that ended, by status."""
    times: tuple[Timed, ...]
    """Of workflows."""
    queue: tuple[Timed, ...]
    errors: Mapping[tuple[str, str], tuple[int, ...]]
    """By worker and error type."""

    @property
    def starts(self) -> tuple[float, ...]:
        """When each part starts, in seconds since the epoch."""
        return tuple(self.period.start + index * self.slot for index in range(len(self.times)))

    @property
    def success(self) -> tuple[float | None, ...]:
        """Each part's success rate, None where nothing ended that counts."""
        completed = self.ended.get(WorkflowStatus.COMPLETED, (0,) * len(self.times))
        bad = [sum(self.ended[status][index] for status in BAD_STATUS & self.ended.keys()) for index in self._indexes]
        return tuple(share(good, good + less) for good, less in zip(completed, bad, strict=True))

    @property
    def all_ended(self) -> tuple[int, ...]:
        return tuple(sum(counts[index] for counts in self.ended.values()) for index in self._indexes)

    @property
    def all_errors(self) -> tuple[int, ...]:
        return tuple(sum(counts[index] for counts in self.errors.values()) for index in self._indexes)

    @property
    def _indexes(self) -> range:
        return range(len(self.times))


@dataclass(frozen=True)
class Spike:
    """A time in which a worker failed more often than the guide's limit, and the most errors within 5 minutes."""

    worker: str
    error_type: str
    start: float
    end: float
    most: int


@dataclass(frozen=True)
class Report:
    """Everything that a report tells."""

    source: str
    """The Prometheus that was asked."""
    asked: Period
    """The period that was wanted; that of ``now`` is shorter where Prometheus has no earlier data."""
    services: Mapping[str, int]
    """Processes by service."""
    objective: float
    """The least success rate wanted, from 0 to 1."""
    now: Figures
    before: Figures | None
    """The period before; None if there is no data of it."""
    timeline: Timeline
    timeline_before: Timeline | None
    spikes: tuple[Spike, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know to read the figures right."""
