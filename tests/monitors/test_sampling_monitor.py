"""What a SamplingEventMonitor keeps: every count, the traces of a share of transactions, and all failures."""

from __future__ import annotations

from typing import Any

import pytest

from multiagents_otel import SamplingEventMonitor
from tests.contract.observed import Observed
from tests.support.sagas import order_payload, order_system

ORDERS = 60


async def _orders(monitor: SamplingEventMonitor, **payload: Any) -> list[str]:
    async with order_system(monitors=False) as system:
        transactions = [await system.run(order_payload(**payload)) for _ in range(ORDERS)]
        await system.bus.drain()
    return transactions


async def _traced(monitor: SamplingEventMonitor, transactions: list[str]) -> dict[str, int]:
    return {t: len(trace) for t in transactions if (trace := await monitor.get_transaction_trace(t))}


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
async def test_a_share_of_transactions_is_traced_whole_and_every_event_counted(observed: Observed, rate: float) -> None:
    observed.instrument()
    monitor, everything = SamplingEventMonitor(sample_rate=rate), SamplingEventMonitor(sample_rate=1.0)
    transactions = await _orders(monitor)
    whole, traced = await _traced(everything, transactions), await _traced(monitor, transactions)
    assert len(whole) == ORDERS
    assert traced == {transaction: whole[transaction] for transaction in traced}
    if rate in (0.0, 1.0):
        assert len(traced) == rate * ORDERS
    else:
        assert 0 < len(traced) < ORDERS
        again = SamplingEventMonitor(sample_rate=rate)  # another process keeps the same ones
        for transaction in transactions:
            event = {"id": f"{transaction}.1", "type": "status", "metadata": {"transaction_id": transaction}}
            await again.track_event_lifecycle(event, "published")
        assert (await _traced(again, transactions)).keys() == traced.keys()
    told = [(await one.get_event_metrics())["events_by_type"] for one in (monitor, everything)]
    assert told[0] == told[1]
    assert told[0]["CommandEvent"] == 3 * ORDERS


async def test_what_fails_is_traced_from_its_failure_on_at_0_percent(observed: Observed) -> None:
    observed.instrument()
    monitor = SamplingEventMonitor(sample_rate=0)
    transactions = await _orders(monitor, fail_at="ship_order")
    traced = await _traced(monitor, transactions)
    assert traced.keys() == set(transactions)
    trace = await monitor.get_transaction_trace(transactions[0])
    assert trace[0]["stage"] == "error"
    assert trace[0]["name"] == "command.ship_order"


@pytest.mark.parametrize("where", ["top", "metadata"])
async def test_a_critical_event_by_hand_has_its_transaction_traced(where: str) -> None:
    monitor = SamplingEventMonitor(sample_rate=0)
    event: dict[str, Any] = {"id": "1", "type": "command", "metadata": {"transaction_id": "TX-1"}}
    (event if where == "top" else event["metadata"])["priority"] = "critical"
    await monitor.track_event_lifecycle(event, "published")
    await monitor.track_event_lifecycle({"id": "2", "type": "status", "metadata": {"transaction_id": "TX-1"}}, "sent")
    await monitor.track_event_lifecycle({"id": "3", "type": "status", "metadata": {"transaction_id": "TX-2"}}, "sent")
    assert [entry["stage"] for entry in await monitor.get_transaction_trace("TX-1")] == ["published", "sent"]
    assert await monitor.get_transaction_trace("TX-2") == []


@pytest.mark.parametrize("rate", ["0.5", None, float("nan"), -1, 7])
async def test_an_impossible_rate_is_no_error(rate: Any) -> None:
    monitor = SamplingEventMonitor(sample_rate=rate, max_trace_history=10)
    assert monitor.sample_rate == (1.0 if rate == 7 else 0.1)
    await monitor.track_event_lifecycle(object(), "published")
    assert monitor.max_trace_history == 10
