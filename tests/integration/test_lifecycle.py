"""Rows D12, F1 and F5 where they meet: full queues, and the ends of children, whoever instrumented them.

The rows by themselves are in test_end_of_process.py (D12, F5) and test_forks.py (F1 to F4).
"""

from __future__ import annotations

import signal
import textwrap
import time
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver

HOUR_MS = 3_600_000
MANY = 1_500
"""Three batches of the SDK's batch processor, and within its queue."""
SDKS_OWN_S = 9.0
"""What the SDK's own end takes with a dead backend: its exporters' timeout of 10 s, and more."""

HEAD = """
import multiprocessing, os, signal, sys, threading, time
from multiagents_otel import auto_instrument
auto_instrument()
from opentelemetry import metrics, trace
def work(name, times=1):
    counter = metrics.get_meter("app").create_counter("app.count")
    for _ in range(times):
        with trace.get_tracer("app").start_as_current_span(name):
            counter.add(1, {"who": name})
"""


def environment(receiver: OtlpReceiver) -> dict[str, str]:
    """Only the end of a process sends anything."""
    return receiver.environment("http/protobuf", HOUR_MS) | {"OTEL_BSP_SCHEDULE_DELAY": str(HOUR_MS)}


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError('unhandled')", 1),
        ("os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()", -signal.SIGTERM),
    ],
    ids=["end", "sys.exit", "exception", "SIGTERM"],
)
def test_D12_all_batches_of_a_full_queue_leave_however_the_process_ends(
    receiver: OtlpReceiver, ends: str, status: int
) -> None:
    with Process.python(HEAD + f"work('many', {MANY})\n{ends}", env=environment(receiver)) as process:
        assert process.wait() == status, process.output
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans) == MANY
    assert receiver.total("app.count") == MANY


@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
def test_D12_F1_SIGTERM_of_a_forked_child_is_its_own_end_alone(receiver: OtlpReceiver, how: str) -> None:
    code = """
work("parent")
def child():
    work("child")
    print("ready", flush=True)
    threading.Event().wait()
if METHOD == "fork":
    pid = os.fork()
    if not pid:
        child()
    sys.stdin.readline()
    os.kill(pid, signal.SIGTERM)
    status = -os.WTERMSIG(os.waitpid(pid, 0)[1])
else:
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    sys.stdin.readline()
    process.terminate()
    process.join()
    status = process.exitcode
assert status == -signal.SIGTERM, status
"""
    with Process.python(HEAD + code.replace("METHOD", repr(how)), env=environment(receiver)) as process:
        process.wait_line("ready")
        process.send_line("terminate")
        process.wait_ok()
    instances = {span.name: span.resource["service.instance.id"] for span in receiver.spans}
    assert sorted(span.name for span in receiver.spans) == sorted(instances) == ["child", "parent"]
    assert len(set(instances.values())) == 2
    assert {
        (point.attributes["who"], point.resource["service.instance.id"]): point.value
        for point in receiver.metric("app.count")
    } == dict.fromkeys(instances.items(), 1)


def test_F1_a_childs_child_is_a_process_of_its_own_too(receiver: OtlpReceiver) -> None:
    code = """
work("parent")
def forked(function):
    pid = os.fork()
    if not pid:
        function()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
def grandchild():
    work("grandchild")
def child():
    forked(grandchild)
    process = multiprocessing.get_context("fork").Process(target=work, args=("grandchild-of-multiprocessing",))
    process.start()
    process.join()
    assert process.exitcode == 0
    work("child")
forked(child)
"""
    with Process.python(HEAD + code, env=environment(receiver)) as process:
        process.wait_ok()
    names = ["child", "grandchild", "grandchild-of-multiprocessing", "parent"]
    assert sorted(span.name for span in receiver.spans) == names
    assert len({span.resource["service.instance.id"] for span in receiver.spans}) == len(names)
    assert {name: receiver.total("app.count", {"who": name}) for name in names} == dict.fromkeys(names, 1)


@pytest.mark.parametrize("where", ["in the target", "in the main module"])
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_D12_F1_a_child_of_multiprocessing_that_instruments_itself_exports_at_its_end(
    receiver: OtlpReceiver, tmp_path: Path, method: str, where: str
) -> None:
    # With "fork" the main module is not imported anew: it is the parent then that has been instrumented.
    line = "from multiagents_otel import auto_instrument; auto_instrument()"
    code = f"""
    import multiprocessing
    {line if where == "in the main module" else ""}
    def main():
        {line if where == "in the target" else ""}
        from opentelemetry import metrics, trace
        with trace.get_tracer("app").start_as_current_span("child"):
            metrics.get_meter("app").create_counter("app.count").add(1)
    if __name__ == "__main__":
        process = multiprocessing.get_context({method!r}).Process(target=main)
        process.start()
        process.join()
        assert process.exitcode == 0
    """
    path = tmp_path / "app.py"
    path.write_text(textwrap.dedent(code))
    with Process.python(path, env=environment(receiver)) as process:
        process.wait_ok()
    assert [span.name for span in receiver.spans] == ["child"]
    assert receiver.total("app.count") == 1


@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
@pytest.mark.parametrize("backend", ["hangs", "is not there"])
def test_F5_a_dead_backend_does_not_hold_up_the_end_of_a_child(receiver: OtlpReceiver, backend: str, how: str) -> None:
    code = """
print("ready", flush=True)
sys.stdin.readline()
if METHOD == "fork":
    pid = os.fork()
    if not pid:
        work("child")
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
else:
    process = multiprocessing.get_context("fork").Process(target=work, args=("child",))
    process.start()
    process.join()
    assert process.exitcode == 0
print("ended", flush=True)
sys.stdin.readline()
os._exit(0)
"""
    variables = environment(receiver)
    if backend == "hangs":
        receiver.hang()
    else:
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    with Process.python(HEAD + code.replace("METHOD", repr(how)), env=variables) as process:
        process.wait_line("ready")
        began = time.monotonic()
        process.send_line("go")
        process.wait_line("ended")
        assert time.monotonic() - began < SDKS_OWN_S
        if backend == "hangs":  # the oldest SDK's exporters give up at once where nobody listens
            assert process.output.count("telemetry was still queued when the process ended") == 1
        process.send_line("end")
        process.wait_ok()
