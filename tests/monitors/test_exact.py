"""100,000 events of known outcomes and latencies: counts equal, quantiles within 1 %, whatever is sampled."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any, Final

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, TraceIdRatioBased

from multiagents_otel import EventMonitor, instrument_event_bus
from multiagents_otel.monitors.figures import nearest_rank
from tests.bench.workload import QueueBus
from tests.contract.observed import Observed, series

EVENTS: Final = 100_000
_KINDS: Final = ("command", "result", "error", "compensation", "status", "other")
_CLASSES: Final = {
    "command": "CommandEvent",
    "result": "ResultEvent",
    "error": "ErrorEvent",
    "compensation": "CompensationEvent",
    "status": "StatusEvent",
    "other": "Event",
}


class Received:
    """Events as other processes published them, at known times, given to handlers of this process."""

    def __init__(self, bus: QueueBus) -> None:
        self.bus = bus
        self.fails = False
        self.latencies: list[float] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.chance = random.Random(4)

    async def handler(self, _data: dict[str, Any]) -> None:
        if self.fails:
            raise ValueError("declined")

    async def subscribe(self) -> None:
        for kind in _KINDS:
            await self.bus.subscribe(f"{kind}.x", self.handler)

    async def one(self, number: int, now_ns: int) -> None:
        chance = self.chance
        kind = chance.choice(_KINDS)
        latency = chance.lognormvariate(3, 1.5)  # ms
        fails, succeeds = chance.random() < 0.1, chance.random() < 0.8
        timeout = not succeeds and chance.random() < 0.5
        event: dict[str, Any] = {
            "id": f"event-{number}",
            "type": kind if kind != "other" else "mine",
            "metadata": {"transaction_id": f"tx-{number // 10}", "correlation_id": f"tx-{number // 10}.a"},
            "_otel": {"ts": now_ns - int(latency * 1e6)},
        }
        if kind == "result":
            event |= {"success": succeeds, "command_id": f"unknown-{number}"}
            event |= {"error_details": {"error_type": "timeout" if timeout else "ValueError"}}
        self.fails = fails
        for handler in self.bus.handlers[f"{kind}.x"]:
            try:
                await handler(event)
            except ValueError:
                assert fails
        outcome = "success"
        if kind == "result" and not succeeds:
            outcome = "timeout" if timeout else "error"
        elif fails or kind == "error":
            outcome = "error"
        self.counts[_CLASSES[kind], outcome] += 1
        self.latencies.append(int(latency * 1e6) / 1e6)


@pytest.mark.parametrize("sampler", [ALWAYS_ON, TraceIdRatioBased(0.01), ALWAYS_OFF], ids=["100 %", "1 %", "0 %"])
async def test_100_000_events_are_counted_and_their_latencies_told(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed = Observed(sampler)
    observed.tracers = type(observed.tracers)(sampler=sampler)  # nobody keeps 100,000 spans
    now_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns)
    monkeypatch.setattr("multiagents_otel.telemetry.delivery.perf_counter_ns", lambda: 0)  # handlers take no time
    observed.instrument()
    monitor, attached = EventMonitor(), EventMonitor()
    observed.tracers.add_span_processor(attached)
    bus = QueueBus()
    instrument_event_bus(bus)
    received = Received(bus)
    await received.subscribe()
    for number in range(EVENTS):
        await received.one(number, now_ns)

    metrics = await monitor.get_event_metrics()
    counts = received.counts
    outcomes = {name: sum(n for (_kind, outcome), n in counts.items() if outcome == name) for name in _OUTCOMES}
    assert metrics["total_events"] == EVENTS
    assert metrics["success_count"] == outcomes["success"]
    assert metrics["error_count"] == outcomes["error"] + outcomes["timeout"]
    assert metrics["events_by_status"] == {**outcomes, "pending": 0}
    assert metrics["success_rate"] == pytest.approx(100 * outcomes["success"] / EVENTS)
    assert metrics["success_rate"] + metrics["error_rate"] == pytest.approx(100)
    kinds = Counter({kind: sum(counts[kind, name] for name in _OUTCOMES) for kind in _CLASSES.values()})
    assert metrics["events_by_type"] == kinds
    assert metrics["avg_latency_ms"] == pytest.approx(sum(received.latencies) / EVENTS)
    for key, share in (("p50_latency_ms", 0.5), ("p95_latency_ms", 0.95), ("p99_latency_ms", 0.99)):
        assert metrics[key] == pytest.approx(nearest_rank(received.latencies, share), rel=0.01)
    for kind in _CLASSES.values():
        of_type = await monitor.get_event_type_metrics(kind)
        assert of_type["count"] == kinds[kind]
        assert of_type["success_count"] == counts[kind, "success"]
        assert of_type["error_count"] == counts[kind, "error"] + counts[kind, "timeout"]
        assert of_type["percentage"] == pytest.approx(100 * kinds[kind] / EVENTS)
    exported = observed.sums("multiagents.events")
    assert exported == {
        key: value
        for kind in _CLASSES.values()
        for key, value in {
            series(event__type=kind, status="success"): counts[kind, "success"],
            series(event__type=kind, status="error"): counts[kind, "error"] + counts[kind, "timeout"],
        }.items()
        if value
    }
    again = await attached.get_event_metrics()
    moving = ("throughput_per_minute", "metrics_collected_at")
    assert {key: value for key, value in again.items() if key not in moving} == {
        key: value for key, value in metrics.items() if key not in moving
    }, "a monitor that is a span processor too counts nothing twice"
    observed.close()


_OUTCOMES: Final = ("success", "error", "timeout")
