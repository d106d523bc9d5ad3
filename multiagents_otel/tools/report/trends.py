"""A period beside the one before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from multiagents_otel.tools.report.figures import DUPLICATED, UNDELIVERED, Figures, Timed
from multiagents_otel.tools.report.wording import NOTHING, estimate, number, percent

GOOD: Final = "good"
BAD: Final = "bad"

_NOTABLE: Final = 0.1
"""Of the value before: what is less is noise."""
_NOTABLE_SHARE: Final = 0.005


@dataclass(frozen=True)
class Trend:
    """A value now and before, as text. ``tone`` is ``good`` or ``bad`` where the change is worth a look."""

    name: str
    now: str
    before: str
    change: str
    tone: str = ""


def trends(now: Figures, before: Figures | None) -> list[Trend]:
    """Return the main figures beside those of the period before, if there was one."""
    return [
        _count("workflows ended", now, before, lambda each: each.ended, neutral=True),
        _share("workflow success", now, before, lambda each: each.success),
        *_times("workflow", now, before, lambda each: each.workflow_times, 50, 95, 99),
        _count("stalled workflows", now, before, lambda each: each.stalled),
        _count("compensations", now, before, lambda each: each.compensations),
        _count("worker executions", now, before, lambda each: each.executions, neutral=True),
        _share("worker success", now, before, lambda each: each.worker_success),
        *_times("queue time", now, before, lambda each: each.queue_times, 50, 95),
        _share("event success", now, before, lambda each: each.event_success),
        _count("undelivered events", now, before, lambda each: each.of_kind(UNDELIVERED)),
        _count("duplicated commands", now, before, lambda each: each.of_kind(DUPLICATED)),
    ]


def _count(
    name: str, now: Figures, before: Figures | None, value: Callable[[Figures], int], *, neutral: bool = False
) -> Trend:
    count = value(now)
    if before is None:
        return Trend(name, number(count), NOTHING, NOTHING)
    # Of a shorter period there are fewer: what would have been in one as long as now's.
    was = value(before) * now.period.length / before.period.length
    change, tone = _relative(count, was)
    return Trend(name, number(count), number(value(before)), change, "" if neutral else tone)


def _share(name: str, now: Figures, before: Figures | None, value: Callable[[Figures], float | None]) -> Trend:
    part, was = value(now), value(before) if before else None
    if part is None or was is None:
        return Trend(name, percent(part), percent(was), NOTHING)
    change = part - was
    tone = "" if abs(change) < _NOTABLE_SHARE else GOOD if change > 0 else BAD
    points = f"{change * 100:+.2f} points" if abs(change) >= 0.00005 else "same"
    return Trend(name, percent(part), percent(was), points, tone)


def _times(
    name: str, now: Figures, before: Figures | None, value: Callable[[Figures], Timed], *percentiles: float
) -> Iterable[Trend]:
    for each in percentiles:
        found, was = value(now).percentile(each), value(before).percentile(each) if before else None
        change, tone = _relative(found.value, was.value) if found and was else (NOTHING, "")
        yield Trend(f"{name} p{each}", estimate(found), estimate(was), change, tone)


def _relative(now: float, was: float) -> tuple[str, str]:
    """Return the change of something of which less is better."""
    if now == was:
        return "same", ""
    if not was:
        return "new", BAD
    change = now / was - 1
    tone = "" if abs(change) < _NOTABLE else BAD if change > 0 else GOOD
    return (f"{change:+.0%}".replace("%", " %") if change < 10 else f"x {now / was:.0f}"), tone
