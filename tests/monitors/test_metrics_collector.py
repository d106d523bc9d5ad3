"""MetricsCollector: its figures against psutil, Redis' own account and independent counts."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import socket
import statistics
import time
import weakref
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from multiagents.monitoring.interfaces import IMetricsCollector
from multiagents.monitoring.metrics_collector import MetricsCollector as FrameworksCollector

from multiagents_otel import MetricsCollector, MultiAgentsInstrumentor
from multiagents_otel.telemetry.system import CpuUsage, NetworkBytes
from tests.contract.conftest import Clock, clock
from tests.contract.observed import Observed
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_payload, order_system, redis_parts

__all__ = ["clock"]


@pytest.fixture
def observed() -> Iterator[Observed]:
    made = Observed()
    yield made
    made.close()


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


class Told:
    """A logger like the framework's that remembers; ``fail`` makes it raise."""

    def __init__(self, *, fail: bool = False) -> None:
        self.records: list[tuple[str, str, dict[str, Any]]] = []
        self._fail = fail

    def __getattr__(self, level: str) -> Any:
        async def log(message: str, **context: Any) -> None:
            if self._fail:
                raise OSError("disk full")
            self.records.append((level, message, context))

        return log


# --- figures ------------------------------------------------------------------------------------


async def test_figures_are_psutil_s() -> None:
    before = psutil.net_io_counters(nowrap=False)
    told = await MetricsCollector().collect_system_metrics()
    after = psutil.net_io_counters(nowrap=False)
    assert set(told) == {
        "cpu_usage_percent",
        "memory_usage_percent",
        "disk_usage_percent",
        "network_bytes_sent",
        "network_bytes_received",
        "active_connections",
        "event_queue_size",
        "cpu_percent",
        "memory_rss_mb",
        "memory_vms_mb",
        "timestamp",
    }
    assert told["memory_usage_percent"] == pytest.approx(psutil.virtual_memory().percent, abs=20)
    assert told["disk_usage_percent"] == pytest.approx(psutil.disk_usage("/").percent, abs=5)
    assert told["memory_rss_mb"] == pytest.approx(psutil.Process().memory_info().rss / 2**20, rel=0.5)
    assert before.bytes_sent <= told["network_bytes_sent"] <= after.bytes_sent
    assert before.bytes_recv <= told["network_bytes_received"] <= after.bytes_recv
    assert told["timestamp"].endswith("+00:00")


async def test_the_first_figure_of_the_cpu_is_one_already() -> None:
    collector = MetricsCollector()
    until = time.process_time() + 0.15
    while time.process_time() < until:
        pass
    told = await collector.collect_system_metrics()
    assert 0 < told["cpu_usage_percent"] <= 100
    assert told["cpu_percent"] > 0


def test_cpu_is_what_the_kernel_counted_since_the_last_look_whichever_thread_looks() -> None:
    def used() -> tuple[float, float]:
        times = psutil.cpu_times()._asdict()
        everything = sum(value for name, value in times.items() if not name.startswith("guest"))
        return everything - times["idle"] - times.get("iowait", 0.0), everything

    async def in_a_thread(cpu: CpuUsage) -> float | None:
        return await asyncio.to_thread(cpu.percent, wait=True)

    cpu, before = CpuUsage(), used()
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    told, after = asyncio.run(in_a_thread(cpu)), used()
    expected = 100 * (after[0] - before[0]) / (after[1] - before[1])
    assert told == pytest.approx(expected, abs=15)


def test_a_network_interface_that_goes_takes_no_bytes_out_of_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(psutil, "net_io_counters", lambda **_: dict(seen))
    network = NetworkBytes()

    def interface(sent: int, received: int) -> Any:
        return type("io", (), {"bytes_sent": sent, "bytes_recv": received})

    seen.update(eth0=interface(100, 1_000), veth1=interface(7, 70))
    assert network.look() == (107, 1_070)
    seen.update(eth0=interface(110, 1_100))
    del seen["veth1"]
    assert network.look() == (117, 1_170)
    seen.update(eth0=interface(5, 50))  # counts anew
    assert network.look() == (122, 1_220)
    seen.update(veth1=interface(8, 80))  # is back
    assert network.look() == (123, 1_230)


async def test_history_is_the_average_and_the_peak_of_what_was_collected() -> None:
    collector = MetricsCollector()
    samples = [await collector.collect_system_metrics() for _ in range(5)]
    history = await collector.get_system_metrics(time_window_minutes=60)
    names = {"cpu": "cpu_usage_percent", "memory": "memory_usage_percent", "disk": "disk_usage_percent"}
    for name, figure in names.items():
        values = [sample[figure] for sample in samples]
        assert history[f"avg_{name}_usage"] == pytest.approx(statistics.fmean(values))
        assert history[f"peak_{name}_usage"] == max(values)
    sent = [sample["network_bytes_sent"] for sample in samples]
    assert history["network_bytes_sent"] == max(sent) - min(sent)
    rss = [sample["memory_rss_mb"] for sample in samples]
    assert history["system_metrics"]["memory_rss_mb"] == {
        "count": 5,
        "average": pytest.approx(statistics.fmean(rss)),
        "min": min(rss),
        "max": max(rss),
        "latest": rss[-1],
    }
    assert history["avg_active_connections"] is None


async def test_without_a_sample_in_the_window_one_is_taken(clock: Clock) -> None:
    collector = MetricsCollector()
    assert (await collector.get_system_metrics(5))["system_metrics"]["event_queue_size"]["count"] == 1
    assert (await collector.get_system_metrics(5))["system_metrics"]["event_queue_size"]["count"] == 1
    await clock.forward(3_600)
    assert (await collector.get_system_metrics(5))["system_metrics"]["event_queue_size"]["count"] == 1
    assert (await collector.get_system_metrics(90))["system_metrics"]["event_queue_size"]["count"] == 2


# --- Redis ---------------------------------------------------------------------------------------


def _clients(server: RedisServer) -> int:
    """By Redis' own account, without the connection that asks."""
    info = dict(line.split(":") for line in str(server.command("INFO", "clients")).split() if ":" in line)
    return int(info["connected_clients"]) - 1


async def test_active_connections_are_redis_own_count(observed: Observed, redis: RedisServer) -> None:
    observed.instrument()
    collector = MetricsCollector()
    assert (await collector.collect_system_metrics())["active_connections"] is None
    async with order_system(*redis_parts(redis.url), monitors=False) as system:
        await system.wait_ended(await system.run())
        sockets = [socket.create_connection(("127.0.0.1", redis.port)) for _ in range(7)]
        assert redis.command("PING") == "PONG"  # the seven have been accepted before
        told = await collector.collect_system_metrics()
        assert told["active_connections"] == _clients(redis) >= 8
        assert observed.sums("multiagents.redis.connections") == {frozenset(): told["active_connections"]}
        for one in sockets:
            one.close()


async def test_a_redis_that_no_bus_uses_is_asked_by_its_url(redis: RedisServer) -> None:
    with RedisServer(password="hunter2") as other:
        collector = MetricsCollector(redis_url=other.url)
        sockets = [socket.create_connection(("127.0.0.1", other.port)) for _ in range(3)]
        assert other.command("PING") == "PONG"
        assert (await collector.collect_system_metrics())["active_connections"] == _clients(other) == 3
        for one in sockets:
            one.close()
    assert (await collector.collect_system_metrics())["active_connections"] is None
    assert (await MetricsCollector(redis_url="redis://[").collect_system_metrics())["active_connections"] is None
    nobody = MetricsCollector(redis_url=f"redis://127.0.0.1:{free_port()}")
    assert (await nobody.collect_system_metrics())["active_connections"] is None


async def test_a_redis_that_hangs_blocks_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        collector = MetricsCollector(redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}")
        collecting = asyncio.ensure_future(collector.collect_system_metrics())
        turns = 0
        while not collecting.done():
            turns += 1
            await asyncio.sleep(0.01)
        assert collecting.result()["active_connections"] is None
        assert turns > 10


async def test_the_collectors_own_redis_calls_are_no_spans(observed: Observed, redis: RedisServer) -> None:
    from opentelemetry.instrumentation.redis import RedisInstrumentor

    RedisInstrumentor().instrument(tracer_provider=observed.tracers)
    try:
        told = await MetricsCollector(redis_url=redis.url).collect_system_metrics()
        assert told["active_connections"] is not None
    finally:
        RedisInstrumentor().uninstrument()
    assert observed.exported.get_finished_spans() == ()


# --- what is unfinished --------------------------------------------------------------------------


async def test_the_queue_is_what_was_published_or_executes_here_each_command_once(
    observed: Observed, redis: RedisServer
) -> None:
    observed.instrument()
    collector = MetricsCollector()
    at_work: list[str] = []

    async def size() -> int:
        told: int = (await collector.collect_system_metrics())["event_queue_size"]
        return told

    from tests.support.sagas import order_workers

    workers = order_workers(probe=lambda name, _payload: at_work.append(name))
    async with order_system(*redis_parts(redis.url), workers=workers, monitors=False, timeout=2) as system:
        assert await size() == 0
        hanging = [await system.run(order_payload(hang_at="validate_order")) for _ in range(3)]
        while len(at_work) < 3:
            await asyncio.sleep(0.005)
        assert await size() == 3
        for transaction in hanging:
            await system.wait_ended(transaction)
        assert await size() == 0
        history = await collector.get_system_metrics()
        assert (history["avg_event_queue_size"], history["peak_event_queue_size"]) == (1.0, 3.0)
        MultiAgentsInstrumentor().uninstrument()
        assert await size() == 0


# --- start and stop ------------------------------------------------------------------------------


async def _samples(collector: MetricsCollector, count: int) -> None:
    while (await collector.get_system_metrics())["system_metrics"]["event_queue_size"]["count"] < count:
        await asyncio.sleep(0.005)


async def test_it_samples_at_its_interval_from_start_to_stop_each_once(clock: Clock) -> None:
    logger = Told()
    collector = MetricsCollector(logger, collection_interval_seconds=60)
    await collector.collect_system_metrics()
    await collector.start()
    await collector.start()
    await clock.forward(2)
    await _samples(collector, 2)
    for minute in range(1, 4):
        await clock.forward(60)
        await _samples(collector, 2 + minute)
    await collector.stop()
    await collector.stop()
    await clock.forward(600)
    await collector.collect_system_metrics()
    assert (await collector.get_system_metrics())["system_metrics"]["event_queue_size"]["count"] == 6
    assert [(level, message) for level, message, _ in logger.records] == [
        ("info", "Metrics collector started"),
        ("info", "Metrics collector stopped"),
    ]
    await collector.start()
    await clock.forward(2)
    await _samples(collector, 7)
    await collector.stop()


async def test_a_collector_that_nobody_keeps_is_gone_though_it_was_started(clock: Clock) -> None:
    collector = MetricsCollector()
    await collector.start()
    gone = weakref.ref(collector)
    del collector
    gc.collect()
    assert gone() is None
    await clock.forward(120)


def test_a_loop_ends_without_a_word_while_a_collector_is_on(caplog: pytest.LogCaptureFixture) -> None:
    collector = MetricsCollector(collection_interval_seconds=0.1)
    for _ in range(2):  # a second loop, as with a second asyncio.run()
        loop = asyncio.new_event_loop()
        loop.set_debug(True)
        loop.run_until_complete(collector.start())
        loop.run_until_complete(asyncio.sleep(0.15))
        loop.close()
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_what_the_configuration_turns_off_is_off(clock: Clock) -> None:
    collector = MetricsCollector(include_system_metrics=False, custom_metrics_enabled=False)
    await collector.start()
    await collector.record_metric("figure", 1)
    await clock.forward(600)
    assert collector.get_collector_stats()["total_custom_metrics"] == 0
    assert (await collector.get_system_metrics())["system_metrics"]["event_queue_size"]["count"] == 1
    await collector.stop()


async def test_one_redis_under_two_names_is_counted_once(redis: RedisServer, observed: Observed) -> None:
    observed.instrument()
    collector = MetricsCollector(redis_url=f"redis://localhost:{redis.port}")
    async with order_system(*redis_parts(redis.url), monitors=False):
        assert (await collector.collect_system_metrics())["active_connections"] == _clients(redis)


async def test_the_bus_starts_and_stops_it_as_its_own(redis: RedisServer) -> None:
    bus, _store = redis_parts(redis.url)
    collector: Any = MetricsCollector()
    bus.metrics_collector = collector
    await bus.start()
    assert collector.get_collector_stats()["running"] is True
    await bus.stop()
    assert collector.get_collector_stats()["running"] is False


async def test_a_logger_that_fails_is_nobody_s_trouble() -> None:
    collector = MetricsCollector(Told(fail=True))
    await collector.start()
    await collector.stop()


def test_a_forked_child_counts_its_own_and_shares_no_lock() -> None:
    code = """
import asyncio, os, sys, threading
from multiagents_otel import MetricsCollector
collector = MetricsCollector()
ended = threading.Event()
def busy():
    while not ended.is_set():
        collector.record("made", 1)
threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
asyncio.run(collector.start())
def child():
    collector.record("made", 5)
    made = asyncio.run(collector.get_metric_aggregations("made"))
    assert made == {"count": 1, "avg": 5.0, "min": 5.0, "max": 5.0, "sum": 5.0, "latest": 5.0}, made
    assert not collector.get_collector_stats()["running"]
    assert asyncio.run(collector.get_system_metrics())["system_metrics"]["memory_rss_mb"]["count"] == 1
for _ in range(8):
    pid = os.fork()
    if not pid:
        child()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
ended.set()
for thread in threads:
    thread.join()
assert asyncio.run(collector.get_metric_aggregations("made"))["count"] > 1
"""
    with Process.python(code) as process:
        process.wait_ok(60)


# --- the framework's interface -------------------------------------------------------------------


def test_importing_it_imports_neither_the_framework_nor_redis() -> None:
    code = """
import sys
from multiagents_otel import BusinessMetricsMonitor, MetricsCollector
monitor = BusinessMetricsMonitor(None, MetricsCollector())
print("imported", sorted({"multiagents", "dspy", "redis"} & set(sys.modules)))
"""
    with Process.python(code) as process:
        assert "imported []" in process.wait_ok()


def test_it_is_one_of_the_framework_s() -> None:
    assert isinstance(MetricsCollector(), IMetricsCollector)
    assert IMetricsCollector not in MetricsCollector.__mro__


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["Sampler.take", "slots.Slots.add", "recorded.name", "recorded.Recorded.within"])
async def test_a_fault_of_ours_reaches_nobody_and_is_counted(
    observed: Observed, fault: str, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a fault of ours")

    observed.instrument()
    collector = MetricsCollector()
    module = "metrics_collector." if fault.startswith("Sampler") else ""
    monkeypatch.setattr(f"multiagents_otel.monitors.{module}{fault}", fails)
    await collector.start()
    await clock.forward(61)
    await collector.record_metric("figure", 1)
    await collector.record_system_metric("figure", 1)
    await collector.record_event_metric("command", 1, True)
    await collector.record_worker_metric("w", "m", 1)
    assert (await collector.get_metric_aggregations("figure"))["count"] in (0, 1)
    assert (await collector.collect_system_metrics())["cpu_usage_percent"] >= 0
    assert (await collector.get_system_metrics())["avg_memory_usage"] >= 0
    for told in (await collector.get_event_metrics("command"), await collector.get_worker_metrics("w")):
        assert isinstance(told, dict)
    await collector.stop()
    assert sum(observed.sums("multiagents.otel.errors").values()) > 0


def test_it_takes_all_that_the_framework_s_takes() -> None:
    assert list(inspect.signature(MetricsCollector).parameters)[:4] == list(
        inspect.signature(FrameworksCollector).parameters
    )
    public = {name for name in vars(FrameworksCollector) if not name.startswith("_")} | set(
        IMetricsCollector.__abstractmethods__
    )
    for name in public:
        ours, theirs = (
            inspect.signature(getattr(cls, name)).parameters for cls in (MetricsCollector, FrameworksCollector)
        )
        assert list(ours) == list(theirs), name


def _plain(value: Any) -> Any:
    """Without the times of day."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k not in ("timestamp", "collected_at")}
    return [_plain(item) for item in value] if isinstance(value, list) else value


async def test_what_is_recorded_by_hand_is_told_as_the_framework_s_own_collector_tells_it() -> None:
    ours, theirs = MetricsCollector(), FrameworksCollector()
    for collector in (ours, theirs):
        for number in range(5):
            await collector.record_event_metric("command", 0.25 * number, number != 3, {"step": "charge"})
            await collector.record_worker_metric("charge_payment", "retries", number)
        await collector.record_event_metric("result", 1.5, True)
        await collector.record_worker_metric("ship_order", "parcels", 2.5, {"carrier": "x"})
    for call in ("get_event_metrics", "get_worker_metrics"):
        for kind in ("command", "charge_payment"):
            if (await getattr(theirs, call)(kind))["metrics"]:
                assert _plain(await getattr(ours, call)(kind)) == _plain(await getattr(theirs, call)(kind))
        assert _plain(await getattr(ours, call)()) == _plain(await getattr(theirs, call)())
    mine, framework = await ours.get_system_metrics(), await theirs.get_system_metrics()
    assert mine["event_metrics"] == framework["event_metrics"]
    assert mine["worker_metrics"] == framework["worker_metrics"]


async def test_entries_are_bounded_by_type_in_all_and_in_what_they_hold() -> None:
    collector = MetricsCollector(max_metrics_per_type=10)
    for number in range(300):
        for _ in range(3):
            await collector.record_event_metric(f"type-{number}", 1, True, {"payload": ["x" * 9_999], "n": number})
    for _ in range(50):
        await collector.record_worker_metric("w", "m", 1, {"text": "x" * 9_999})
    stats = collector.get_collector_stats()
    assert (stats["event_types_tracked"], stats["total_event_metrics"], stats["total_worker_metrics"]) == (201, 100, 10)
    told = await collector.get_event_metrics("type-1")
    assert [entry["metadata"] for entry in told["metrics"]] in ([], [{"n": 1}] * len(told["metrics"]))
    (entry, *_rest) = (await collector.get_worker_metrics("w"))["metrics"]
    assert len(entry["metadata"]["text"]) == 200


@pytest.mark.parametrize("minutes", [float("nan"), -1, "soon", None, 10**400, 0])
async def test_no_window_is_an_error(minutes: Any) -> None:
    collector = MetricsCollector()
    assert (await collector.get_system_metrics(minutes))["avg_memory_usage"] >= 0
    assert (await collector.get_metric_aggregations("x", minutes))["count"] == 0
    assert "events" in await collector.get_event_metrics(time_window_minutes=minutes)


@pytest.mark.parametrize(
    "odd",
    [None, "abc", -1, float("nan"), float("inf"), 10**400, [], object(), b"x"],
    ids=lambda odd: type(odd).__name__,
)
def test_whatever_it_is_made_with_it_is_made_and_works(odd: Any) -> None:
    for name in ("collection_interval_seconds", "retention_days", "max_metrics_per_type", "retention_hours"):
        options: dict[str, Any] = {name: odd}
        collector = MetricsCollector(**options)
        collector.record("orders", 2.0)
        assert collector._custom["orders"].over(60).total == 2.0


def test_a_signal_handler_may_record_in_the_midst_of_a_recording() -> None:
    program = """
import signal
from multiagents_otel import MetricsCollector
from multiagents_otel.monitors.slots import Slots

collector, add = MetricsCollector(), Slots.add
def interrupted(slots, value):
    add(slots, value)
    if value == 1:
        signal.raise_signal(signal.SIGUSR1)
Slots.add = interrupted
signal.signal(signal.SIGUSR1, lambda *_: collector.record("orders", 2))
collector.record("orders", 1)
print(collector._custom["orders"].over(60).total, flush=True)
"""
    with Process.python(program) as process:
        process.wait_line("3.0")
        process.wait_ok()
