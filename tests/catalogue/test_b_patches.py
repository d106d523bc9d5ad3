"""Failure catalogue B: double instrumentation, uninstrument, patch hygiene.

wrapt 1 and 2 (B11) are a matter of the version matrix: nothing here depends on either.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import importlib
import inspect
import json
import logging
import pickle
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import multiagents.core.factory as factory_module
import multiagents.core.saga_context as saga_module
import multiagents.event_bus.redis_bus as redis_module
import multiagents.orchestrator.orchestrator as orchestrator_module
import multiagents.worker_sdk.base_worker as base_worker_module
import multiagents.worker_sdk.decorators as decorators_module
import multiagents.worker_sdk.dspy_wrapper as dspy_wrapper_module
import multiagents.worker_sdk.worker_manager as manager_module
import pytest
from multiagents.core.saga_context import SagaContext
from multiagents.event_bus.interface import IEventBus
from multiagents.event_bus.redis_bus import EventEncoder
from multiagents.monitoring import CompositeLogger, ConsoleLogger, FileLogger, MonitoringConfig
from multiagents.orchestrator.orchestrator import Orchestrator
from multiagents.worker_sdk.base_worker import BaseWorker, WorkerConfig
from multiagents.worker_sdk.worker_manager import WorkerManager

from multiagents_otel import MultiAgentsInstrumentor, instrument_event_bus
from multiagents_otel.instrumentation.instrumentor import _Instrumentation
from multiagents_otel.instrumentation.patching import PatchSet
from tests.catalogue.observed import Observed, instrumented, records
from tests.support import trees
from tests.support.buses import MemoryBus, MemoryStore
from tests.support.expected import COMPENSATED, COMPLETED
from tests.support.processes import Process
from tests.support.sagas import (
    OrderSystem,
    SilentLogger,
    order_payload,
    order_system,
    order_workers,
    subscribe_compensations,
)


class Target(NamedTuple):
    """A row of the patch table as this test knows it, written out again so that a lost row is seen."""

    owner: Any
    name: str

    def __str__(self) -> str:
        return f"{getattr(self.owner, '__name__', type(self.owner).__name__)}.{self.name}"


TARGETS = [
    *(
        Target(redis_module.RedisEventBus, name)
        for name in ("__init__", "publish", "subscribe", "unsubscribe", "_handle_message", "stop")
    ),
    *(
        Target(redis_module.RedisStateStore, name)
        for name in ("save_context", "load_context", "delete_context", "list_contexts")
    ),
    *(
        Target(WorkerManager, name)
        for name in ("__init__", "register", "_handle_command", "_execute_worker_with_timeout", "stop")
    ),
    Target(manager_module.logger, "error"),
    Target(decorators_module, "asyncio"),
    *(
        Target(Orchestrator, name)
        for name in (
            "__init__",
            "execute_workflow",
            "stop",
            "cancel_workflow",
            "_publish_status_event",
            "_execute_step",
            "_handle_result_event",
            "_trigger_compensations",
            "_load_context",
        )
    ),
    Target(orchestrator_module.logger, "error"),
    *(
        Target(module.logger, "bind")
        for module in (redis_module, orchestrator_module, base_worker_module, dspy_wrapper_module, manager_module)
    ),
    Target(MonitoringConfig, "create_logger"),
    *(Target(factory_module, name) for name in ("EventMonitor", "WorkerMonitor", "MetricsCollector")),
    *(Target(logger, "log") for logger in (FileLogger, ConsoleLogger, CompositeLogger)),
    Target(SagaContext, "record_step_completion"),
    Target(SagaContext, "record_step_failure"),
]
BUS_TARGETS = [Target(MemoryBus, name) for name in ("publish", "subscribe", "unsubscribe")]


def owners() -> list[Any]:
    found: list[Any] = []
    for target in [*TARGETS, *BUS_TARGETS]:
        if not any(owner is target.owner for owner in found):
            found.append(target.owner)
    return found


def dicts() -> list[dict[str, Any]]:
    # What pickle notes on a class at its first use is not ours.
    return [{name: value for name, value in vars(owner).items() if name != "__slotnames__"} for owner in owners()]


def identical(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> bool:
    return all(
        one.keys() == other.keys() and all(one[key] is other[key] for key in one)
        for one, other in zip(before, after, strict=True)
    )


@pytest.fixture(autouse=True)
def exact_on_undo() -> Iterator[None]:
    """In every test of this module: what was patched is afterwards as it was, object for object."""
    before = dicts()
    yield
    instrumentor = MultiAgentsInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    assert identical(before, dicts())


async def run_saga(system: OrderSystem, **payload: Any) -> dict[str, Any]:
    status = await system.wait_ended(await system.run(order_payload(**payload)))
    await system.bus.drain()
    return status


async def saga_tree(observed: Observed, **payload: Any) -> str:
    """The spans of a whole run, in a system of its own."""
    observed.clear()
    async with order_system() as system:
        await subscribe_compensations(system.bus)
        await run_saga(system, **payload)
    return trees.tree(observed.ours)


# --- B1, B2 --------------------------------------------------------------------------------------


async def test_B1_instrumenting_twice_by_two_instrumentors_gives_one_span_each() -> None:
    with instrumented() as observed:
        once = dicts()
        with records("opentelemetry.instrumentation.instrumentor"):
            MultiAgentsInstrumentor().instrument(tracer_provider=observed.tracer_provider)
            type(MultiAgentsInstrumentor())().instrument()
        assert identical(once, dicts())
        assert await saga_tree(observed) == COMPLETED


async def test_B1_a_bus_that_is_given_many_times_is_instrumented_once() -> None:
    with instrumented() as observed:
        bus = MemoryBus()
        for _ in range(3):
            instrument_event_bus(bus)
            WorkerManager(bus, logger=SilentLogger())
        once = dicts()
        instrument_event_bus(MemoryBus())
        assert identical(once, dicts())
        async with order_system(bus) as system:
            instrument_event_bus(bus)
            await run_saga(system)
        assert trees.tree(observed.ours) == COMPLETED


class LoggingBus(MemoryBus):
    """A subclass whose methods call their parents'."""

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        await super().publish(event_type, event_data)

    async def subscribe(self, event_type: str, handler: Any) -> None:
        await super().subscribe(event_type, handler)

    async def unsubscribe(self, event_type: str, handler: Any) -> None:
        await super().unsubscribe(event_type, handler)


class ChangingBus(LoggingBus):
    """A subclass that publishes a copy, with a field of its own."""

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        await super().publish(event_type, {**event_data, "shard": 1})


class PlainBus(MemoryBus):
    """A subclass that inherits everything."""


class LoggingManager(WorkerManager):
    """Overrides what is patched, and calls the parent's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def register(self, worker: Any) -> None:
        super().register(worker)

    async def _handle_command(self, worker: Any, event_data: Any) -> None:
        await super()._handle_command(worker, event_data)

    async def _execute_worker_with_timeout(self, worker: Any, command: Any) -> None:
        await super()._execute_worker_with_timeout(worker, command)


class LoggingOrchestrator(Orchestrator):
    """Overrides what is patched, and calls the parent's."""

    async def execute_workflow(self, *args: Any, **kwargs: Any) -> Any:
        return await super().execute_workflow(*args, **kwargs)

    async def _execute_step(self, context: Any, step: Any) -> None:
        await super()._execute_step(context, step)

    async def _handle_result_event(self, event_data: Any) -> None:
        await super()._handle_result_event(event_data)


class CountingWorker(BaseWorker):
    """Its ``process`` calls its parent's."""

    def get_worker_type(self) -> str:
        return str(super().get_worker_type())

    async def process(self, context: Any) -> Any:
        return await super().process(context)

    async def execute(self, context: Any) -> Any:
        return {"ok": True}


def counting_workers() -> list[Any]:
    return [CountingWorker(WorkerConfig(name)) for name in ("validate_order", "charge_payment", "ship_order")]


@pytest.mark.parametrize("live", [False, True], ids=["before", "live"])
@pytest.mark.parametrize("make_bus", [LoggingBus, ChangingBus, PlainBus])
async def test_B2_subclasses_that_call_super_give_one_span_each(
    make_bus: type[MemoryBus], live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.sagas.WorkerManager", LoggingManager)
    monkeypatch.setattr("tests.support.sagas.Orchestrator", LoggingOrchestrator)
    observed = Observed()
    if live:
        async with order_system(make_bus(), workers=counting_workers()) as system:
            with instrumented(observed):
                await run_saga(system)
    else:
        with instrumented(observed):
            async with order_system(make_bus(), workers=counting_workers()) as system:
                await run_saga(system)
    assert trees.tree(observed.ours) == COMPLETED


# --- B3, B5 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_B3_every_row_is_patched_and_given_back(target: Target) -> None:
    before = dict(vars(target.owner))
    with instrumented():
        assert vars(target.owner)[target.name] is not before.get(target.name)
        assert set(vars(target.owner)) == {*before, *(row.name for row in TARGETS if row.owner is target.owner)}
    after = dict(vars(target.owner))
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


def test_B3_this_tests_list_of_rows_is_the_patch_table() -> None:
    from multiagents_otel.config import Options
    from multiagents_otel.configuration import MonitoringConfig

    with instrumented():  # the providers and instruments of this object are never used
        table = _Instrumentation(MonitoringConfig(), Options(), {}).table
    rows = set()
    for row in table:
        owner: Any = importlib.import_module(row.module)
        rows.add((id(getattr(owner, row.owner) if row.owner else owner), row.name))
    assert rows == {(id(target.owner), target.name) for target in TARGETS}


async def test_B3_buses_of_the_users_own_are_given_back_too() -> None:
    before = dicts()
    with instrumented():
        async with order_system() as system:
            instance = dict(vars(system.bus))
            await run_saga(system)
            assert all(name in vars(MemoryBus) for name in ("publish", "subscribe", "unsubscribe"))
            assert vars(MemoryBus)["publish"] is not before[owners().index(MemoryBus)]["publish"]
            assert set(vars(system.bus)) == set(instance)
    assert identical(before, dicts())


async def test_B5_what_was_inherited_is_no_attribute_of_the_subclass_afterwards() -> None:
    subclasses = (PlainBus, LoggingBus, LoggingManager, LoggingOrchestrator)
    before = [dict(vars(cls)) for cls in subclasses]
    with instrumented() as observed:
        async with order_system(PlainBus()) as system:
            await run_saga(system)
        assert "publish" not in vars(PlainBus)
        assert trees.tree(observed.ours) == COMPLETED
    assert [dict(vars(cls)) for cls in subclasses] == before


# --- B4 ------------------------------------------------------------------------------------------


def foreign(original: Any, calls: list[str], name: str) -> Any:
    """What another instrumentation puts around a function."""
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return await original(*args, **kwargs)
    else:

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return original(*args, **kwargs)

    return wrapper


FUNCTIONS = [
    target
    for target in [*TARGETS, *BUS_TARGETS]
    if inspect.isfunction(vars(target.owner).get(target.name)) and target.owner.__name__ != "RedisStateStore"
]


@pytest.mark.parametrize("target", FUNCTIONS, ids=str)
async def test_B4_a_foreign_wrapper_below_ours_survives(target: Target) -> None:
    original, calls = vars(target.owner)[target.name], list[str]()
    wrapper = foreign(original, calls, "foreign")
    setattr(target.owner, target.name, wrapper)
    try:
        with instrumented() as observed:
            assert await saga_tree(observed, fail_at="ship_order") == COMPENSATED
            during = list(calls)
        assert vars(target.owner)[target.name] is wrapper
        calls.clear()
        assert await saga_tree(observed, fail_at="ship_order") == ""
        assert calls == during
    finally:
        setattr(target.owner, target.name, original)


@pytest.mark.parametrize("target", FUNCTIONS, ids=str)
async def test_B4_a_foreign_wrapper_above_ours_survives_and_ours_is_silent(target: Target) -> None:
    original, calls = vars(target.owner)[target.name], list[str]()
    try:
        with instrumented() as observed:
            WorkerManager(MemoryBus(), logger=SilentLogger())
            wrapper = foreign(vars(target.owner)[target.name], calls, "foreign")
            setattr(target.owner, target.name, wrapper)
            assert await saga_tree(observed, fail_at="ship_order") == COMPENSATED
            during = list(calls)
        assert vars(target.owner)[target.name] is wrapper
        calls.clear()
        assert await saga_tree(observed, fail_at="ship_order") == ""
        assert calls == during
        # Instrumented again, above the foreign one with our dead one below: each span once.
        with instrumented() as again:
            assert await saga_tree(again, fail_at="ship_order") == COMPENSATED
        assert vars(target.owner)[target.name] is wrapper
    finally:
        setattr(target.owner, target.name, original)


# --- B6, B7 --------------------------------------------------------------------------------------


async def test_B6_three_cycles_give_the_same_spans_and_counts_each_time() -> None:
    observed = Observed()
    for cycle in range(1, 4):
        with instrumented(observed):
            assert await saga_tree(observed) == COMPLETED
            assert await saga_tree(observed, fail_at="ship_order") == COMPENSATED
            assert observed.metric("multiagents.worker.executions")["success", "ship_order"] == cycle
            assert observed.metric("multiagents.workflows")["completed", "order_processing"] == cycle
        assert await saga_tree(observed) == ""


async def test_B6_one_live_system_over_three_cycles() -> None:
    observed = Observed()
    async with order_system() as system:
        for _ in range(3):
            with instrumented(observed):
                observed.clear()
                await run_saga(system)
                assert trees.tree(observed.ours) == COMPLETED
            observed.clear()
            await run_saga(system)
            assert observed.ours == []


def depth(function: Any) -> int:
    layers = 0
    while hasattr(function, "__wrapped__"):
        function, layers = function.__wrapped__, layers + 1
    return layers


async def test_B7_nothing_accumulates_over_cycles() -> None:
    kept: list[weakref.ref[Any]] = []
    observed = Observed()

    async def cycles() -> None:
        async with order_system() as system:
            handlers = {event_type: list(found) for event_type, found in system.bus.handlers.items()}
            for _ in range(10):
                with instrumented(observed):
                    kept.extend(map(weakref.ref, parts()))
                    kept.extend(weakref.ref(handler) for found in system.bus.handlers.values() for handler in found)
                    assert [depth(vars(target.owner)[target.name]) for target in BUS_TARGETS] == [1, 1, 1]
                    await run_saga(system)
                assert [depth(vars(target.owner)[target.name]) for target in BUS_TARGETS] == [0, 0, 0]
                assert system.bus.handlers == handlers
                assert all(depth(handler) == 0 for found in system.bus.handlers.values() for handler in found)

    def parts() -> list[Any]:
        active = MultiAgentsInstrumentor._active
        assert active is not None
        return [active, active.telemetry, active.patches, active.buses, active.workers, active.workflows]

    await asyncio.create_task(cycles())
    await asyncio.sleep(0)
    gc.collect()
    assert len(kept) >= 10 * (6 + 6)
    assert [type(one).__name__ for ref in kept if (one := ref()) is not None] == []
    assert [ref for ref in MultiAgentsInstrumentor._left if ref() is not None] == []


async def test_B7_buses_and_managers_are_not_kept_alive() -> None:
    async def run() -> list[weakref.ref[Any]]:
        async with order_system() as system:
            await run_saga(system)
            return [weakref.ref(thing) for thing in (system.bus, system.manager, system.orchestrator)]

    with instrumented():
        kept = await asyncio.create_task(run())
        await asyncio.sleep(0)
        gc.collect()
        assert [ref() for ref in kept] == [None] * 3


# --- B8 ------------------------------------------------------------------------------------------


async def test_B8_a_patch_that_fails_takes_all_back_logs_once_and_the_app_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, replace, count = dicts(), PatchSet.replace, 0

    def fails_at_the_last(patches: PatchSet, owner: Any, name: str, build: Any) -> None:
        nonlocal count
        count += 1
        if count == len(TARGETS):
            raise RuntimeError("no")
        replace(patches, owner, name, build)

    monkeypatch.setattr(PatchSet, "replace", fails_at_the_last)
    observed = Observed()
    async with order_system() as live:
        with records("multiagents_otel") as logged, instrumented(observed):
            assert count >= len(TARGETS)
            assert identical(before, dicts())
            assert [record.levelname for record in logged] == ["ERROR"]
            assert (await run_saga(live))["state"] == "completed"
            assert await saga_tree(observed, fail_at="ship_order") == ""
    assert identical(before, dicts())
    monkeypatch.undo()
    with instrumented(observed):
        assert await saga_tree(observed) == COMPLETED


@pytest.mark.parametrize("target", [t for t in TARGETS if isinstance(t.owner, type) and t.name != "__init__"], ids=str)
async def test_B8_a_missing_target_is_left_out_with_one_warning(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The framework itself needs some of them: those are taken away only while instrument() looks."""
    original = vars(target.owner)[target.name]
    delattr(target.owner, target.name)
    inherited = hasattr(target.owner, target.name)  # an abstract method of the interface stands in
    try:
        with records("multiagents_otel") as logged, instrumented():
            owner = target.owner.__name__
            expected = [] if inherited else [f"{target.owner.__module__}.{owner}.{target.name}"]
            warnings = [record.getMessage() for record in logged if record.levelno >= logging.WARNING]
            assert len(warnings) == len(expected)
            assert all(name in warning for name, warning in zip(expected, warnings, strict=True))
            patched = [t for t in TARGETS if (t.owner, t.name) != (target.owner, target.name)]
            assert all(t.name in vars(t.owner) for t in patched)
        assert target.name not in vars(target.owner)
    finally:
        setattr(target.owner, target.name, original)


# --- B9 ------------------------------------------------------------------------------------------


class IdentityBus(IEventBus):
    """A bus of the user's own: its subscriptions are nowhere to be found, and it compares by identity."""

    def __init__(self) -> None:
        self._subscriptions: list[tuple[str, Any]] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        for subscribed, handler in list(self._subscriptions):
            if subscribed == event_type:
                result = handler(json.loads(json.dumps(event_data, cls=EventEncoder)))
                if inspect.isawaitable(result):
                    await result

    async def subscribe(self, event_type: str, handler: Any) -> None:
        self._subscriptions.append((event_type, handler))

    async def unsubscribe(self, event_type: str, handler: Any) -> None:
        kept = [(t, h) for t, h in self._subscriptions if not (t == event_type and h is handler)]
        if len(kept) == len(self._subscriptions):
            raise LookupError("not subscribed")
        self._subscriptions = kept


class EqualBus(IdentityBus):
    """The same, comparing by equality."""

    async def unsubscribe(self, event_type: str, handler: Any) -> None:
        self._subscriptions.remove((event_type, handler))


class Unhashable(IdentityBus):
    """A bus that can be no key of a dict."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise TypeError("not comparable")


class Receiver:
    """A handler as a method, and as a callable instance."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    async def method(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    async def __call__(self, event: dict[str, Any]) -> None:
        self.events.append(event)


def handlers_of(receiver: Receiver) -> dict[str, Callable[[], Any]]:
    """Each kind of handler, made anew as often as it is asked for where its users would do that too."""

    async def function(event: dict[str, Any]) -> None:
        receiver.events.append(event)

    async def two(_first: object, event: dict[str, Any]) -> None:
        receiver.events.append(event)

    partial, instance, sync = functools.partial(two, 1), receiver, receiver.events.append
    return {
        "function": lambda: function,
        "method": lambda: receiver.method,
        "partial": lambda: partial,
        "instance": lambda: instance,
        "sync": lambda: sync,
    }


KINDS = ("function", "method", "partial", "instance", "sync")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make_bus", [IdentityBus, EqualBus, Unhashable])
@pytest.mark.parametrize("when", ["instrumented", "uninstrumented", "again"])
async def test_B9_unsubscribe_takes_the_users_own_handler(make_bus: type[IdentityBus], kind: str, when: str) -> None:
    if make_bus is IdentityBus and kind in ("method", "sync"):
        return  # a bound method is another object each time: without us this bus does not find it either
    if make_bus in (IdentityBus, Unhashable) and when == "uninstrumented":
        return  # nothing of ours is there any more to tell it which object it was given
    receiver, observed = Receiver(), Observed()
    handler = handlers_of(receiver)[kind]
    bus = make_bus()
    with instrumented(observed):
        instrument_event_bus(bus)
        await bus.subscribe("a", handler())
        await bus.publish("a", {"id": "1"})
        assert trees.tree(observed.ours) == "send a PRODUCER\n  process a CONSUMER"
        if when == "instrumented":
            await bus.unsubscribe("a", handler())
    if when == "uninstrumented":
        await bus.unsubscribe("a", handler())
    elif when == "again":
        with instrumented(observed):
            await bus.unsubscribe("a", handler())
    await bus.publish("a", {"id": "2"})
    assert receiver.events == [{"id": "1"}]


@pytest.mark.parametrize("make_bus", [IdentityBus, EqualBus, Unhashable])
async def test_B9_handlers_that_could_not_be_reached_are_taken_up_again(make_bus: type[IdentityBus]) -> None:
    receiver, observed, bus = Receiver(), Observed(), make_bus()
    with instrumented(observed):
        instrument_event_bus(bus)
        await bus.subscribe("a", receiver)
    for _ in range(2):
        observed.clear()
        await bus.publish("a", {"id": "1"})
        assert observed.ours == []
        with instrumented(observed):
            await bus.publish("a", {"id": "1"})
            assert trees.tree(observed.ours) == "send a PRODUCER\n  process a CONSUMER"
    assert receiver.events == [{"id": "1"}] * 4


@pytest.mark.parametrize("kind", KINDS)
async def test_B9_unsubscribe_on_a_bus_with_handlers_of_the_frameworks_kind(kind: str) -> None:
    receiver = Receiver()
    handler = handlers_of(receiver)[kind]
    with instrumented():
        bus = MemoryBus(inline=True)
        instrument_event_bus(bus)
        await bus.start()
        await bus.subscribe("a", handler())
        await bus.subscribe("a", handler())
        await bus.publish("a", {})
        await bus.unsubscribe("a", handler())
        await bus.publish("a", {})
        await bus.unsubscribe("a", handler())
        await bus.publish("a", {})
    assert receiver.events == [{}] * 3
    assert bus.handlers["a"] == []


async def test_B9_the_first_of_two_buses_keeps_its_handler_when_the_other_lets_go_of_it() -> None:
    receiver = Receiver()
    with instrumented():
        one, other = EqualBus(), EqualBus()
        for bus in (one, other):
            instrument_event_bus(bus)
            await bus.subscribe("a", receiver)
        await other.unsubscribe("a", receiver)
        await one.publish("a", {"id": "1"})
        await other.publish("a", {"id": "2"})
        assert receiver.events == [{"id": "1"}]


@pytest.mark.parametrize("make_bus", [MemoryBus, IdentityBus, Unhashable])
async def test_B9_uninstrument_while_subscribed_handles_messages_without_spans(make_bus: Callable[[], Any]) -> None:
    observed = Observed()
    with instrumented(observed):
        async with order_system(make_bus()) as system:
            assert (await system.wait_ended(await system.run()))["state"] == "completed"
            observed.clear()
            MultiAgentsInstrumentor().uninstrument()
            assert (await system.wait_ended(await system.run()))["state"] == "completed"
            assert observed.ours == []


async def test_B9_uninstrument_with_a_saga_under_way_lets_it_end() -> None:
    working, go_on = asyncio.Event(), asyncio.Event()
    observed = Observed()

    def probe(name: str, _payload: dict[str, Any]) -> None:
        if name == "charge_payment":
            working.set()

    workers = order_workers(probe=probe)
    charge: Any = workers[1]
    function = charge.func

    async def waiting(payload: dict[str, Any]) -> Any:
        result = await function(payload)
        await go_on.wait()
        return result

    charge.func = waiting
    with instrumented(observed):
        async with order_system(workers=workers) as system:
            transaction = await system.run()
            await working.wait()
            MultiAgentsInstrumentor().uninstrument()
            go_on.set()
            assert (await system.wait_ended(transaction))["state"] == "completed"
            await system.bus.drain()
            ended = len(observed.ours)
            await run_saga(system)
            assert len(observed.ours) == ended


@pytest.mark.parametrize("make_bus", [MemoryBus, LoggingBus])
async def test_B9_instrument_after_start_joins_everything(make_bus: Callable[[], Any]) -> None:
    async with order_system(make_bus()) as system:
        await subscribe_compensations(system.bus)
        await run_saga(system)
        with instrumented() as observed:
            await run_saga(system)
            assert trees.tree(observed.ours) == COMPLETED
            observed.clear()
            await run_saga(system, fail_at="ship_order")
            assert trees.tree(observed.ours) == COMPENSATED


async def test_B9_instrument_after_start_on_a_bus_that_shows_nothing() -> None:
    """Its handlers can't be reached: commands are joined where the manager takes them, results are not seen."""
    async with order_system(IdentityBus()) as system:
        with instrumented() as observed:
            status = await system.wait_ended(await system.run())
            assert (status["state"], list(status["step_results"])) == ("completed", ["validate", "charge", "ship"])
            workers = [trees.received(span) for span in observed.ours if span.name.startswith("worker.")]
            assert [span.name for span in workers] == [
                "worker.validate_order",
                "worker.charge_payment",
                "worker.ship_order",
            ]
            assert len({span.trace_id for span in workers}) == 1


async def test_B9_a_worker_registered_while_running_is_joined() -> None:
    with instrumented() as observed:
        async with order_system(workers=order_workers()[:1]) as system:
            for worker in order_workers()[1:]:
                system.manager.register(worker)
            while len(system.bus.handlers["command.ship_order"]) < 1:
                await asyncio.sleep(0)
            await run_saga(system)
            assert trees.tree(observed.ours) == COMPLETED


# --- B10, B11, B12 -------------------------------------------------------------------------------


async def test_B10_a_bare_constructor_changes_nothing() -> None:
    called: list[str] = []
    with instrumented(publish_hook=lambda _span, event_type, _event: called.append(event_type)) as observed:
        before, active = dicts(), MultiAgentsInstrumentor._active
        assert MultiAgentsInstrumentor() is MultiAgentsInstrumentor()
        assert MultiAgentsInstrumentor().is_instrumented_by_opentelemetry
        assert MultiAgentsInstrumentor._active is active
        assert identical(before, dicts())
        assert await saga_tree(observed) == COMPLETED
        assert "command.ship_order" in called


class PicklableWorker(BaseWorker):
    """A worker of the user's own."""

    def __init__(self, name: str) -> None:
        super().__init__(WorkerConfig(name))
        self.logger = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "logger"}

    async def execute(self, context: Any) -> Any:
        return {"ok": context["n"]}


async def test_B11_workers_can_be_copied_and_pickled() -> None:
    with instrumented():
        worker = PicklableWorker("validate_order")
        async with order_system(workers=[worker]) as system:
            assert system.manager.get_worker("validate_order") is worker
            for twin in (copy.copy(worker), copy.deepcopy(worker), pickle.loads(pickle.dumps(worker))):
                assert type(twin) is PicklableWorker
                assert twin.get_worker_type() == "validate_order"
        for function in order_workers():
            assert type(copy.deepcopy(function)).__name__ == "FunctionWorker"


async def test_B11_the_saga_context_can_be_copied_pickled_and_saved() -> None:
    with instrumented():
        async with order_system(workers=[]) as system:
            await system.run()
            (saga,) = system.orchestrator.active_workflows.values()
            assert saga.metadata
            for twin in (copy.deepcopy(saga), pickle.loads(pickle.dumps(saga))):
                assert twin == saga
                assert type(twin) is SagaContext
            assert json.loads(json.dumps(saga.to_dict())) == json.loads(system.store.rows[saga.transaction_id])


@pytest.mark.parametrize("target", FUNCTIONS, ids=str)
def test_B11_patched_functions_look_like_their_originals(target: Target) -> None:
    original = vars(target.owner)[target.name]
    with instrumented():
        WorkerManager(MemoryBus(), logger=SilentLogger()) if target.owner is MemoryBus else None
        patched = vars(target.owner)[target.name]
        assert patched is not original or target.owner is MemoryBus
        assert inspect.iscoroutinefunction(patched) is inspect.iscoroutinefunction(original)
        assert inspect.signature(patched) == inspect.signature(original)
        assert (patched.__name__, patched.__qualname__, patched.__doc__, patched.__module__) == (
            original.__name__,
            original.__qualname__,
            original.__doc__,
            original.__module__,
        )


async def test_B11_bus_publish_stays_a_coroutine_function_and_handlers_what_they_were() -> None:
    receiver = Receiver()
    with instrumented():
        bus = MemoryBus()
        instrument_event_bus(bus)
        for name in ("publish", "subscribe", "unsubscribe"):
            assert inspect.iscoroutinefunction(getattr(bus, name))
        for kind, handler in handlers_of(receiver).items():
            await bus.subscribe(kind, handler())
            wrapped = bus.handlers[kind][0]
            assert wrapped == handler()
            assert hash(wrapped) == hash(handler())
            assert isinstance(wrapped, type(handler()))
            assert inspect.iscoroutinefunction(wrapped) is inspect.iscoroutinefunction(handler())


@pytest.mark.parametrize("name", ["multiagents_otel", "multiagents_otel.instrumentation", "multiagents_otel.auto"])
def test_B12_importing_and_instrumenting_imports_and_configures_nothing(name: str) -> None:
    code = f"""
        import logging, signal, sys
        from opentelemetry import metrics, propagate, trace
        from opentelemetry._logs import get_logger_provider
        before = (
            trace.get_tracer_provider(), metrics.get_meter_provider(), get_logger_provider(),
            propagate.get_global_textmap(), logging.root.handlers[:], signal.getsignal(signal.SIGTERM),
            sys.excepthook,
        )
        import {name}
        from multiagents_otel import MultiAgentsInstrumentor
        MultiAgentsInstrumentor().instrument()
        heavy = [m for m in ("multiagents", "dspy", "litellm", "redis", "structlog") if m in sys.modules]
        assert not heavy, heavy
        after = (
            trace.get_tracer_provider(), metrics.get_meter_provider(), get_logger_provider(),
            propagate.get_global_textmap(), logging.root.handlers[:], signal.getsignal(signal.SIGTERM),
            sys.excepthook,
        )
        assert [type(one) for one in before] == [type(one) for one in after]
        assert before[3:] == after[3:]
        print("fine")
    """
    with Process.python(code) as child:
        assert "fine" in child.wait_ok()


@pytest.mark.parametrize("first", ["multiagents", "multiagents_otel"])
@pytest.mark.parametrize("name", ["multiagents", "multiagents.core.saga_context", "multiagents.orchestrator"])
def test_B12_the_order_of_imports_does_not_matter(first: str, name: str) -> None:
    ours = "from multiagents_otel import MultiAgentsInstrumentor\nMultiAgentsInstrumentor().instrument()\n"
    theirs = f"import {name}\nimport multiagents.worker_sdk, multiagents.orchestrator.orchestrator\n"
    check = (
        "from multiagents.event_bus.redis_bus import RedisEventBus\n"
        "from multiagents.orchestrator.orchestrator import Orchestrator\n"
        "from multiagents.core.saga_context import SagaContext\n"
        "from multiagents.worker_sdk.worker_manager import WorkerManager\n"
        "rows = [(RedisEventBus, 'publish'), (Orchestrator, '_execute_step'), (WorkerManager, '_handle_command'),\n"
        "        (SagaContext, 'record_step_failure')]\n"
        "assert [hasattr(vars(owner)[name], '__wrapped__') for owner, name in rows] == [True] * 4\n"
        "MultiAgentsInstrumentor().uninstrument()\n"
        "assert [hasattr(vars(owner)[name], '__wrapped__') for owner, name in rows] == [False] * 4\n"
    )
    with Process.python((theirs + ours if first == "multiagents" else ours + theirs) + check) as child:
        child.wait_ok()


def test_B3_rows_of_the_saga_module_are_those_of_its_class() -> None:
    assert saga_module.SagaContext is SagaContext


async def test_B7_a_store_that_is_shared_is_left_alone() -> None:
    before = dict(vars(MemoryStore))
    with instrumented() as observed:
        assert await saga_tree(observed) == COMPLETED
        assert dict(vars(MemoryStore)) == before
