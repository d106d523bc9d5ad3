"""Windows of the last minutes: their edges, and sums that stay those of an independent count."""

from __future__ import annotations

import math
import random
from typing import Any, NamedTuple

import pytest

from multiagents_otel.monitors.figures import Figures, nearest_rank, sum_of
from multiagents_otel.monitors.windows import Windows
from tests.monitors.conftest import Clock

SLOT = {True: 10, False: 60}


class Measured(NamedTuple):
    """One event of the independent count."""

    at: float
    name: str
    outcome: str
    latency: float


def slot_of(minutes: float) -> int:
    return 10 if minutes <= 10 else 60 if minutes <= 120 else 3600


def counted(events: list[Measured], minutes: float, now: float) -> list[Measured]:
    """What a window holds by its definition: from its start, rounded down to a slot, until now."""
    slot = slot_of(minutes)
    start = math.floor((now - minutes * 60) / slot) * slot
    return [event for event in events if event.at >= start]


def record(windows: Windows, clock: Clock, event: Measured) -> None:
    windows.advance(clock.now)
    figures = windows.figures(event.name)
    figures.seen += 1
    setattr(figures, event.outcome, getattr(figures, event.outcome) + 1)
    windows.measure(figures, event.latency)


def summary(figures: Figures) -> tuple[Any, ...]:
    return figures.seen, figures.success, figures.error, figures.timeout, round(figures.average, 6)


@pytest.mark.parametrize("seed", range(8))
def test_any_window_at_any_time_is_what_was_counted_independently(seed: int, clock: Clock) -> None:
    chance = random.Random(seed)
    windows = Windows(24)
    events: list[Measured] = []
    asked = [1, 5, 10, 10.5, 60, 120, 121, 600, 1440]
    for _ in range(400):
        clock.now += chance.choice([0, 0.5, 3, 9.99, 10, 61, 600, 3601]) * chance.random() * 2
        outcome = chance.choice(["success", "success", "error", "timeout"])
        event = Measured(clock.now, chance.choice("abc"), outcome, chance.lognormvariate(3, 1))
        events.append(event)
        record(windows, clock, event)
        if chance.random() < 0.5:
            continue
        for minutes in chance.sample(asked, 3):
            window = windows.window(minutes)
            expected = counted(events, minutes, clock.now)
            for name in "abc":
                of = [event for event in expected if event.name == name]
                mean = sum(event.latency for event in of) / len(of) if of else 0.0
                told = window.get(name, Figures())
                outcomes = [event.outcome for event in of]
                assert summary(told) == (
                    len(of),
                    outcomes.count("success"),
                    outcomes.count("error"),
                    outcomes.count("timeout"),
                    pytest.approx(mean, abs=1e-5),
                )
            latencies = [event.latency for event in expected]
            for share, value in zip((0.5, 0.95, 0.99), sum_of(window).quantiles(0.5, 0.95, 0.99), strict=True):
                assert value == pytest.approx(nearest_rank(latencies, share), rel=0.01)


@pytest.mark.parametrize(
    ("minutes", "slot"), [(1, 10), (10, 10), (11, 60), (120, 60), (121, 3600), (1440, 3600)], ids=str
)
def test_a_window_starts_at_the_slot_that_its_start_falls_into(minutes: float, slot: int, clock: Clock) -> None:
    windows = Windows(24)
    boundary = math.floor(clock.now / 3600) * 3600 + 7200.0
    clock.now = boundary - 0.001
    record(windows, clock, Measured(clock.now, "before", "success", 1.0))
    clock.now = boundary
    record(windows, clock, Measured(clock.now, "after", "success", 1.0))

    def seen() -> list[str]:
        windows.advance(clock.now)
        return sorted(name for name, figures in windows.window(minutes).items() if figures.seen)

    clock.now = boundary + minutes * 60 - 0.001
    assert seen() == ["after", "before"], "the start is in the slot before"
    clock.now = boundary + minutes * 60
    assert seen() == ["after"]
    # The start is in the slot of "after" for as long as that slot is.
    clock.now = boundary + minutes * 60 + slot - 0.001
    assert seen() == ["after"]
    clock.now = boundary + minutes * 60 + slot
    assert seen() == []


def test_a_clock_that_goes_back_counts_nothing_twice(clock: Clock) -> None:
    windows = Windows(24)
    for step in (0, 25, -20, 30, 15):
        clock.now += step
        record(windows, clock, Measured(clock.now, "a", "success", 1.0))
        assert windows.window(60)["a"].seen == windows.window(10)["a"].seen
    assert windows.window(60)["a"].seen == 5


def test_quantiles_are_nearest_rank_within_one_percent_over_fifteen_orders_of_magnitude() -> None:
    chance = random.Random(1)
    for size in (1, 2, 3, 19, 20, 21, 1000):
        values = [10 ** chance.uniform(-6, 9) for _ in range(size)]
        figures = Figures()
        for value in values:
            figures.measure(value)
        shares = (0.01, 0.5, 0.9, 0.95, 0.99, 1.0)
        for share, value in zip(shares, figures.quantiles(*shares), strict=True):
            assert value == pytest.approx(nearest_rank(values, share), rel=0.01)


def test_a_duration_of_zero_is_zero() -> None:
    figures = Figures()
    for value in (0.0, 0.0, 5.0):
        figures.measure(value)
    assert figures.quantiles(0.5) == [0.0]
    assert figures.average == pytest.approx(5 / 3)


def test_what_was_taken_back_after_its_slot_closed_is_in_no_window(clock: Clock) -> None:
    windows = Windows(24)
    figures = windows.figures("a")
    figures.success += 1
    clock.now += 25
    windows.advance(clock.now)
    assert windows.window(60)["a"].success == 1
    assert windows.take_back("a", figures, "success")
    assert [windows.window(minutes)["a"].success for minutes in (5, 60, 600)] == [0, 0, 0]
    assert not windows.take_back("a", Figures(), "success"), "what is not known is not changed"


@pytest.mark.parametrize("asked", [None, "60", -5, 0, float("nan"), float("inf"), True, []])
def test_a_window_that_can_be_none_is_an_hour_s(asked: object) -> None:
    assert Windows(24).minutes(asked) == 60
    assert Windows(24).minutes(10**400) == 1440, "no longer than what is kept"


def test_memory_of_many_windows_and_days_is_bounded(clock: Clock) -> None:
    windows = Windows(24)
    for minute in range(4_000):
        clock.now += 60
        record(windows, clock, Measured(clock.now, "a", "success", float(minute % 7)))
        windows.window(float(minute % 100 + 1))
    slots = [len(level.slots) for level in windows._levels]
    assert slots[0] <= 71
    assert slots[1] <= 131
    assert slots[2] <= 35
    assert len(windows._windows) <= 16
