"""Pieces of PromQL that the boards share: each says once how a kind of metric is read so that it tells the truth."""

from __future__ import annotations

from typing import Final

RATE: Final = "$__rate_interval"
"""The window of a graph's rate: four of the query's minimal steps or more, whatever the zoom."""
INTERVAL: Final = "$__interval"
"""From one point of a graph to the next: what is counted in it is counted once."""
RANGE: Final = "$__range"
"""What the reader is looking at, from end to end."""

_LOOK_BACK: Final = "1h"  # a gap in the scrapes up to this long is no birth


def of(metric: str, *matchers: str) -> str:
    """Select a metric of the services that the reader chose."""
    chosen = ", ".join(('job=~"$job"', *matchers))
    return f"{metric}{{{chosen}}}"


def alive(gauge: str) -> str:
    """Give a gauge of the processes that live.

    The Collector repeats the last word of a process that has ended until the series expires. One that lives is told by
    the probe of its event loop, counted once a second; one that ends in order says so.
    """
    return f"({gauge} and on (job, instance) ({_LIVING}))"


_LIVING: Final = (
    f"changes({of('multiagents_event_loop_lag_seconds_count')}[$alive]) > 0"
    f" unless on (job, instance) {of('multiagents_process_running')} == 0"
)

PROCESSES: Final = f"count by (job) ({_LIVING})"
"""Living processes of each service."""

GONE: Final = (
    f"count by (job, instance) (last_over_time({of('multiagents_process_running')}[{RANGE}]) == 1"
    f" unless on (job, instance) ({_LIVING}))"
)
"""Processes that lived within the time range, do not now, and did not end in order."""


def rate(series: str, by: str = "") -> str:
    """Give what is counted, per second, over all processes."""
    return f"{_sum(by)} (rate({series}[{RATE}]))"


def grown(series: str, by: str = "", window: str = RANGE) -> str:
    """Give by how much a counter grew in the window, over all processes: what it is less what it was before.

    Exact: increase() extrapolates, and does not see what a series was born with: the first error of a kind, all that a
    process counted before its first export. It is left for a counter that began anew under the same labels.
    """
    now, before = f"last_over_time({series}[{window}])", f"last_over_time({series}[{_LOOK_BACK}] offset {window})"
    difference = f"({now} - ({before} or 0 * {now})) unless resets({series}[{window}]) > 0"
    return f"{_sum(by)} (({difference}) >= 0 or increase({series}[{window}]))"


def ratio(part: str, whole: str) -> str:
    """Give a share: 0 where nothing of the part was ever counted, and nothing where there is no whole."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def quantile(q: float, histogram: str, by: str = "", window: str = RATE) -> str:
    """Give a quantile of a histogram (``of("..._bucket")``) over all processes: never a mean of quantiles.

    Nothing where nothing was measured: that would be no number.
    """
    return f"histogram_quantile({q}, {_sum(f'le, {by}' if by else 'le')} (rate({histogram}[{window}]))) >= 0"


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"
