"""Forked children are processes of their own: they export, count from 0, and share nothing with their parent."""

from __future__ import annotations

import pytest

from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver

HEAD = """
import multiprocessing, os, random, sys, threading, time
from multiagents_otel import auto_instrument
auto_instrument()
from opentelemetry import metrics, trace
tracer, meter = trace.get_tracer("app"), metrics.get_meter("app")
counter, histogram = meter.create_counter("app.count"), meter.create_histogram("app.size")
def work(name, times=1):
    for _ in range(times):
        with tracer.start_as_current_span(name):
            counter.add(1, {"who": name})
            histogram.record(2, {"who": name})
def flush():
    trace.get_tracer_provider().force_flush()
    metrics.get_meter_provider().force_flush()
def forked(function, *args):
    pid = os.fork()
    if pid:
        return pid
    function(*args)
    sys.exit(0)
def joined(*pids):
    assert {os.waitpid(pid, 0)[1] for pid in pids} == {0}
"""
PROTOCOLS = pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
HOUR_MS = 3_600_000


def ran(receiver: OtlpReceiver, protocol: str, code: str, interval_ms: int = HOUR_MS) -> str:
    with Process.python(HEAD + code, env=receiver.environment(protocol, interval_ms)) as process:
        return process.wait_ok(60)


@PROTOCOLS
def test_F1_F2_children_export_their_own_spans_and_metrics_under_ids_of_their_own(
    receiver: OtlpReceiver, protocol: str
) -> None:
    code = """
work("parent", 10)
flush()
pids = [forked(work, f"child-{n}") for n in range(4)]
process = multiprocessing.get_context("fork").Process(target=work, args=("child-of-multiprocessing",))
process.start()
process.join()
assert process.exitcode == 0
joined(*pids)
work("parent", 5)
"""
    ran(receiver, protocol, code)
    children = [f"child-{n}" for n in range(4)] + ["child-of-multiprocessing"]
    spans = receiver.spans
    assert sorted(span.name for span in spans) == sorted(children + ["parent"] * 15)
    assert len({span.span_id for span in spans}) == len({span.trace_id for span in spans}) == 20
    instances = {span.name: span.resource["service.instance.id"] for span in spans}
    assert len(set(instances.values())) == 6
    for name in ("app.count", "app.size"):
        points = {
            (point.attributes["who"], point.resource["service.instance.id"]): point for point in receiver.metric(name)
        }
        # Nobody repeats what another process has counted.
        assert {key: point.value if name == "app.count" else point.count for key, point in points.items()} == {
            (who, instance): 15 if who == "parent" else 1 for who, instance in instances.items()
        }


@PROTOCOLS
def test_F1_a_child_exports_periodically_while_it_lives(receiver: OtlpReceiver, protocol: str) -> None:
    code = """
work("parent")
flush()
pid = forked(lambda: (work("child"), print("waiting", flush=True), sys.stdin.readline()))
joined(pid)
"""
    with Process.python(HEAD + code, env=receiver.environment(protocol, 100)) as process:
        process.wait_line("waiting")
        receiver.wait_for(lambda received: received.total("app.count", {"who": "child"}) == 1)
        receiver.wait_for(lambda received: any(span.name == "child" for span in received.spans))
        process.send_line("go")
        process.wait_ok()


def test_F1_F4_forks_in_the_midst_of_measuring_collecting_and_exporting_leave_no_child_behind(
    receiver: OtlpReceiver,
) -> None:
    code = """
ended = threading.Event()
def busy():
    while not ended.is_set():
        work("parent")
        time.sleep(0.0005)
def flushing():
    while not ended.is_set():
        flush()
threads = [threading.Thread(target=target, daemon=True) for target in (busy, busy, flushing, flushing)]
for thread in threads:
    thread.start()
def child(n):
    for _ in range(3):
        work(f"child-{n}")
        flush()
pids = []
for n in range(25):
    pids.append(forked(child, n))
    time.sleep(0.01)
joined(*pids)
ended.set()
"""
    ran(receiver, "http/protobuf", code, 100)
    spans = [span for span in receiver.spans if span.name != "parent"]
    assert len(spans) == 75
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans)
    assert {name: receiver.total("app.count", {"who": name}) for name in {span.name for span in spans}} == {
        f"child-{n}": 3 for n in range(25)
    }


def test_F4_a_fork_while_our_locks_are_held_leaves_a_child_that_counts(receiver: OtlpReceiver) -> None:
    code = """
from multiagents_otel import MultiAgentsInstrumentor, semconv
ledger = MultiAgentsInstrumentor._active.telemetry.ledger
ledger.add(semconv.EVENTS_STALE, ("w",), 7)
held, over = threading.Event(), threading.Event()
def hold():
    with ledger._lock:
        held.set()
        over.wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
joined(forked(lambda: ledger.add(semconv.EVENTS_STALE, ("w",))))
over.set()
"""
    ran(receiver, "http/protobuf", code)
    assert sorted(point.value or 0 for point in receiver.metric("multiagents.events.stale")) == [1, 7]


def test_F5_a_fork_does_not_wait_for_an_export_that_hangs(receiver: OtlpReceiver) -> None:
    receiver.hang()
    code = """
work("parent")
threading.Thread(target=flush, daemon=True).start()
sys.stdin.readline()
joined(forked(os._exit, 0))
print("joined", flush=True)
os._exit(0)
"""
    with Process.python(HEAD + code, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        receiver.wait_for(lambda received: received.held)
        process.send_line("go")
        process.wait_line("joined", timeout=8)  # an export gives up after 10 s


@pytest.mark.parametrize("ids", [None, "random"])
def test_F3_an_application_that_seeds_random_has_unique_ids(receiver: OtlpReceiver, ids: str | None) -> None:
    code = """
for _ in range(50):
    random.seed(42)
    work("seeded")
"""
    environment = receiver.environment("http/protobuf", HOUR_MS) | ({"OTEL_PYTHON_ID_GENERATOR": ids} if ids else {})
    with Process.python(HEAD + code, env=environment) as process:
        process.wait_ok()
    spans = receiver.spans
    assert len(spans) == 50
    # "random" names the SDK's own generator, which the user has then asked for, with its weakness.
    assert len({span.span_id for span in spans}) == len({span.trace_id for span in spans}) == (1 if ids else 50)


def test_F2_F3_children_of_a_seeded_parent_have_unique_ids(receiver: OtlpReceiver) -> None:
    code = """
random.seed(42)
work("parent", 20)
joined(*[forked(lambda: (random.seed(42), work("child", 20))) for _ in range(4)])
"""
    ran(receiver, "http/protobuf", code)
    assert len(receiver.spans) == 100
    assert len({span.span_id for span in receiver.spans}) == len({span.trace_id for span in receiver.spans}) == 100


def test_F1_what_is_in_flight_in_the_parent_is_not_the_childs(receiver: OtlpReceiver) -> None:
    code = """
import asyncio
from tests.support.sagas import order_payload, order_system
async def main():
    reached = asyncio.Event()
    from tests.support.sagas import order_workers
    async with order_system(workers=order_workers(probe=lambda *_: reached.set())) as system:
        await system.run(order_payload(hang_at="validate_order"))
        await reached.wait()
        pid = os.fork()
        if not pid:
            metrics.get_meter_provider().force_flush()
            os._exit(0)
        joined(pid)
        metrics.get_meter_provider().force_flush()
        os._exit(0)
asyncio.run(main())
"""
    ran(receiver, "http/protobuf", code)
    for gauge in ("active_workflows", "events.in_flight", "worker.active", "workflows.started"):
        by_instance: dict[str, float] = {}
        for point in receiver.metric(f"multiagents.{gauge}"):
            instance = point.resource["service.instance.id"]
            by_instance[instance] = by_instance.get(instance, 0) + (point.value or 0)
        assert sorted(by_instance.values()) == [0, 1], gauge


@pytest.mark.parametrize("hangs", ["traces", "logs"])
def test_threads_that_fork_at_once_while_exports_hang_leave_the_others_at_work(
    receiver: OtlpReceiver, hangs: str
) -> None:
    code = f"""
from opentelemetry._logs import get_logger
def record(signal):
    if signal == "traces":
        with tracer.start_as_current_span("parent"): pass
    else:
        get_logger("app").emit(body="parent")
hangs, other = {hangs!r}, {"logs" if hangs == "traces" else "traces"!r}
record(hangs)
sys.stdin.readline()
def fork(): joined(forked(os._exit, 0))
for _ in range(3):
    threads = [threading.Thread(target=fork) for _ in range(3)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
record(other)
print("forked", flush=True)
sys.stdin.readline()
"""
    receiver.hang()
    environment = receiver.environment("http/protobuf", 50)
    environment |= {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BLRP_SCHEDULE_DELAY": "50"}
    with Process.python(HEAD + code, env=environment) as process:
        receiver.wait_for(lambda received: received.held == 2)  # metrics too
        process.send_line("fork")
        process.wait_line("forked")
        receiver.accept()
        receiver.wait_for(lambda received: received.spans and received.logs and received.metrics)
        process.send_line("end")
        process.wait_ok()
