"""A user's own metrics: exact as aggregated and as exported, bounded whatever names, tags and values they come with."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics.export import Histogram

from multiagents_otel import MetricsCollector, MultiAgentsInstrumentor
from tests.contract.conftest import Clock, clock
from tests.contract.observed import Observed
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver

__all__ = ["clock"]

NOTHING: Final = {"count": 0, "avg": 0, "min": 0, "max": 0, "sum": 0, "latest": 0}
DECADES: Final = [*(step * 10.0**decade for decade in range(-3, 5) for step in (1, 2.5, 5)), 1e5]


@pytest.fixture
def observed() -> Iterator[Observed]:
    made = Observed().instrument()
    yield made
    made.close()


def points(observed: Observed, name: str) -> dict[frozenset[tuple[str, Any]], tuple[int, float]]:
    """Count and sum of a custom metric by attribute set."""
    metric = observed.metrics().get(f"multiagents.custom.{name}")
    return {frozenset(p.attributes.items()): (p.count, p.sum) for p in metric.data.data_points} if metric else {}


async def test_a_metric_is_a_histogram_with_its_tags_and_the_contract_s_buckets(observed: Observed) -> None:
    collector = MetricsCollector()
    await collector.record_metric("order_value", 299.99, {"customer_tier": "premium"})
    await collector.record_metric("order_value", 49.99, {"customer_tier": "standard"})
    await collector.record_metric("order_value", 50.01, {"customer_tier": "standard"})
    await collector.record_metric("plain", 1)
    assert points(observed, "order_value") == {
        frozenset({("customer_tier", "premium")}): (1, 299.99),
        frozenset({("customer_tier", "standard")}): (2, 100.0),
    }
    assert points(observed, "plain") == {frozenset(): (1, 1)}
    metric = observed.metrics()["multiagents.custom.plain"]
    assert isinstance(metric.data, Histogram)
    assert metric.data.data_points[0].explicit_bounds == pytest.approx(tuple(DECADES))
    assert await collector.get_metric_aggregations("order_value") == {
        "count": 3,
        "avg": pytest.approx(399.99 / 3),
        "min": 49.99,
        "max": 299.99,
        "sum": pytest.approx(399.99),
        "latest": 50.01,
    }


async def test_aggregations_are_of_exactly_that_name_and_always_have_latest() -> None:
    collector = MetricsCollector()
    await collector.record_metric("order", 1)
    await collector.record_metric("order_value", 2)
    assert (await collector.get_metric_aggregations("order"))["count"] == 1
    assert await collector.get_metric_aggregations("orde") == NOTHING
    assert await collector.get_metric_aggregations("never") == NOTHING


@pytest.mark.parametrize(
    ("minutes", "slot_seconds"), [(1, 10), (5, 10), (10, 10), (30, 60), (120, 60), (121, 3_600), (1_440, 3_600)]
)
async def test_windows_hold_what_they_should_across_their_edges(
    minutes: int, slot_seconds: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = MetricsCollector(retention_hours=48)
    chance = random.Random(minutes)
    told: list[tuple[float, float]] = []
    for _ in range(400):
        await clock.forward(chance.expovariate(100 / (minutes * 60)))
        value = chance.uniform(-5, 5)
        collector.record("figure", value)
        told.append((clock.monotonic(), value))
    monkeypatch.setattr("time.time", lambda: 0.0)  # the wall clock is moved: it is not asked
    now = clock.monotonic()
    start = math.floor((now - minutes * 60) / slot_seconds) * slot_seconds
    within = [value for at, value in told if at >= start]
    assert 50 < len(within) < 400
    assert await collector.get_metric_aggregations("figure", minutes) == {
        "count": len(within),
        "avg": pytest.approx(sum(within) / len(within)),
        "min": min(within),
        "max": max(within),
        "sum": pytest.approx(sum(within)),
        "latest": within[-1],
    }


async def test_what_is_older_than_the_retention_is_gone(clock: Clock) -> None:
    collector = MetricsCollector(retention_hours=2)
    collector.record("figure", 1)
    await clock.forward(4 * 3_600)
    collector.record("figure", 2)
    assert (await collector.get_metric_aggregations("figure", 100_000))["count"] == 1


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), "12", b"1", None, [1], {}, 10**400, object(), 1j]
)
async def test_what_is_no_number_is_left_out(observed: Observed, value: Any) -> None:
    collector = MetricsCollector()
    await collector.record_metric("figure", value)
    await collector.record_metric("figure", 1)
    assert (await collector.get_metric_aggregations("figure"))["count"] == 1
    assert points(observed, "figure") == {frozenset(): (1, 1)}


@pytest.mark.parametrize("value", [1.5, Decimal("1.5"), Fraction(3, 2)])
async def test_every_kind_of_number_counts(observed: Observed, value: Any) -> None:
    collector = MetricsCollector()
    await collector.record_metric("figure", value)
    assert points(observed, "figure") == {frozenset(): (1, 1.5)}
    assert (await collector.get_metric_aggregations("figure"))["latest"] == 1.5


async def test_below_zero_is_aggregated_and_not_exported_without_a_word(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    collector = MetricsCollector()
    await collector.record_metric("margin", -3)
    assert (await collector.get_metric_aggregations("margin"))["min"] == -3
    assert points(observed, "margin") == {}
    assert caplog.records == []


@pytest.mark.parametrize(
    ("name", "exported"),
    [
        ("Order Value (€)", "order_value____"),
        ("a/b.c-d_e", "a/b.c-d_e"),
        ("", "_"),
        ("x" * 900, "x" * 200),
        ("1st", "1st"),
        ("naïve\ud800", "na_ve_"),
    ],
)
async def test_names_become_what_opentelemetry_allows(
    observed: Observed, name: str, exported: str, caplog: pytest.LogCaptureFixture
) -> None:
    collector = MetricsCollector()
    await collector.record_metric(name, 1)
    assert points(observed, exported) == {frozenset(): (1, 1)}
    assert (await collector.get_metric_aggregations(name))["count"] == 1
    assert caplog.records == []


async def test_names_that_differ_in_case_alone_are_one_instrument_without_a_word(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    collector = MetricsCollector()
    await collector.record_metric("OrderValue", 1)
    await collector.record_metric("ordervalue", 2)
    assert points(observed, "ordervalue") == {frozenset(): (2, 3)}
    assert (await collector.get_metric_aggregations("ordervalue"))["count"] == 1
    assert caplog.records == []


async def test_names_that_run_wild_are_other_beyond_a_hundred(observed: Observed) -> None:
    collector = MetricsCollector()
    for number in range(300):
        await collector.record_metric(f"name-{number}", 1)
    custom = {name for name in observed.metrics() if name.startswith("multiagents.custom.")}
    assert custom == {f"multiagents.custom.name-{n}" for n in range(100)} | {"multiagents.custom._other"}
    assert points(observed, "_other") == {frozenset(): (200, 200)}
    assert (await collector.get_metric_aggregations("_OTHER"))["count"] == 200
    assert (await collector.get_metric_aggregations("name-99"))["count"] == 1


async def test_tags_that_run_wild_make_no_new_series_beyond_their_bounds(observed: Observed) -> None:
    collector = MetricsCollector()
    for number in range(30):
        await collector.record_metric("names", 1, {f"tag-{number}": "x"})
    assert {key for attributes in points(observed, "names") for key, _value in attributes} == {
        f"tag-{n}" for n in range(10)
    }
    for number in range(500):
        await collector.record_metric("values", 1, {"customer": number})
    told = points(observed, "values")
    assert len(told) == 201
    assert told[frozenset({("customer", "_OTHER")})] == (300, 300)
    for number in range(20_000):
        await collector.record_metric("sets", 1, {"a": number % 150, "b": number // 150})
    told = points(observed, "sets")
    assert len(told) == 1_001
    assert sum(count for count, _sum in told.values()) == 20_000


async def test_the_hour_and_odd_tags_are_no_attributes(observed: Observed) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

    collector = MetricsCollector()
    await collector.record_metric(
        "figure", 1, {"hour": "2026-11-24-11", "ok": True, "n": 1, "none": None, "odd": Odd()}
    )
    await collector.record_metric(
        "figure", 1, {"hour": "2026-11-24-12", "odd": Odd(), "none": None, "n": 1, "ok": True}
    )
    await collector.record_metric("long", 1, {"tag": "x" * 900, "bad": "\ud800"})
    await collector.record_metric("none", 1, "no tags")  # type: ignore[arg-type]
    expected = frozenset({("ok", "True"), ("n", "1"), ("none", "None"), ("odd", "Odd")})
    assert points(observed, "figure") == {expected: (2, 2)}
    assert points(observed, "long") == {frozenset({("tag", "x" * 200), ("bad", "?")}): (1, 1)}
    assert points(observed, "none") == {frozenset(): (1, 1)}


@pytest.mark.parametrize(
    ("tags", "attributes"),
    [
        ({"le": "berlin", "shop": "a"}, {"exported_le": "berlin", "shop": "a"}),
        (
            {"job": "j", "instance": "i", "quantile": "q"},
            {"exported_job": "j", "exported_instance": "i", "exported_quantile": "q"},
        ),
        ({"__name__": "up", "__x": 1}, {"_name__": "up", "_x": "1"}),
        ({"a.b": 1, "a_b": 2}, {"a.b": "1"}),
        ({"": 1, "\u00e9": 2, "__": 3, "kept": 4}, {"kept": "4"}),
        ({"le": 1, "exported_le": 2}, {"exported_le": "1"}),
    ],
)
async def test_tags_that_prometheus_sets_itself_get_other_names(
    observed: Observed, tags: dict[Any, Any], attributes: dict[str, str]
) -> None:
    await MetricsCollector().record_metric("tagged", 1, tags)
    assert points(observed, "tagged") == {frozenset(attributes.items()): (1, 1)}


async def test_names_that_are_one_in_prometheus_are_one_instrument(observed: Observed) -> None:
    collector = MetricsCollector()
    for name in ("checkout.time", "checkout_time", "checkout/time", "checkout__time"):
        await collector.record_metric(name, 2)
    assert points(observed, "checkout.time") == {frozenset(): (4, 8)}
    assert not {"multiagents.custom.checkout_time", "multiagents.custom.checkout/time"} & observed.metrics().keys()


async def test_secrets_in_tags_are_scrubbed(observed: Observed) -> None:
    collector = MetricsCollector()
    await collector.record_metric(
        "figure", 1, {"password": "hunter2", "note": "Bearer abcdefgh12345678", "tier": "premium"}
    )
    redacted = "***REDACTED***"
    assert points(observed, "figure") == {
        frozenset({("password", redacted), ("note", redacted), ("tier", "premium")}): (1, 1)
    }


async def test_threads_lose_nothing(observed: Observed) -> None:
    collector = MetricsCollector()

    def work(number: int) -> None:
        for _ in range(2_000):
            collector.record("figure", 1, {"thread": number})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (await collector.get_metric_aggregations("figure"))["sum"] == 12_000
    assert points(observed, "figure") == {frozenset({("thread", str(n))}): (2_000, 2_000) for n in range(6)}


async def test_another_provider_gets_what_is_recorded_from_then_on(observed: Observed) -> None:
    collector = MetricsCollector()
    await collector.record_metric("figure", 1)
    MultiAgentsInstrumentor().uninstrument()
    await collector.record_metric("figure", 1)  # nobody's: there is no global provider
    other = Observed().instrument()
    await collector.record_metric("figure", 5)
    assert points(observed, "figure") == {frozenset(): (1, 1)}
    assert points(other, "figure") == {frozenset(): (1, 5)}
    assert (await collector.get_metric_aggregations("figure"))["count"] == 3
    other.close()


def test_without_instrumentation_the_application_s_own_provider_gets_them() -> None:
    code = """
import asyncio
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from multiagents_otel import MetricsCollector
collector = MetricsCollector()
asyncio.run(collector.record_metric("early", 1))
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
asyncio.run(collector.record_metric("early", 2))
asyncio.run(collector.record_metric("late", 3))
(told,) = [s for r in reader.get_metrics_data().resource_metrics for s in r.scope_metrics]
print(told.scope.name, {m.name: [p.sum for p in m.data.data_points] for m in told.metrics})
"""
    with Process.python(code) as process:
        assert (
            "multiagents_otel {'multiagents.custom.early': [2.0], 'multiagents.custom.late': [3.0]}"
            in process.wait_ok()
        )


def test_they_arrive_over_otlp() -> None:
    code = """
import asyncio
from multiagents_otel import MetricsCollector, auto_instrument
auto_instrument()
asyncio.run(MetricsCollector().record_metric("order_value", 299.99, {"customer_tier": "premium"}))
"""
    with OtlpReceiver() as receiver:
        with Process.python(code, env=receiver.environment("http/protobuf")) as process:
            process.wait_ok()
        (point,) = receiver.metric("multiagents.custom.order_value")
    assert (point.count, point.sum, point.attributes) == (1, 299.99, {"customer_tier": "premium"})


def test_a_collector_is_made_without_a_loop() -> None:
    collector = MetricsCollector()
    collector.record("figure", 1)

    async def count() -> float:
        return (await collector.get_metric_aggregations("figure"))["count"]

    assert asyncio.run(count()) == 1
    assert metrics.get_meter_provider() is not None
