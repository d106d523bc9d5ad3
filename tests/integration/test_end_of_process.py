"""However a process ends, what is queued leaves, and its end is not held up."""

from __future__ import annotations

import signal
import time

import pytest

from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer

HEAD = """
import asyncio, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job of a shell
from multiagents_otel import auto_instrument
auto_instrument()
from opentelemetry import metrics, trace
with trace.get_tracer("app").start_as_current_span("a-span"):
    metrics.get_meter("app").create_counter("a.counter").add(3)
print("ready", flush=True)
"""
HOUR_MS = 3_600_000  # only the end of the process exports anything


def check_arrived(receiver: OtlpReceiver) -> None:
    assert [span.name for span in receiver.spans] == ["a-span"]
    assert receiver.total("a.counter") == 3


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("pass", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError('unhandled')", 1),
        ("asyncio.run(asyncio.sleep(0))", 0),
        ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
    ],
)
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_D12_at_an_end_what_is_queued_leaves(receiver: OtlpReceiver, protocol: str, ending: str, code: int) -> None:
    with Process.python(HEAD + ending, env=receiver.environment(protocol, HOUR_MS)) as process:
        assert process.wait() == code
    check_arrived(receiver)


@pytest.mark.parametrize(
    ("ending", "running"),
    [
        ("pass", 0),
        ("sys.exit(3)", 0),
        ("os.kill(os.getpid(), signal.SIGINT)", 0),  # Ctrl-C
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", 0),
        ("raise RuntimeError('unhandled')", 1),
        ("metrics.get_meter_provider().force_flush(); os.kill(os.getpid(), signal.SIGKILL)", 1),
    ],
)
def test_the_last_export_tells_an_end_in_order_from_a_crash(receiver: OtlpReceiver, ending: str, running: int) -> None:
    with Process.python(HEAD + ending, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        process.wait()
    assert [point.value for point in receiver.metric("multiagents.process.running")] == [running]


def test_a_process_between_two_event_loops_does_not_seem_to_hang(receiver: OtlpReceiver, redis: RedisServer) -> None:
    code = f"""
from multiagents.event_bus.redis_bus import RedisEventBus
async def main(fails):
    bus = RedisEventBus({redis.url!r})
    await bus.start()
    await bus.subscribe("a-channel", print)
    sys.stdin.readline()
    await bus.stop()
    if fails:
        raise RuntimeError("unhandled")
asyncio.run(main(False))
sys.stdin.readline()
asyncio.run(main(True))
"""

    def running(value: int) -> None:
        receiver.clear()
        receiver.wait_for(lambda got: [point.value for point in got.metric("multiagents.process.running")] == [value])

    with Process.python(HEAD + code, env=receiver.environment("http/protobuf", 100)) as process:
        process.wait_line("ready")
        running(1)
        process.send_line("end the first loop")
        running(0)
        process.send_line("begin the second")
        running(1)
        process.send_line("and crash in it")
        assert process.wait() == 1
    assert [point.value for point in receiver.metric("multiagents.process.running")] == [1]


def test_a_process_tells_that_it_runs_until_its_end(receiver: OtlpReceiver) -> None:
    code = HEAD + "sys.stdin.readline()"
    with Process.python(code, env=receiver.environment("http/protobuf", 100)) as process:
        receiver.wait_for(lambda got: [point.value for point in got.metric("multiagents.process.running")] == [1])
        process.send_line("end")
        assert process.wait() == 0
    assert [point.value for point in receiver.metric("multiagents.process.running")] == [0]


@pytest.mark.parametrize(
    "waiting",
    [
        "time.sleep(60)",
        "asyncio.run(asyncio.sleep(60))",
        "threading.Event().wait(60)",
        # The main thread holds threading's own lock, as in the midst of Thread.start().
        "lock = threading._active_limbo_lock; lock.acquire(); print('held', flush=True); time.sleep(60)",
    ],
)
def test_D12_SIGTERM_ends_the_process_by_the_signal_and_what_is_queued_leaves(
    receiver: OtlpReceiver, waiting: str
) -> None:
    environment = receiver.environment("http/protobuf", HOUR_MS)
    with Process.python(HEAD + waiting, env=environment) as process:
        process.wait_line("held" if "held" in waiting else "ready")
        assert process.terminate() == -signal.SIGTERM
    if "held" not in waiting:
        check_arrived(receiver)


@pytest.mark.parametrize("order", ["before", "after"])
def test_an_applications_own_SIGTERM_handler_is_kept(receiver: OtlpReceiver, order: str) -> None:
    handler = """
import signal, sys
def handler(signum, frame):
    print("mine", flush=True)
    sys.exit(5)
signal.signal(signal.SIGTERM, handler)
"""
    code = (handler + HEAD if order == "before" else HEAD + handler) + "print('set', flush=True); time.sleep(60)"
    with Process.python(code, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        process.wait_line("set")
        assert process.terminate() == 5
        assert process.lines.count("mine") == 1
    check_arrived(receiver)


def test_an_asyncio_SIGTERM_handler_is_kept(receiver: OtlpReceiver) -> None:
    code = """
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("set", flush=True)
    await stop.wait()
    print("stopped in order", flush=True)
asyncio.run(main())
"""
    with Process.python(HEAD + code, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        process.wait_line("set")
        assert process.terminate() == 0
        assert "stopped in order" in process.lines
    check_arrived(receiver)


def test_an_ignored_SIGTERM_stays_ignored(receiver: OtlpReceiver) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HEAD + "sys.stdin.readline()"
    with Process.python(code, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        process.wait_line("ready")
        process.signal(signal.SIGTERM)
        process.send_line("end")
        assert process.wait() == 0
    check_arrived(receiver)


def test_D12_os_exit_loses_what_is_queued_as_documented(receiver: OtlpReceiver) -> None:
    with Process.python(HEAD + "os._exit(4)", env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        assert process.wait() == 4
    assert receiver.requests == []


def test_the_applications_own_providers_are_flushed_and_not_shut_down_before_their_time(
    receiver: OtlpReceiver,
) -> None:
    code = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
import atexit
def last():
    with trace.get_tracer("app").start_as_current_span("at-exit"): pass
    provider.force_flush()
atexit.register(last)
"""
    with Process.python(code + HEAD, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        process.wait_ok()
    assert [span.name for span in receiver.spans] == ["a-span", "at-exit"]


# --- a dead backend -------------------------------------------------------------------------------

SDKS_OWN_S = 9.0
"""What the SDK's own end takes with a dead backend: its exporters' timeout of 10 s, and more."""


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("backend", ["hangs", "refuses", "is not there"])
@pytest.mark.parametrize("ending", ["pass", "SIGTERM"])
def test_F5_a_dead_backend_does_not_hold_up_the_end(
    receiver: OtlpReceiver, protocol: str, backend: str, ending: str
) -> None:
    environment = receiver.environment(protocol, HOUR_MS)
    if backend == "hangs":
        receiver.hang()
    elif backend == "refuses":
        receiver.refuse(503)
    else:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    wait = "sys.stdin.readline()" if ending == "pass" else "time.sleep(60)"
    with Process.python(HEAD + wait, env=environment) as process:
        process.wait_line("ready")
        began = time.monotonic()
        if ending == "pass":
            process.send_line("end")
            assert process.wait() == 0
        else:
            assert process.terminate() == -signal.SIGTERM
        assert time.monotonic() - began < SDKS_OWN_S
        if backend == "hangs":
            assert "telemetry was still queued when the process ended" in process.output


def test_F5_the_end_waits_as_long_as_it_is_told(receiver: OtlpReceiver) -> None:
    receiver.hang()
    environment = receiver.environment("http/protobuf", HOUR_MS) | {"MULTIAGENTS_OTEL_FLUSH_TIMEOUT": "0"}
    with Process.python(HEAD, env=environment) as process:
        assert process.wait() == 0
        assert "the backend did not take it within 0 s (flush_timeout)" in process.output


def test_F5_a_second_shutdown_is_a_no_op(receiver: OtlpReceiver) -> None:
    code = """
from multiagents_otel import auto
auto.ENDING._at_exit()
auto.ENDING._at_exit()
trace.get_tracer_provider().shutdown()
"""
    with Process.python(HEAD + code, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        assert process.wait_ok() == "ready\n"
    check_arrived(receiver)
    assert len(receiver.requests) == 2
