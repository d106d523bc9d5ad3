"""``multiagents-otel show``: the table of metrics."""

from __future__ import annotations

import pytest

from tests.cli.otlp_lines import (
    HAPPY,
    ORDERS,
    START,
    WORKER_A,
    WORKER_B,
    Data,
    attributes,
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


@pytest.mark.parametrize(
    ("bounds", "counts", "quantiles"),
    [
        ([10, "Infinity"], [0, 2, 0], ">10.0 s >10.0 s"),
        (["-Infinity", 10], [0, 2, 0], "- -"),
        (["NaN", 10], [0, 2, 0], "- -"),
    ],
)
def test_a_bound_that_is_not_finite_makes_no_quantile(
    show: Show, bounds: list[object], counts: list[int], quantiles: str
) -> None:
    content = {"count": 2, "sum": 99.0, "bucketCounts": counts, "explicitBounds": bounds}
    shown = show([metrics(histogram("a.time", point(content)))])
    assert numbers(shown.out, "a.time") == [f"a.time s 2 1m 39s 49.5 s - {quantiles} -"]


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


def _of(resource: Data, *entries: Data, scope: Data | None = None) -> Data:
    group = {"scope": scope or {}, "metrics": list(entries)}
    return {"resourceMetrics": [{"resource": {"attributes": attributes(resource)}, "scopeMetrics": [group]}]}


def _gauge(name: str, amount: int) -> Data:
    return {"name": name, "gauge": {"dataPoints": [point({"asInt": amount})]}}


def test_processes_without_an_instance_id_are_distinguished_by_their_resource(show: Show) -> None:
    shown = show(
        [
            _of(
                {"service.name": "s", "host.name": "h", "container.id": "a"},
                _gauge("g", 1),
                total("c", point({"asInt": 1})),
            ),
            _of(
                {"service.name": "s", "host.name": "h", "container.id": "b"},
                _gauge("g", 10),
                total("c", point({"asInt": 10})),
            ),
        ]
    )
    assert numbers(shown.out, "g") == ["g", "process container.id=a 1", "process container.id=b 10"]
    assert numbers(shown.out, "c ") == ["c {event} sum of 2 processes 11"]
    assert "s (2 processes)" in shown.out


def test_one_instance_id_for_all_pods_does_not_make_them_one(show: Show) -> None:
    same = {"service.name": "s", "service.instance.id": "1"}
    shown = show([_of({**same, "k8s.pod.name": pod}, total("c", point({"asInt": 5}))) for pod in ("p-0", "p-1")])
    assert numbers(shown.out, "c ") == ["c {event} sum of 2 processes 10"]


def test_the_order_of_attributes_makes_no_other_process(show: Show) -> None:
    one, other = {"service.name": "s", "a": 1, "b": 2}, {"b": 2, "a": 1, "service.name": "s"}
    shown = show(
        [_of(one, total("c", point({"asInt": 5}, time=1))), _of(other, total("c", point({"asInt": 6}, time=2)))]
    )
    assert numbers(shown.out, "c ") == ["c {event} 6"]


def test_instance_ids_are_shown_as_far_as_they_differ(show: Show) -> None:
    shown = show([_of({"service.instance.id": f"orders-production-{n}"}, _gauge("g", n)) for n in (1, 2)])
    assert numbers(shown.out, "g") == ["g", "process orders-production-1 1", "process orders-production-2 2"]


def test_gauges_of_two_scopes_are_two(show: Show) -> None:
    lines = [_of({}, _gauge("g", n), scope={"name": "lib", "version": str(n)}) for n in (1, 2)]
    assert numbers(show(lines).out, "g") == ["g", "scope lib 1 1", "scope lib 2 2"]


def test_values_of_other_types_make_other_series(show: Show) -> None:
    labels: list[Data] = [{"a": 1}, {"a": True}, {"a": "1"}, {"a": 1.0}]
    points = [point({"asInt": 2**n}, label) for n, label in enumerate(labels)]
    nan = {**point({"asInt": 16}), "attributes": [{"key": "a", "value": {"doubleValue": "NaN"}}]}
    later = {**nan, "timeUnixNano": str(START + 99), "asInt": 32}
    shown = show([metrics(total("c", *points, nan)), metrics(total("c", later))])
    assert sorted(numbers(shown.out, "c ")) == ["a=1 1", "a=1 4", "a=1.0 8", "a=nan 32", "a=true 2", "c {event}"]


def test_deltas_without_times_are_all_counted(show: Show) -> None:
    entry: Data = {"name": "c", "sum": {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": [{"asInt": 3}]}}
    assert numbers(show([metrics(entry), metrics(entry)]).out, "c") == ["c 6"]


def test_a_point_without_a_number_is_not_0(show: Show) -> None:
    shown = show([metrics(total("c", point({"asInt": "5"}, time=1)), total("c", point({"asInt": None}, time=9)))])
    assert numbers(shown.out, "c ") == ["c {event} 5"]


@pytest.mark.parametrize("scale", [-(2**31), -11, 21, 2**31 - 1])
def test_exponential_histograms_of_any_scale(show: Show, scale: int) -> None:
    content = {
        "count": "3", "sum": 3.0, "scale": scale, "zeroCount": "1", "positive": {"offset": -1, "bucketCounts": [1, 1]},
    }  # fmt: skip
    shown = show([metrics({"name": "h", "unit": "By", "exponentialHistogram": {"dataPoints": [point(content)]}})])
    assert shown.err == ""
    assert numbers(shown.out, "h")[0].startswith("h By 3 3 B 1 B")
