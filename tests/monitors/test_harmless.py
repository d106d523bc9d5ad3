"""Monitors never change the application: whatever goes wrong inside them, whatever they are given."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import random
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from multiagents_otel import EventMonitor, WorkerMonitor
from multiagents_otel.monitors import event_book, reports, traces, tracked, windows, worker_reports, workers
from multiagents_otel.telemetry.observers import OBSERVERS, Observer
from tests.contract.observed import Observed, series
from tests.support import badinput
from tests.support.sagas import order_payload, order_system

OBSERVED = [name for name in vars(Observer) if not name.startswith("_")]
INSIDE: list[tuple[type[Any], str]] = [
    *((EventMonitor, name) for name in OBSERVED),
    *((WorkerMonitor, name) for name in OBSERVED),
    (event_book.EventBook, "published"),
    (event_book.EventBook, "received"),
    (event_book.EventBook, "finished"),
    (event_book.EventBook, "handled"),
    (event_book.EventBook, "command_ended"),
    (tracked.Events, "see"),
    (tracked.Events, "finish"),
    (traces.Traces, "add"),
    (windows.Windows, "figures"),
    (windows.Windows, "advance"),
    (windows.Windows, "window"),
    (workers.Workers, "started"),
    (workers.Workers, "ended"),
    (workers.Workers, "known"),
    (workers.Workers, "examine"),
]


async def states(events: Any, monitors: Any) -> list[str]:
    """How three orders end on a system with these monitors on its bus and manager."""
    ended = []
    async with order_system() as system:
        system.manager.event_monitor, system.manager.worker_monitor = events, monitors
        for payload in (order_payload(), order_payload(fail_at="charge_payment")):
            transaction = await system.run(payload)
            ended.append((await system.wait_ended(transaction))["state"])
        await system.bus.drain()
    return ended


@pytest.mark.faults
@pytest.mark.parametrize("instrumented", [True, False], ids=["instrumented", "called back"])
@pytest.mark.parametrize(("owner", "name"), INSIDE, ids=[f"{owner.__name__}.{name}" for owner, name in INSIDE])
async def test_a_fault_inside_changes_no_workflow(
    owner: type[Any], name: str, instrumented: bool, observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("a fault of ours")

    if instrumented:
        observed.instrument()
    events, monitors = EventMonitor(), WorkerMonitor()
    monkeypatch.setattr(owner, name, broken)
    assert await states(events, monitors) == ["completed", "compensated"]
    await events.get_event_metrics()
    await monitors.get_all_workers_health()
    await monitors.get_worker_performance_summary()


@pytest.mark.faults
async def test_a_fault_inside_is_counted(observed: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    observed.instrument()
    monitor = EventMonitor()

    def broken(*_args: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(reports, "event_metrics", broken)
    monkeypatch.setattr(worker_reports, "summary", broken)
    assert await monitor.get_event_metrics() == {}
    assert await WorkerMonitor().get_worker_performance_summary() == {}
    assert observed.sums("multiagents.otel.errors") == {series(component="monitor"): 2}


@pytest.mark.faults
async def test_one_monitor_that_fails_takes_nothing_from_the_others(observed: Observed) -> None:
    class Broken(EventMonitor):
        def sent(self, *_args: Any) -> None:
            raise RuntimeError("a fault of the user's")

    observed.instrument()
    first, second = Broken(), EventMonitor()
    assert await states(first, WorkerMonitor()) == ["completed", "compensated"]
    assert (await second.get_event_type_metrics("command"))["count"] == 5
    assert observed.sums("multiagents.otel.errors") == {series(component="monitor"): 14}


def public(cls: type[Any]) -> Iterator[str]:
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_") and name not in OBSERVED and hasattr(method, "__wrapped__"):
            yield name


CALLS = [(cls, name) for cls in (EventMonitor, WorkerMonitor) for name in public(cls)]
GIVEN = [(cls, name) for cls, name in CALLS if name != "on_end"]  # which only a provider calls


class Awkward:
    """Says no to whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __str__(self) -> str:
        raise RuntimeError("no name")

    __repr__ = __str__
    __hash__ = None  # type: ignore[assignment]


def values(seed: int) -> list[Any]:
    pick = random.Random(seed)
    return [*badinput.SCALARS, b"\xff", [], {}, object(), *(badinput.event(pick) for _ in range(300))]


@pytest.mark.parametrize(("cls", "name"), GIVEN, ids=[f"{cls.__name__}.{name}" for cls, name in GIVEN])
async def test_whatever_a_method_is_given_is_no_fault_inside(cls: type[Any], name: str) -> None:
    monitor = cls()
    parameters = len(inspect.signature(getattr(cls, name)).parameters) - 1
    pick = random.Random(name)
    for value in values(1):
        for arguments in ([value] * parameters, [pick.choice([value, "a", 1.0]) for _ in range(parameters)]):
            told = getattr(monitor, name)(*arguments)
            json.dumps(await told if inspect.isawaitable(told) else told)
    await check_answers(monitor)


async def check_answers(monitor: Any) -> None:
    """Everything that can be asked still is answered, in what JSON can hold."""
    if isinstance(monitor, EventMonitor):
        answers: list[Any] = [await monitor.get_event_metrics(), await monitor.get_event_type_metrics("command")]
        answers += [await monitor.get_transaction_trace("tx-1"), await monitor.get_transaction_events("tx-1")]
    else:
        answers = [await monitor.get_worker_performance_summary(), await monitor.get_all_workers_health()]
        answers += [await monitor.get_worker_metrics(), await monitor.get_worker_health_status()]
    json.dumps(answers).encode()


@pytest.mark.faults
@pytest.mark.parametrize(("cls", "name"), CALLS, ids=[f"{cls.__name__}.{name}" for cls, name in CALLS])
async def test_a_method_that_is_called_wrongly_does_not_raise(cls: type[Any], name: str) -> None:
    monitor = cls()
    for arguments in ([], [Awkward()], [Awkward()] * 2, [Awkward()] * 9):
        told = getattr(monitor, name)(*arguments)
        if inspect.isawaitable(told):
            await told
    told = getattr(monitor, name)(no_such_parameter=1)
    if inspect.isawaitable(told):
        await told


@pytest.mark.parametrize("value", [None, "many", -1, float("nan"), float("inf"), [], 10**400, True], ids=repr)
async def test_options_that_can_be_none_are_the_default(value: Any) -> None:
    events = EventMonitor(None, value, value, value, max_traces_per_transaction=value)
    workers = WorkerMonitor(
        None, value, value, value, performance_window_minutes=value, error_rate_threshold=value,
        slow_execution_threshold_ms=value,
    )  # fmt: skip
    await events.track_event_lifecycle({"id": "a", "type": "command", "metadata": {"transaction_id": "T"}}, "published")
    await workers.track_worker_execution("pay", 1.0, True)
    assert (await events.get_event_metrics())["total_events"] == 1
    assert (await workers.get_worker_performance("pay"))["total_executions"] == 1


def test_monitors_that_come_and_go_in_several_threads_all_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Observer] = []
    heard: list[Observer] = []

    class Hearing(Observer):
        def stale(self, message: Any) -> None:
            heard.append(self)

    def make() -> None:
        for _ in range(50):
            made.append(Hearing())
            OBSERVERS.add(made[-1])
            OBSERVERS.add(Hearing())  # nobody keeps it

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    OBSERVERS.tell(OBSERVERS.guard, "stale", None)
    assert {id(observer) for observer in heard} == {id(observer) for observer in made}
    assert len(heard) == 200
    heard.clear()
    made.clear()
    gc.collect()
    assert not OBSERVERS.present


@pytest.mark.faults
@pytest.mark.parametrize("told", [None, {"charge_payment": 1}, {("charge_payment",): "bad"}, 7], ids=repr)
async def test_a_monitor_of_a_users_own_that_is_wrong_spoils_no_others_verdict(told: Any, observed: Observed) -> None:
    class Wrong(WorkerMonitor):
        def worker_health(self) -> Any:
            return told

        def sent(self, *_args: Any) -> None:
            raise asyncio.CancelledError

    right, wrong = WorkerMonitor(), Wrong()
    observed.instrument()
    assert await states(EventMonitor(), wrong) == ["completed", "compensated"]
    assert (await right.get_worker_metrics("charge_payment"))["total_commands"] == 2
    verdicts = observed.sums("multiagents.worker.health", zeros=True)
    assert verdicts[series(worker__name="charge_payment")] == 0
