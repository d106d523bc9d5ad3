"""Whether a worker is healthy, and what a person can do about it if not."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from multiagents_otel.monitors.figures import Figures, nearest_rank

HEALTHY: Final = "healthy"
DEGRADED: Final = "degraded"
FAILED: Final = "failed"
LEVELS: Final = (HEALTHY, DEGRADED, FAILED)
"""By the value of ``multiagents.worker.health``."""

RECENT_MINUTES: Final = 5.0
LAST: Final = 5
_FEWEST: Final = 3
_FAILED_PERCENT: Final = 50.0


class Last(NamedTuple):
    """One of the last executions of a worker; ``duration`` in ms, if it is known."""

    failed: bool
    duration: float | None


class Thresholds(NamedTuple):
    """What makes a worker ``degraded``.

    Attributes:
        error_rate: percent.
        slow: ms, of the 95th percentile.
    """

    error_rate: float
    slow: float


class Recent(NamedTuple):
    """The recent executions of a worker: of the last 5 minutes, or the last 5 if there were fewer.

    Attributes:
        error_rate: percent.
        p95: ms.
    """

    executions: int
    failed: int
    error_rate: float
    p95: float


def recent_of(figures: Figures, last: deque[Last]) -> Recent:
    """From the figures of the last 5 minutes and the last 5 executions."""
    if figures.finished >= LAST:
        (p95,) = figures.quantiles(0.95)
        return Recent(figures.finished, figures.failed, figures.error_rate, p95)
    failed = sum(execution.failed for execution in last)
    durations = [execution.duration for execution in last if execution.duration is not None]
    return Recent(len(last), failed, 100.0 * failed / len(last) if last else 0.0, nearest_rank(durations, 0.95))


def rate_level(recent: Recent, threshold: float) -> int:
    """How bad the error rate alone is: an index of :data:`LEVELS`."""
    if recent.executions < _FEWEST:
        return 0
    return 2 if recent.error_rate > _FAILED_PERCENT else int(recent.error_rate > threshold)


class Findings:
    """What is wrong with a worker.

    Attributes:
        level: an index of :data:`LEVELS`.
        issues: sentences for a person.
    """

    def __init__(self) -> None:
        self.level = 0
        self.issues: list[str] = []

    def add(self, level: int, issue: str) -> None:
        """One more thing is wrong."""
        self.level = max(self.level, level)
        self.issues.append(issue)

    @property
    def status(self) -> str:
        """In a word."""
        return LEVELS[self.level]


def examine(
    recent: Recent, thresholds: Thresholds, error: str | None, undelivered: int, overdue: tuple[int, float]
) -> Findings:
    """See what is wrong with a worker.

    Args:
        recent: its recent executions.
        thresholds: beyond which it is degraded.
        error: the last error's text.
        undelivered: how many recent commands for it reached nobody.
        overdue: how many executions are past their timeout, and for how long the first one has run (s).
    """
    findings = Findings()
    if undelivered:
        noun = "command" if undelivered == 1 else "commands"
        advice = "start a WorkerManager with this worker, on the same channels"
        findings.add(2, f"{undelivered} {noun} for it reached nobody: {advice}")
    if overdue[0]:
        noun = "execution is" if overdue[0] == 1 else "executions are"
        findings.add(
            2,
            f"{overdue[0]} {noun} past the timeout, the oldest has run for {overdue[1]:.0f} s: it may hang, or block "
            "the event loop, so that nothing can cancel it",
        )
    level = rate_level(recent, thresholds.error_rate)
    if level:
        limit = _FAILED_PERCENT if level == 2 else thresholds.error_rate
        latest = f"; the latest error: {error}" if error else ""
        findings.add(
            level,
            f"{recent.failed} of {recent.executions} recent executions failed ({recent.error_rate:.1f} %, "
            f"more than {limit:g} %){latest}",
        )
    if recent.executions >= _FEWEST and recent.p95 > thresholds.slow:
        measured = f"the 95th percentile of recent executions is {recent.p95:.0f} ms"
        findings.add(1, f"slow: {measured}, more than {thresholds.slow:g} ms")
    return findings
