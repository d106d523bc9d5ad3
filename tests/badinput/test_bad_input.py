"""Bad input: whatever comes as an event, a carrier or a saved identity, nothing is raised and no other trace breaks.

Every event is made from a seed that the failing test names. The guard is not strict here, because the framework
would swallow what it raises: faults of ours are seen in their metric instead.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import json
import logging
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from multiagents.event_bus.interface import IEventBus
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from multiagents_otel import MultiAgentsInstrumentor
from tests.catalogue.recording import Recording, recording
from tests.support import badinput
from tests.support.buses import MemoryStore
from tests.support.deadline import DEADLINE
from tests.support.expected import COMPLETED
from tests.support.sagas import OrderSystem, order_payload, order_system, order_workers
from tests.support.trees import by_trace, tree

pytestmark = pytest.mark.faults

SEEDS: Final = range(20)
EVENTS: Final = 60
CARRIER: Final = "_otel"
NAMES: Final = (
    "command.validate_order",
    "result.validate_order",
    "compensation.x",
    "status.workflow",
    "user.event",
    "é",
    "",
    badinput.SURROGATE,
    f"command.{badinput.SURROGATE}",
)


class ObjectBus(IEventBus):
    """Hands on the very objects that it is given, without JSON in between, as a bus within one process may."""

    def __init__(self) -> None:
        self.handlers: defaultdict[str, list[Any]] = defaultdict(list)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def subscribe(self, event_type: str, handler: Any) -> None:
        self.handlers[event_type].append(handler)

    async def unsubscribe(self, event_type: str, handler: Any) -> None:
        self.handlers[event_type].remove(handler)

    async def publish(self, event_type: str, event_data: Any) -> None:
        await self.receive(event_type, event_data)

    async def receive(self, event_type: str, event_data: Any) -> None:
        """What a peer sent comes in."""
        for handler in tuple(self.handlers[event_type]):
            result = handler(event_data)
            if inspect.isawaitable(result):
                await result


@asynccontextmanager
async def busy_system() -> AsyncIterator[tuple[ObjectBus, OrderSystem, list[Any]]]:
    """The order system, and two handlers of the user's for each event type."""
    bus, seen = ObjectBus(), list[Any]()

    async def first(event: Any) -> None:
        seen.append(event)

    def second(event: Any) -> None:
        seen.append(event)

    async with order_system(bus, MemoryStore(), monitors=False) as system:
        for name in NAMES:
            await bus.subscribe(name, first)
            await bus.subscribe(name, second)
        yield bus, system, seen


async def settled() -> None:
    """Wait until every task but this one is done."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        _done, pending = await asyncio.wait(others, timeout=DEADLINE)
        assert not pending


def assert_healthy(record: Recording, caplog: pytest.LogCaptureFixture) -> None:
    """No fault of ours, nothing open, nothing logged, and every signal can be exported."""
    assert record.counts("multiagents.otel.errors") == {}
    assert record.open.names == []
    encode_spans(record.spans).SerializeToString()
    data = record.reader.get_metrics_data()
    assert data is not None
    encode_metrics(data).SerializeToString()
    encode_logs(record.log_exporter.get_finished_logs()).SerializeToString()
    # The exporter's complaints of an attribute that it leaves out are among these.
    ours = [r for r in caplog.records if r.name.startswith(("opentelemetry", "multiagents_otel"))]
    true = ("a result of worker", "the clocks of two processes")  # stamps that can't be are those of a wrong clock
    assert [r.getMessage() for r in ours if not r.getMessage().startswith(true)] == []
    for name, series in record.metrics().items():
        for value in series.values():
            numbers = value if isinstance(value, tuple) else (value,)
            assert all(0 <= number < 1e18 for number in numbers), (name, series)  # false for NaN too


async def assert_a_workflow_is_whole(record: Recording, system: OrderSystem) -> None:
    before = set(by_trace(record.spans))
    await system.wait_ended(await system.run(order_payload()))
    await settled()
    (trace,) = [spans for trace_id, spans in by_trace(record.spans).items() if trace_id not in before]
    assert tree(trace) == COMPLETED


@pytest.mark.parametrize("detailed_timing", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
async def test_bad_events_and_carriers_raise_nothing_and_break_no_other_trace(
    seed: int, detailed_timing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    pick = random.Random(seed)
    caplog.set_level(logging.DEBUG)
    with recording(detailed_timing=detailed_timing, messaging_metrics=True) as record:
        async with busy_system() as (bus, system, seen):
            for _ in range(EVENTS):
                event, name = badinput.event(pick), pick.choice(NAMES)
                seen.clear()
                if pick.random() < 0.5:
                    before = repr(event)
                    await bus.publish(name, event)
                    assert repr(event) == before, "the caller's event is as it was"
                else:
                    event[CARRIER] = badinput.carrier(pick)
                    await bus.receive(name, event)
                    assert seen[0] is event
                assert len(seen) == 2
                assert all(CARRIER not in handed for handed in seen)
            await settled()
            system.orchestrator.active_workflows.clear()
            for name in NAMES:
                del bus.handlers[name][-2:]
            if detailed_timing:
                await assert_a_workflow_is_whole(record, system)
        assert_healthy(record, caplog)


# As without us: the framework makes the coroutine, and wait_for raises before it awaits it.
@pytest.mark.filterwarnings("ignore:coroutine .*process' was never awaited:RuntimeWarning")
@pytest.mark.parametrize("timeout", [badinput.HUGE, float("inf"), float("nan"), -1, 1e300, "7", True, None, [7]])
async def test_a_command_with_an_impossible_timeout_is_a_span_like_any_other(
    timeout: Any, caplog: pytest.LogCaptureFixture
) -> None:
    metadata = {"transaction_id": "t", "correlation_id": "t.s", "source": "test"}
    command = {"id": "1", "type": "command", "metadata": metadata, "payload": {}, "worker_type": "validate_order"}
    with recording() as record:
        async with busy_system() as (bus, _system, _seen):
            await bus.publish("command.validate_order", {**command, "timeout_seconds": timeout})
            await settled()
        assert_healthy(record, caplog)
    sent = [span for span in record.spans if span.name == "send command.validate_order"]
    processed = [span for span in record.spans if span.name == "process command.validate_order"]
    assert len(sent) == 1
    assert len(processed) == 3, "the worker manager's and the user's two"


Change = Callable[[dict[str, Any]], Any]


def _saved(name: str, value: Any, step: bool) -> Change:
    def change(good: dict[str, Any]) -> dict[str, Any]:
        kept = good[CARRIER]
        return {CARRIER: {**kept, "step": {**kept["step"], name: value}} if step else {**kept, name: value}}

    return change


_BAD_ATTRIBUTES: Final[tuple[Any, ...]] = (badinput.HUGE, badinput.SURROGATE, [[1]], [1, "x"], {}, None)
_NO_ATTRIBUTES: Final[tuple[Any, ...]] = ([["a", 1]], "ab", 7, {badinput.SURROGATE: 1})
_BAD_STARTS: Final[tuple[Any, ...]] = (-1, 0, badinput.HUGE, 1.5, "1", True, None)
_BAD_SPAN_IDS: Final[tuple[Any, ...]] = ("0" * 16, "-1", "f" * 17, "zz", 7, None)
_BAD_NAMES: Final[tuple[Any, ...]] = (badinput.SURROGATE, "", 7, "x" * 300)
_BAD_DECISIONS: Final[tuple[Any, ...]] = (3, -1, "x", [])

DIRECTED: Final[list[Change]] = [
    *(_saved("span_id", value, True) for value in _BAD_SPAN_IDS),
    *(_saved("start", value, step) for value in _BAD_STARTS for step in (True, False)),
    *(_saved("name", value, True) for value in _BAD_NAMES),
    *(_saved("workflow", value, False) for value in _BAD_NAMES),
    *(_saved("tracestate", value, False) for value in badinput.STATES),
    *(_saved("attributes", {"a": value}, False) for value in _BAD_ATTRIBUTES),
    *(_saved("attributes", value, False) for value in _NO_ATTRIBUTES),
    *(_saved("decision", value, False) for value in _BAD_DECISIONS),
]


@pytest.mark.parametrize("bad", [*SEEDS, *DIRECTED])
async def test_a_bad_identity_in_the_store_breaks_no_workflow(
    bad: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saga's metadata comes from a store that others write to as well."""
    change = bad if callable(bad) else functools.partial(_bad_metadata, random.Random(bad))
    caplog.set_level(logging.DEBUG)
    store = MemoryStore()
    gate = asyncio.Event()
    workers = order_workers()
    process = workers[1].process

    async def gated(payload: dict[str, Any]) -> dict[str, Any]:
        await gate.wait()
        return await process(payload)

    monkeypatch.setattr(workers[1], "process", gated)
    with recording() as record:
        async with order_system(ObjectBus(), store, workers=workers, monitors=False) as system:
            transaction = await system.run(order_payload())
            while "charge" not in store.rows[transaction].partition('"current_step"')[2][:20]:
                await asyncio.sleep(0)
            row = json.loads(store.rows[transaction])
            row["metadata"] = json.loads(json.dumps(change(row["metadata"]), skipkeys=True, default=str))
            another_process()
            system.orchestrator.active_workflows.clear()

            async def load_context(_transaction: str) -> Any:
                return copy.deepcopy(row)

            monkeypatch.setattr(store, "load_context", load_context)
            gate.set()
            await settled()
            assert system.orchestrator.active_workflows.get(transaction) is None
            monkeypatch.undo()
            await assert_a_workflow_is_whole(record, system)
        assert_healthy(record, caplog)


def another_process() -> None:
    """As if another process had started what is under way."""

    active = MultiAgentsInstrumentor._active
    assert active is not None
    active.workflows.clear()


def _bad_metadata(pick: random.Random, good: dict[str, Any]) -> Any:
    kept = dict(good[CARRIER])
    if pick.random() < 0.2:
        return pick.choice(({}, {CARRIER: badinput.value(pick)}, {CARRIER: badinput.carrier(pick)}))
    for name in pick.sample(sorted(kept), pick.randrange(1, 4)):
        kept[name] = badinput.value(pick)
    if pick.random() < 0.5 and isinstance(good[CARRIER].get("step"), dict):
        step = dict(good[CARRIER]["step"])
        step[pick.choice(sorted(step))] = badinput.value(pick)
        kept["step"] = step
    for name in ("tracestate", "parent", "link", "attributes"):
        if pick.random() < 0.3:
            kept[name] = badinput.value(pick)
    return {CARRIER: kept}


@pytest.mark.parametrize(
    "carrier",
    [
        None,
        7,
        [],
        [1],
        {"a": {"b": {}}},
        "x" * (1 << 20),
        {"traceparent": "x" * (1 << 20)},
        {str(n): "x" for n in range(10_000)},
    ],
)
async def test_a_carrier_of_another_kind_is_a_new_root_without_a_word(
    carrier: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with recording() as record:
        async with busy_system() as (bus, _system, _seen):
            await bus.receive("user.event", {"id": "1", CARRIER: carrier})
        assert_healthy(record, caplog)
    spans = [span for span in record.spans if span.name == "process user.event"]
    assert [span.parent for span in spans] == [None, None]


async def test_ten_megabytes_and_a_cycle_are_published_and_handled_as_without_us() -> None:
    with recording() as record:
        async with busy_system() as (bus, _system, seen):
            large: dict[str, Any] = {"id": "1", "payload": {"text": "x" * 10_000_000}}
            cyclic: dict[str, Any] = {"id": "2", "metadata": None}
            cyclic["metadata"] = cyclic
            await bus.publish("user.event", large)
            await bus.publish("user.event", cyclic)
    assert [event["id"] for event in seen] == ["1", "1", "2", "2"]
    assert seen[0]["payload"] is large["payload"]
    assert sorted(span.name for span in record.spans) == ["process user.event"] * 4 + ["send user.event"] * 2
