"""The system's instruments: what is told with the instrumentation alone, and with a collector."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from multiagents_otel import MetricsCollector, MultiAgentsInstrumentor
from tests.contract.observed import Observed, series
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver

ALWAYS = {"multiagents.system.cpu", "multiagents.system.memory"}
WITH_A_COLLECTOR = {"multiagents.system.disk", "multiagents.system.network.io"}


@pytest.fixture
def observed() -> Iterator[Observed]:
    made = Observed().instrument()
    yield made
    made.close()


def told(observed: Observed) -> set[str]:
    return {name for name in observed.metrics() if name.startswith(("multiagents.system.", "multiagents.redis."))}


def busy() -> None:
    until = time.process_time() + 0.15
    while time.process_time() < until:
        pass


async def test_cpu_and_memory_are_there_with_the_instrumentation_alone(observed: Observed) -> None:
    busy()
    assert told(observed) == ALWAYS
    (cpu,) = observed.sums("multiagents.system.cpu").values()
    assert 0 < cpu <= 100
    (memory,) = observed.sums("multiagents.system.memory").values()
    assert memory == pytest.approx(psutil.virtual_memory().percent, abs=20)
    MultiAgentsInstrumentor().uninstrument()
    assert told(observed) == set()


async def test_a_second_reader_right_after_the_first_one_is_told_the_same(observed: Observed) -> None:
    busy()
    first = observed.sums("multiagents.system.cpu")
    assert observed.sums("multiagents.system.cpu") == first


async def test_disk_and_network_are_there_while_a_collector_is_on(observed: Observed) -> None:
    busy()
    collector = MetricsCollector()
    assert told(observed) == ALWAYS
    figures = await collector.collect_system_metrics()
    before = psutil.net_io_counters(nowrap=False)
    assert told(observed) == ALWAYS | WITH_A_COLLECTOR
    assert observed.sums("multiagents.system.disk") == {frozenset(): figures["disk_usage_percent"]}
    io = observed.sums("multiagents.system.network.io", zeros=True)
    assert set(io) == {series(network__io__direction=direction) for direction in ("transmit", "receive")}
    assert io[series(network__io__direction="receive")] >= before.bytes_recv
    await collector.stop()
    assert told(observed) == ALWAYS
    await collector.collect_system_metrics()
    assert told(observed) == ALWAYS | WITH_A_COLLECTOR
    del collector
    gc.collect()
    assert told(observed) == ALWAYS


async def test_two_collectors_tell_once_each_figure(observed: Observed) -> None:
    collectors = [MetricsCollector() for _ in range(2)]
    for collector in collectors:
        await collector.collect_system_metrics()
    assert len(observed.sums("multiagents.system.disk")) == 1
    await collectors[0].stop()
    assert len(observed.sums("multiagents.system.disk")) == 1


PROGRAM = """
import asyncio, os, sys
from multiagents_otel import MetricsCollector, auto_instrument
from opentelemetry import metrics
auto_instrument()
collector = MetricsCollector()
asyncio.run(collector.collect_system_metrics())
print("pid", os.getpid(), flush=True)
pid = os.fork()
if not pid:
    for _ in range(3_000_000):
        pass
    print("pid", os.getpid(), flush=True)
sys.stdin.readline() if pid else None
metrics.get_meter_provider().force_flush()
if pid:
    sys.exit(os.waitpid(pid, 0)[1])
"""
PROCESS = {
    "process.context_switches",
    "process.cpu.time",
    "process.cpu.utilization",
    "process.memory.usage",
    "process.memory.virtual",
    "process.open_file_descriptor.count",
    "process.thread.count",
    "cpython.gc.collections",
    "cpython.gc.collected_objects",
    "cpython.gc.uncollectable_objects",
}


def test_the_process_is_told_of_over_otlp_and_a_forked_child_tells_of_itself() -> None:
    with OtlpReceiver() as receiver:
        with Process.python(PROGRAM, env=receiver.environment("http/protobuf", 3_600_000)) as process:
            process.wait_line("pid ", count=2)
            receiver.wait_for(lambda received: received.total("process.cpu.time", {"type": "user"}))
            (child,) = receiver.metric("process.cpu.time", {"type": "user"})
            used = psutil.Process(process.pid).cpu_times().user
            process.send_line("go")
            process.wait_ok(60)
        points = {
            point.resource["service.instance.id"]: point
            for point in receiver.metric("process.cpu.time", {"type": "user"})
        }
        assert len(points) == 2
        parent = next(p for p in points.values() if p.stream != child.stream)
        # The parent has imported everything; a child of its own has but counted.
        assert child.value is not None
        assert parent.value is not None
        assert 0 <= child.value < used <= parent.value
        names = {point.name for point in receiver.metrics if point.name.startswith(("process.", "cpython.", "system."))}
        if sys.platform == "linux":
            assert names == PROCESS
        assert {point.kind for point in receiver.metric("multiagents.system.disk")} == {"GAUGE"}


@pytest.mark.parametrize(
    ("variables", "there"),
    [
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "foo, system_metrics"}, set()),
        ({"OTEL_PYTHON_SYSTEM_METRICS_EXCLUDED_METRICS": "process.*"}, {n for n in PROCESS if n.startswith("cpython")}),
    ],
)
def test_the_package_s_own_variables_hold(variables: dict[str, str], there: set[str]) -> None:
    with OtlpReceiver() as receiver:
        code = "from multiagents_otel import auto_instrument; auto_instrument()"
        with Process.python(code, env={**receiver.environment("http/protobuf"), **variables}) as process:
            process.wait_ok()
        names = {point.name for point in receiver.metrics}
        assert {name for name in names if name.startswith(("process.", "cpython."))} == there
        assert "multiagents.system.memory" in names


USERS = {
    "before": """
SystemMetricsInstrumentor(config={"process.thread.count": None}).instrument()
auto_instrument()
""",
    "after": """
auto_instrument()
SystemMetricsInstrumentor(config={"process.thread.count": None})
""",
}


@pytest.mark.parametrize(("when", "count"), [("before", 1), ("after", len(PROCESS))])
def test_the_user_s_own_system_metrics_stay_theirs_and_break_nothing_of_ours(when: str, count: int) -> None:
    with OtlpReceiver() as receiver:
        code = f"""
import logging
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from multiagents_otel import auto_instrument, pipeline
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
logging.basicConfig()
pipeline.ensure({{}})
{USERS[when]}
metrics.get_meter_provider().force_flush()
"""
        with Process.python(code, env=receiver.environment("http/protobuf")) as process:
            assert "Traceback" not in process.wait_ok()
        names = {point.name for point in receiver.metrics if point.name.startswith(("process.", "cpython."))}
    assert len(names) == count
