"""Pieces of PromQL that the boards share: each says once how a kind of metric is read so that it tells the truth."""

from __future__ import annotations

from typing import Final

RATE: Final = "$__rate_interval"
"""The window of a graph's rate: four of the query's minimal steps or more, whatever the zoom."""
RANGE: Final = "$__range"
"""What the reader is looking at, from end to end."""

_LOOK_BACK: Final = "1h"  # a gap in the scrapes up to this long is no birth


def of(metric: str, *matchers: str) -> str:
    """Select a metric of the services that the reader chose."""
    chosen = ", ".join(('job=~"$job"', *matchers))
    return f"{metric}{{{chosen}}}"


def alive(gauge: str) -> str:
    """Give a gauge of the processes that live.

    The Collector repeats the last word of a process that was killed until the series expires. A living process is
    told by its probe of the event loop, which is counted once a second.
    """
    return f"({gauge} and on (job, instance) {_PROBED})"


_PROBED: Final = f"changes({of('multiagents_event_loop_lag_seconds_count')}[$alive]) > 0"

PROCESSES: Final = f"count by (job) ({_PROBED})"
"""Living processes of each service."""


def rate(series: str, by: str = "") -> str:
    """Give what is counted, per second, over all processes."""
    return f"{_sum(by)} (rate({series}[{RATE}]))"


def grown(series: str, by: str = "", window: str = RANGE) -> str:
    """Give by how much a counter grew in the window, over all processes.

    increase() does not see what a series was born with: the first error of a kind, all that a process counted before
    its first export. That is added, where the series was not there before the window.
    """
    born = f"min_over_time({series}[{window}]) unless present_over_time({series}[{_LOOK_BACK}] offset {window})"
    # A label tells both parts apart: "or" would drop one of them.
    return f'{_sum(by)} (increase({series}[{window}]) or label_replace({born}, "part", "born", "", ""))'


def ratio(part: str, whole: str) -> str:
    """Give a share: 0 where nothing of the part was ever counted, and nothing where there is no whole."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def quantile(q: float, histogram: str, by: str = "", window: str = RATE) -> str:
    """Give a quantile of a histogram (``of("..._bucket")``) over all processes: never a mean of quantiles."""
    return f"histogram_quantile({q}, {_sum(f'le, {by}' if by else 'le')} (rate({histogram}[{window}])))"


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"
