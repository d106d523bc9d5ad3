"""The framework's own monitors and loggers give way to ours, and nothing that a user passed in does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import multiagents.core.factory as factory
import multiagents.monitoring as theirs
import pytest
from multiagents.event_bus.redis_bus import RedisEventBus
from multiagents.monitoring.config import LoggingConfig
from multiagents.monitoring.interfaces import IEventMonitor, ILogger, LogLevel
from multiagents.orchestrator.orchestrator import Orchestrator
from multiagents.worker_sdk.worker_manager import WorkerManager
from opentelemetry.sdk.trace import TracerProvider

import multiagents_otel as ours
from multiagents_otel import MultiAgentsInstrumentor
from tests.logs.exported import Exported
from tests.logs.lines import entries
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer
from tests.support.sagas import WORKERS, order_payload, order_workers, order_workflow, run_order, wait_ended

MONITORS = ("EventMonitor", "WorkerMonitor", "MetricsCollector")


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The framework writes ./logs."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with RedisServer() as server:
        yield server.url


def instrument(**options: Any) -> None:
    MultiAgentsInstrumentor().instrument(tracer_provider=TracerProvider(shutdown_on_exit=False), **options)


def classes(*things: Any) -> list[str]:
    return [f"{type(thing).__module__.partition('.')[0]}:{type(thing).__name__}" for thing in things]


async def simple() -> tuple[RedisEventBus, WorkerManager, Orchestrator]:
    made: tuple[RedisEventBus, WorkerManager, Orchestrator] = await factory.create_simple_framework(order_workflow())
    return made


def wired(bus: Any, manager: Any, orchestrator: Any) -> dict[str, list[str]]:
    return {
        "bus": classes(bus.event_monitor, bus.metrics_collector, bus.monitoring_logger),
        "manager": classes(manager.event_monitor, manager.worker_monitor, manager.monitoring_logger),
        "orchestrator": classes(orchestrator.monitoring_logger),
    }


def everything_of(package: str) -> dict[str, list[str]]:
    return {
        "bus": [f"{package}:EventMonitor", f"{package}:MetricsCollector", f"{package}:CompositeLogger"],
        "manager": [f"{package}:EventMonitor", f"{package}:WorkerMonitor", f"{package}:CompositeLogger"],
        "orchestrator": [f"{package}:CompositeLogger"],
    }


async def close(*things: Any) -> None:
    """The framework's own file loggers hold a file each until they are closed."""
    for thing in things:
        await thing.monitoring_logger.close()


async def test_the_defaults_are_ours_and_the_manager_shares_the_buss_event_monitor() -> None:
    instrument()
    bus, manager, orchestrator = await simple()
    assert wired(bus, manager, orchestrator) == everything_of("multiagents_otel")
    assert manager.event_monitor is bus.event_monitor
    assert isinstance(bus.event_monitor, IEventMonitor)
    assert isinstance(bus.monitoring_logger, ILogger)


async def test_opted_out_they_are_the_frameworks() -> None:
    instrument(replace_builtin_monitors=False)
    made = await simple()
    assert wired(*made) == everything_of("multiagents")
    await close(*made)


async def test_after_uninstrument_they_are_the_frameworks_again() -> None:
    instrument()
    MultiAgentsInstrumentor().uninstrument()
    parts = await simple()
    assert wired(*parts) == everything_of("multiagents")
    made = await factory.create_framework_components(order_workflow())
    await close(*parts, made[0])
    assert classes(*made[3:]) == [
        f"multiagents:{name}" for name in ("EventMonitor", "WorkerMonitor", "MetricsCollector")
    ]
    for monitor in made[3:]:
        await monitor.stop()


async def test_create_framework_components_gives_ours_too() -> None:
    instrument()
    made = await factory.create_framework_components(order_workflow())
    assert classes(*made[3:]) == [f"multiagents_otel:{name}" for name in MONITORS]
    assert made[0].event_monitor is made[1].event_monitor is made[3]
    for monitor in made[3:]:
        await monitor.stop()


async def test_what_a_user_passes_in_stays() -> None:
    instrument()
    logger = theirs.ConsoleLogger()
    event_monitor, worker_monitor = theirs.EventMonitor(logger), theirs.WorkerMonitor(logger)

    class Own(theirs.MetricsCollector):
        pass

    class OwnBus(RedisEventBus):
        def __init__(self) -> None:
            self.metrics_collector = Own()
            super().__init__(event_monitor=event_monitor, logger=logger)

    bus = OwnBus()
    manager = WorkerManager(bus, event_monitor, worker_monitor, logger)
    assert bus.event_monitor is manager.event_monitor is event_monitor
    assert manager.worker_monitor is worker_monitor
    assert bus.monitoring_logger is manager.monitoring_logger is logger
    assert Orchestrator(order_workflow(), bus, logger=logger).monitoring_logger is logger
    assert isinstance(bus.metrics_collector, Own)
    # The framework's own monitor on the bus is not shared, and ours is not doubled by the manager.
    assert classes(WorkerManager(bus).event_monitor) == ["multiagents_otel:EventMonitor"]
    given: Any = ours.EventMonitor()
    assert WorkerManager(RedisEventBus(event_monitor=given)).event_monitor is given


async def test_what_a_user_makes_by_hand_is_what_it_says() -> None:
    instrument()
    logger = theirs.MonitoringConfig().create_logger()
    assert classes(logger) == ["multiagents:CompositeLogger"]
    await logger.close()
    made = classes(theirs.EventMonitor(), theirs.WorkerMonitor(), theirs.MetricsCollector())
    assert made == [f"multiagents:{name}" for name in MONITORS]


def test_a_configuration_that_the_framework_refuses_is_refused_as_before() -> None:
    config = theirs.MonitoringConfig(logging=LoggingConfig(default_logger="syslog"))
    refusals = []
    for instrumented in (False, True):
        if instrumented:
            instrument()
        with pytest.raises(ValueError, match="Unknown logger type: syslog") as refused:
            RedisEventBus(monitoring_config=config)
        refusals.append(str(refused.value))
    assert refusals[0] == refusals[1]


async def test_the_log_file_is_the_one_that_the_configuration_names(tmp_path: Path) -> None:
    instrument()
    logging = LoggingConfig("file", LogLevel.WARNING, file_path=str(tmp_path / "own" / "a.log"), max_size_mb=7)
    logger: Any = RedisEventBus(monitoring_config=theirs.MonitoringConfig(logging=logging)).monitoring_logger
    await logger.info("too low")
    await logger.warning("written", worker_type="w")
    await logger.close()
    (entry,) = entries(tmp_path / "own" / "a.log")
    assert (entry["level"], entry["message"], entry["metadata"]) == ("WARNING", "written", {"worker_type": "w"})
    assert logger.get_loggers()[0].get_log_stats()["max_size_mb"] == 7


@asynccontextmanager
async def running(redis_url: str) -> AsyncIterator[tuple[Any, Any, Any]]:
    made: tuple[Any, ...] = await factory.create_simple_framework(order_workflow(), redis_url)
    bus, manager, orchestrator = made
    orchestrator.state_store.redis_url = redis_url
    for worker in order_workers():
        manager.register(worker)
    await bus.start()
    await manager.start()
    await orchestrator.start()
    yield bus, manager, orchestrator
    await orchestrator.stop()
    await manager.stop()
    await bus.stop()


async def test_the_frameworks_own_wiring_tells_true_numbers_and_writes_the_same_records(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: dict[str, list[Any]] = {}
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "ours":
            instrument()
        async with running(redis_url) as (bus, manager, orchestrator):
            for payload in (order_payload(), order_payload(fail_at="charge_payment")):
                transaction = await run_order(orchestrator, payload)
                await wait_ended(orchestrator, transaction)
            if name == "ours":
                metrics = await bus.event_monitor.get_event_metrics()
                summary = await manager.worker_monitor.get_worker_performance_summary()
        await close(bus, manager, orchestrator)
        logged[name] = [
            (entry["level"], entry["message"], sorted(entry.get("metadata", ())))
            for entry in entries(tmp_path / name / "logs" / "multiagents.log")
            if entry["message"].startswith("Worker command") or entry["message"] == "Worker registered"
            if "worker_instance" not in entry.get("metadata", ())  # what the framework's own monitor says once more
        ]
    assert logged["ours"] == logged["theirs"]
    assert len(logged["ours"]) == 8
    # 3 commands and results, then 2 of each; one command failed, and its result says so.
    assert {kind: metrics["events_by_type"][kind] for kind in ("CommandEvent", "ResultEvent")} == {
        "CommandEvent": 5,
        "ResultEvent": 5,
    }
    assert summary["aggregated_metrics"]["successful_commands"] == 4
    assert summary["aggregated_metrics"]["failed_commands"] == 1


PROGRAM = """
import asyncio, os
from multiagents_otel import auto_instrument
auto_instrument()
from multiagents.core.factory import create_simple_framework
from tests.support.sagas import order_workers, order_workflow, run_order, wait_ended
async def main():
    bus, manager, orchestrator = await create_simple_framework(order_workflow(), os.environ["REDIS_URL"])
    orchestrator.state_store.redis_url = os.environ["REDIS_URL"]
    for worker in order_workers():
        manager.register(worker)
    await bus.start(); await manager.start(); await orchestrator.start()
    transaction = await run_order(orchestrator)
    await wait_ended(orchestrator, transaction)
    await orchestrator.stop(); await manager.stop(); await bus.stop()
    print("ended:", transaction, flush=True)
asyncio.run(main())
"""


def test_a_plain_program_exports_every_record_once_and_has_its_file_and_its_output(
    redis_url: str, tmp_path: Path
) -> None:
    with OtlpReceiver() as receiver:
        environment = {**receiver.environment("http/protobuf", 3_600_000), "REDIS_URL": redis_url}
        with Process.python(PROGRAM, env=environment, cwd=tmp_path) as process:
            process.wait_ok()
            transaction = process.wait_line("ended:").split()[-1]
        logs = receiver.logs
    completed = [log for log in logs if log.body == "Worker command completed"]  # the ILogger's
    assert sorted(log.attributes["worker_type"] for log in completed) == sorted(WORKERS)
    structlogs = [log for log in logs if log.body in ("Workflow started", "Workflow completed", "Step started")]
    assert sorted(log.body for log in structlogs) == [
        *["Step started"] * 3,
        "Workflow completed",
        "Workflow started",
    ]
    events = [log for log in logs if log.event_name == "multiagents.workflow.started"]
    assert len(events) == 1
    joined = [*completed, *structlogs, *events]
    assert {log.attributes["workflow.transaction_id"] for log in joined} == {transaction}
    assert len({log.trace_id for log in joined}) == 1
    assert all(int(log.trace_id, 16) and int(log.span_id, 16) and log.flags & 1 for log in joined)
    # The same records are in the file, with the same ids, and on standard output as structlog renders them.
    written = [json.loads(line) for line in (tmp_path / "logs" / "multiagents.log").read_text().splitlines()]
    assert sorted(
        (entry["trace_id"], entry["span_id"], entry["workflow.transaction_id"])
        for entry in written
        if entry["message"] == "Worker command completed"
    ) == sorted((log.trace_id, log.span_id, transaction) for log in completed)
    assert process.output.count("Step started") == 3
    assert all(joined[0].trace_id in line for line in process.lines if "Step started" in line)


def test_records_leave_through_the_provider_that_was_given() -> None:
    exported = Exported()
    instrument(logger_provider=exported.provider)
    logger: Any = RedisEventBus().monitoring_logger
    coroutine = logger.info("given")
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert [log.body for log in exported.named("multiagents_otel")] == ["given"]
