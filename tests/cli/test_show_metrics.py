"""``multiagents-otel show``: the table of metrics."""

from __future__ import annotations

import pytest

from tests.cli.otlp_lines import (
    HAPPY,
    ORDERS,
    WORKER_A,
    WORKER_B,
    Data,
    histogram,
    metrics,
    point,
    total,
)
from tests.cli.shown import Show, Shown, numbers


def test_the_table_of_metrics(show: Show) -> None:
    duration = {
        "count": "4", "sum": 0.5, "min": 0.02, "max": 0.3,
        "bucketCounts": ["0", "2", "1", "1"], "explicitBounds": [0.01, 0.1, 0.25],
    }  # fmt: skip
    lines = [
        metrics(
            total(
                "multiagents.events",
                point({"asInt": "12"}, {"event.type": "CommandEvent", "status": "success"}),
                point({"asInt": "1"}, {"event.type": "CommandEvent", "status": "error"}),
                point({"asInt": "0"}, {"event.type": "ResultEvent", "status": "error"}),
                point({"asInt": "0"}, {"event.type": "ErrorEvent", "status": "error"}),
            ),
            total("multiagents.workflow.stalls", point({"asInt": "0"}, {"workflow.id": "order"})),
            {"name": "cpu", "unit": "%", "gauge": {"dataPoints": [point({"asDouble": 12.5})]}},
            {"name": "waiting", "gauge": {"dataPoints": [point({"asInt": "0"})]}},
            {"name": "multiagents.event_bus.listener.active", "gauge": {"dataPoints": [point({"asInt": "0"})]}},
            histogram("multiagents.worker.duration", point(duration, {"worker.name": "charge"})),
        )
    ]
    # At 0, a listener is the news itself.
    assert show(lines) == Shown(
        0,
        """\
Metrics  orders (1 process) · as of 2026-01-01 00:00:00.000 UTC

                                             value
  cpu  %                                    12.5 %
  multiagents.event_bus.listener.active          0
  multiagents.events  {event}
    event.type=CommandEvent status=error         1
    event.type=CommandEvent status=success      12

                            count     sum     avg      min      p50      p95     max
  multiagents.worker.duration  s
    worker.name=charge          4  500 ms  125 ms  20.0 ms  ~100 ms  ~290 ms  300 ms

4 series at 0 are not shown (--all shows them)
""",
        "",
    )
    assert show(lines, "--all") == Shown(
        0,
        """\
Metrics  orders (1 process) · as of 2026-01-01 00:00:00.000 UTC

                                             value
  cpu  %                                    12.5 %
  multiagents.event_bus.listener.active          0
  multiagents.events  {event}
    event.type=CommandEvent status=error         1
    event.type=CommandEvent status=success      12
    at 0: event.type=ErrorEvent status=error; event.type=ResultEvent status=error
  multiagents.workflow.stalls  {event}
    workflow.id=order                            0
  waiting                                        0

                            count     sum     avg      min      p50      p95     max
  multiagents.worker.duration  s
    worker.name=charge          4  500 ms  125 ms  20.0 ms  ~100 ms  ~290 ms  300 ms
""",
        "",
    )


def test_cumulative_sums_take_the_latest_point_and_add_processes(show: Show) -> None:
    shown = show(
        [
            metrics(total("a.counter", point({"asInt": "5"}, time=10)), process=WORKER_A),
            metrics(total("a.counter", point({"asInt": "9"}, time=30)), process=WORKER_A),
            metrics(total("a.counter", point({"asInt": "7"}, time=20)), process=WORKER_A),  # late
            metrics(total("a.counter", point({"asInt": "100"}, time=15)), process=WORKER_B),
        ]
    )
    assert numbers(shown.out, "a.counter") == ["a.counter {event} sum of 2 processes 109"]


def test_a_counter_that_restarts_keeps_what_it_had_counted_but_a_level_does_not(show: Show) -> None:
    before, after = point({"asInt": "5"}, start=1, time=10), point({"asInt": "2"}, start=20, time=30)
    lines = [
        metrics(total("a.counter", before), total("a.level", before, monotonic=False)),
        metrics(total("a.counter", after), total("a.level", after, monotonic=False)),
    ]
    shown = show(lines)
    assert numbers(shown.out, "a.counter") == ["a.counter {event} 7"]
    assert numbers(shown.out, "a.level") == ["a.level {event} 2"]


@pytest.mark.parametrize("temporality", [1, "AGGREGATION_TEMPORALITY_DELTA"])
def test_deltas_are_summed_and_counted_once(show: Show, temporality: object) -> None:
    def line(start: int, amount: int) -> Data:
        distribution = {
            "count": str(amount), "sum": float(amount), "bucketCounts": [str(amount), 0], "explicitBounds": [2],
        }  # fmt: skip
        return metrics(
            total("a.counter", point({"asInt": amount}, start=start, time=start + 10), temporality=temporality),
            histogram("a.time", point(distribution, start=start, time=start + 10), temporality=temporality),
        )

    shown = show([line(0, 3), line(10, 4), line(10, 4)])
    assert numbers(shown.out, "a.counter") == ["a.counter {event} 7"]
    assert numbers(shown.out, "a.time")[0].startswith("a.time s 7 7.00 s 1.00 s")


def test_histograms_of_several_processes_are_added(show: Show) -> None:
    def line(process: tuple[str, str], counts: list[int], low: float, high: float) -> Data:
        content = {
            "count": sum(counts), "sum": 1.0, "min": low, "max": high, "bucketCounts": counts, "explicitBounds": [1, 2],
        }  # fmt: skip
        return metrics(histogram("a.time", point(content)), process=process)

    shown = show([line(WORKER_A, [10, 0, 0], 0.1, 0.9), line(WORKER_B, [0, 10, 0], 1.1, 1.9)])
    assert numbers(shown.out, "a.time") == [
        "a.time s sum of 2 processes 20 2.00 s 100 ms 100 ms ~1.00 s ~1.90 s 1.90 s"
    ]


def test_a_quantile_beyond_the_last_bound_is_not_invented(show: Show) -> None:
    content = {"count": 2, "sum": 99.0, "bucketCounts": [0, 2], "explicitBounds": [10]}
    shown = show([metrics(histogram("a.time", point(content)))])
    assert numbers(shown.out, "a.time") == ["a.time s 2 1m 39s 49.5 s - >10.0 s >10.0 s -"]


def test_histograms_with_other_bounds_are_added_without_quantiles(show: Show) -> None:
    one = {"count": 1, "sum": 1.0, "bucketCounts": [1, 0], "explicitBounds": [1]}
    other = {"count": 1, "sum": 1.0, "bucketCounts": [1, 0], "explicitBounds": [2]}
    lines = [
        metrics(histogram("a.time", point(one)), process=WORKER_A),
        metrics(histogram("a.time", point(other)), process=WORKER_B),
    ]
    assert numbers(show(lines).out, "a.time") == ["a.time s sum of 2 processes 2 2.00 s 1.00 s - - - -"]


def test_exponential_histograms_of_different_scales_are_added(show: Show) -> None:
    def line(process: tuple[str, str], scale: int, offset: int, counts: list[int]) -> Data:
        content = {
            "count": str(sum(counts)), "sum": 12.0, "min": 1.5, "max": 4.0, "scale": scale, "zeroCount": "0",
            "positive": {"offset": offset, "bucketCounts": [str(count) for count in counts]},
        }  # fmt: skip
        entry = {"aggregationTemporality": 2, "dataPoints": [point(content)]}
        return metrics({"name": "a.size", "unit": "By", "exponentialHistogram": entry}, process=process)

    # Scale 0: (1, 2] and (2, 4]. Scale 1: (2, 2.83] and (2.83, 4], which is (2, 4] of scale 0.
    shown = show([line(WORKER_A, 0, 0, [2, 2]), line(WORKER_B, 1, 2, [2, 2])])
    assert numbers(shown.out, "a.size") == ["a.size By sum of 2 processes 8 24 B 3 B 1.5 B ~2.667 B ~3.867 B 4 B"]


def test_gauges_are_not_added(show: Show) -> None:
    def line(process: tuple[str, str], number: float) -> Data:
        return metrics(
            {"name": "cpu", "unit": "%", "gauge": {"dataPoints": [point({"asDouble": number})]}}, process=process
        )

    two = show([line(WORKER_A, 10.0), line(WORKER_B, 20.0), line(WORKER_A, 30.0)])
    assert numbers(two.out, "cpu") == ["cpu %", "process aaaa0000 30 %", "process bbbb0000 20 %"]
    crowd = show([line(("workers", str(n)), float(n)) for n in range(9)])
    assert numbers(crowd.out, "cpu") == ["cpu %", "over 9 processes 0 % to 8 %"]


def test_services_are_kept_apart(show: Show) -> None:
    shown = show([metrics(total("c", point({"asInt": n})), process=p) for n, p in ((1, ORDERS), (2, WORKER_A))])
    assert numbers(shown.out, "c ") == ["c {event}", "[orders] 1", "[workers] 2"]


def test_a_point_without_a_value_is_left_out(show: Show) -> None:
    shown = show([metrics(total("c", point({"asInt": "5"}, time=1)), total("c", point({"flags": 1}, time=9)))])
    assert numbers(shown.out, "c ") == ["c {event} 5"]


def test_metrics_can_be_left_out(show: Show) -> None:
    lines = [*HAPPY, metrics(total("c", point({"asInt": "5"})))]
    assert "Metrics" in show(lines).out
    assert "Metrics" not in show(lines, "--no-metrics").out
    assert show(lines[1:], "--no-metrics").status == 1


def test_only_the_metrics_asked_for_are_shown(show: Show) -> None:
    lines = [*HAPPY, metrics(*(total(name, point({"asInt": "5"})) for name in ("a.size", "a.count", "b.size")))]
    shown = show(lines, "--metric", "a.*", "--metric", "b.size").out
    assert [numbers(shown, name) for name in ("a.size", "a.count", "b.size")] == [
        ["a.size {event} 5"],
        ["a.count {event} 5"],
        ["b.size {event} 5"],
    ]
    some = show(lines, "--metric", "?.size").out
    assert "b.size" in some
    assert "a.count" not in some
    assert "workflow" in some  # traces as ever


def test_a_metric_that_is_not_there_is_told(show: Show) -> None:
    lines = [*HAPPY, metrics(total("c", point({"asInt": "5"})))]
    assert show(lines, "--metric", "d", "--metric", "e.*") == Shown(
        1, "", "multiagents-otel show: there is no metric d or e.*\n"
    )
