"""Ways for a process to end beside those of test_end_of_process.py: what others do to signals, threads and shells."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.integration.test_end_of_process import HEAD, HOUR_MS, check_arrived
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer

HEAD_SIGINT = next(line for line in HEAD.splitlines() if "default_int_handler" in line)
DEEP = """
import hashlib
hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000_000)  # for minutes no Python handler is called
"""
LOST = "telemetry was still queued when the process ended"


def ran(receiver: OtlpReceiver, code: str, *, code_expected: int = 0, **variables: str) -> str:
    environment = receiver.environment("http/protobuf", HOUR_MS) | variables
    with Process.python(code, env=environment) as process:
        assert process.wait() == code_expected, process.output
        return process.output


def running(receiver: OtlpReceiver) -> list[float | None]:
    return [point.value for point in receiver.metric("multiagents.process.running")]


# --- threads --------------------------------------------------------------------------------------


def test_an_end_starts_no_thread(receiver: OtlpReceiver) -> None:
    """Python 3.12.0 to 3.12.2 start none inside atexit."""
    code = """
import _thread, atexit
def refuse(*arguments, **options):
    raise RuntimeError("can't create new thread at interpreter shutdown")
def begin():
    for module, name in ((_thread, "start_new_thread"), (threading, "_start_new_thread"),
                         (threading, "_start_joinable_thread")):
        setattr(module, name, refuse)
atexit.register(begin)
"""
    assert ran(receiver, HEAD + code) == "ready\n"
    check_arrived(receiver)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("threading.Thread(target=lambda: (time.sleep(0.3), late())).start()", 0),
        ("threading.Thread(target=lambda: (late(), sys.exit(3))).start()", 0),
        ("late(); threading.Thread(target=lambda: [early() for _ in iter(int, 1)], daemon=True).start()", 0),
        ("late(); asyncio.new_event_loop().run_until_complete(ends_inside())", 3),
        ("late(); sys.excepthook = lambda *error: print('hooked'); raise RuntimeError('unhandled')", 1),
        ("late(); import multiprocessing.pool; multiprocessing.pool.ThreadPool(2).apply_async(time.sleep, [60])", 0),
    ],
    ids=[
        "a thread after main",
        "sys.exit in a thread",
        "a daemon records",
        "in a loop",
        "excepthook",
        "a pool is busy",
    ],
)
def test_the_last_record_of_each_signal_arrives(receiver: OtlpReceiver, code: str, status: int) -> None:
    head = """
import logging
from opentelemetry._logs import get_logger, SeverityNumber, LogRecord
def early():
    with trace.get_tracer("app").start_as_current_span("early"): pass
def late():
    with trace.get_tracer("app").start_as_current_span("late"):
        metrics.get_meter("app").create_counter("late.counter").add(1)
        get_logger("app").emit(LogRecord(timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, body="late"))
async def ends_inside():
    asyncio.get_running_loop().call_later(0.1, sys.exit, 3)
    asyncio.get_running_loop().create_task(asyncio.sleep(60))
    await asyncio.sleep(60)
"""
    output = ran(receiver, HEAD + head + code, code_expected=status)
    assert "late" in {span.name for span in receiver.spans}
    assert receiver.total("late.counter") == 1
    assert [record.body for record in receiver.logs] == ["late"]
    assert LOST not in output
    assert "Traceback" not in output


# --- signals --------------------------------------------------------------------------------------

SERVER = """
def stop(number, frame):
    global stopping
    stopping = True
stopping = False
before = signal.signal(signal.SIGTERM, stop)
def serve():
    print("serving", flush=True)
    while not stopping:
        time.sleep(0.01)
def restore():
    signal.signal(signal.SIGTERM, before)
    signal.raise_signal(signal.SIGTERM)
"""
ASYNCIO = """
async def main():
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    print("serving", flush=True)
    await stop.wait()
    loop.remove_signal_handler(signal.SIGTERM)
asyncio.run(main())
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""


@pytest.mark.parametrize(
    "code",
    [
        "import signal, time\n" + SERVER + HEAD + "serve(); restore()",
        HEAD + SERVER + "assert before is signal.SIG_DFL; serve(); restore()",
        "import time, signal\nfrom signal import signal as set_handler\n"
        + HEAD
        + SERVER.replace("signal.signal(", "set_handler(")
        + "serve(); restore()",
        HEAD + ASYNCIO,
    ],
    ids=["its handler is first", "ours is first", "its own name for signal()", "asyncio"],
)
def test_a_server_that_restores_the_default_and_raises_the_signal_again(receiver: OtlpReceiver, code: str) -> None:
    with Process.python(code, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        process.wait_line("serving")
        assert process.terminate() == -signal.SIGTERM
    check_arrived(receiver)
    assert running(receiver) == [0]


def test_others_see_the_signals_as_without_us(receiver: OtlpReceiver) -> None:
    code = """
def mine(number, frame): pass
for number in (signal.SIGTERM, signal.SIGHUP):
    assert signal.getsignal(number) is signal.SIG_DFL
    assert signal.signal(number, mine) is signal.SIG_DFL
    assert signal.signal(number, signal.SIG_IGN) is mine
    assert signal.signal(number, signal.SIG_DFL) is signal.SIG_IGN
    assert signal.signal(number, signal.SIG_DFL) is signal.SIG_DFL == signal.getsignal(number)
assert signal.signal(signal.SIGINT, signal.SIG_DFL) is signal.default_int_handler
assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
assert signal.signal(signal.SIGINT, signal.default_int_handler) is signal.SIG_DFL
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
for wrong in (lambda: signal.signal(signal.SIGTERM, "x"), lambda: signal.signal(signal.SIGKILL, mine)):
    try:
        wrong()
    except (TypeError, OSError):
        pass
    else:
        raise AssertionError
import subprocess  # a program that is executed has the default
assert subprocess.call(["sh", "-c", "kill -TERM $$"]) == -signal.SIGTERM
"""
    assert ran(receiver, HEAD + code) == "ready\n"
    check_arrived(receiver)


def test_SIGHUP_flushes_unless_it_is_ignored(receiver: OtlpReceiver) -> None:
    with Process.python(HEAD + "time.sleep(60)", env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        process.wait_line("ready")
        process.signal(signal.SIGHUP)
        assert process.wait() == -signal.SIGHUP
    check_arrived(receiver)
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + HEAD
    ran(receiver, code + "os.kill(os.getpid(), signal.SIGHUP); print('lives')")


@pytest.mark.parametrize("ending", ["time.sleep(60)", "pass"], ids=["SIGTERM twice", "SIGTERM at exit"])
def test_SIGTERM_in_a_flush_ends_the_process_by_the_signal_after_it(receiver: OtlpReceiver, ending: str) -> None:
    receiver.hang()
    environment = receiver.environment("http/protobuf", HOUR_MS) | {"MULTIAGENTS_OTEL_FLUSH_TIMEOUT": "60"}
    with Process.python(HEAD + ending, env=environment) as process:
        process.wait_line("ready")
        if ending != "pass":
            process.signal(signal.SIGTERM)
        receiver.wait_for(lambda got: got.held == 2)
        process.signal(signal.SIGTERM)
        receiver.accept()  # what hangs is refused, and sent again
        assert process.wait() == -signal.SIGTERM
    check_arrived(receiver)


def test_SIGTERM_in_the_midst_of_recording_waits_for_no_lock(receiver: OtlpReceiver) -> None:
    code = """
counter = metrics.get_meter("app").create_counter("app.counter")
counter.add(1)
print("recording", flush=True)
while True:
    counter.add(1)
"""
    for _ in range(3):
        with Process.python(HEAD + code, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
            process.wait_line("recording")
            assert process.terminate() == -signal.SIGTERM
            assert LOST not in process.output
    assert len(receiver.metric("app.counter")) == 3


def test_a_process_that_survives_SIGTERM_goes_on_recording(receiver: OtlpReceiver) -> None:
    code = """
kill, os.kill = os.kill, lambda *_: None  # as the first process of a container, which the default does nothing to
for number in range(2):
    kill(os.getpid(), signal.SIGTERM)
    sys.stdin.readline()
    with trace.get_tracer("app").start_as_current_span(f"after-{number}"):
        metrics.get_meter("app").create_counter("a.counter").add(1)
sys.stdin.readline()
"""
    environment = receiver.environment("http/protobuf", 100)
    with Process.python(HEAD + code, env=environment) as process:
        for _ in range(2):
            receiver.wait_for(lambda got: running(got) == [0])
            receiver.wait_for(lambda got: running(got) == [1])
            process.send_line("go on")
        process.send_line("end")
        process.wait_ok()
    assert sorted(span.name for span in receiver.spans) == ["a-span", "after-0", "after-1"]
    assert receiver.total("a.counter") == 5


@pytest.mark.parametrize(("chain", "code"), [(True, -signal.SIGTERM), (False, 0)], ids=["ends", "lives on"])
def test_a_signal_goes_on_to_a_handler_in_C(receiver: OtlpReceiver, chain: bool, code: int) -> None:
    """Python shows the default for it, as faulthandler installs it."""
    register = f"import faulthandler, signal; faulthandler.register(signal.SIGTERM, chain={chain})\n"
    kill = "os.kill(os.getpid(), signal.SIGTERM)\n"
    assert "Current thread" in ran(receiver, register + HEAD + kill, code_expected=code)
    check_arrived(receiver)


def test_a_signal_writes_into_no_file_of_a_daemon_that_has_closed_all_others(receiver: OtlpReceiver) -> None:
    code = """
import tempfile
os.closerange(3, 1024)
deadline = time.monotonic() + 60
while (others := signal.set_wakeup_fd(-1)) != -1 and time.monotonic() < deadline:
    signal.set_wakeup_fd(others)
    time.sleep(0.01)
files = [tempfile.TemporaryFile(buffering=0) for _ in range(16)]
signal.signal(signal.SIGUSR1, lambda *_: None)
os.kill(os.getpid(), signal.SIGUSR1)
pid = os.fork()
if not pid:
    for file in files:
        file.write(b"x")  # the child has each of them
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert [os.fstat(file.fileno()).st_size for file in files] == [1] * 16
"""
    ran(receiver, HEAD + code)
    check_arrived(receiver)


def test_threads_that_share_one_of_the_system_are_not_blocked(receiver: OtlpReceiver) -> None:
    """As under gevent and eventlet: each runs until it switches, and a read of a pipe does not."""
    code = """
import _thread, os, threading
shared, real_read = _thread.start_new_thread, os.read
def start(run, arguments, *more):
    return shared(lambda: run(*arguments), ())
def read(fd, size):
    if threading.current_thread() is not threading.main_thread():
        print("blocked", flush=True)
    return real_read(fd, size)
_thread.start_new_thread, os.read = start, read
"""
    assert ran(receiver, code + HEAD + "import multiagents_otel; multiagents_otel.flush()") == "ready\n"
    check_arrived(receiver)


@pytest.mark.parametrize("code", [HEAD + "DEFAULT", "import signal\nDEFAULT" + HEAD.replace(HEAD_SIGINT, "")])
@pytest.mark.parametrize("work", ["time.sleep(60)", DEEP], ids=["sleeps", "deep in C code"])
def test_SIGINT_whose_default_the_application_has_set_flushes(receiver: OtlpReceiver, code: str, work: str) -> None:
    code = code.replace("DEFAULT", "signal.signal(signal.SIGINT, signal.SIG_DFL)\n")
    code += "\nassert signal.getsignal(signal.SIGINT) is signal.SIG_DFL\nprint('default', flush=True)\n"
    with Process.python(code + work, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        process.wait_line("default")
        process.signal(signal.SIGINT)
        assert process.wait() == -signal.SIGINT
    check_arrived(receiver)


IN_THREAD = """
import pathlib, re, sys, threading, time
import multiagents_otel
def caught(number):
    [mask] = re.findall(r"SigCgt:\\s*(\\w+)", pathlib.Path("/proc/self/status").read_text())
    return int(mask, 16) >> number - 1 & 1
begun = threading.Event()
def begin():
    multiagents_otel.auto_instrument()
    begun.set()
    from opentelemetry import metrics, trace
    with trace.get_tracer("app").start_as_current_span("a-span"):
        metrics.get_meter("app").create_counter("a.counter").add(3)
def serve():
    begin()
    deadline = time.monotonic() + 60
    while not caught(15) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not caught(23)  # SIGURG, by which the main thread was interrupted
    print("serving", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "code",
    [
        "thread = threading.Thread(target=begin); thread.start(); thread.join(); begin = int; serve()",
        "thread = threading.Thread(target=serve); thread.start(); thread.join()",
        "threading.Thread(target=serve).start(); begun.wait()",  # and the interpreter waits for the thread
        "threading.Thread(target=serve).start(); threading.Event().wait()",
        "import concurrent.futures\nwith concurrent.futures.ThreadPoolExecutor(1) as pool: pool.submit(serve).result()",
        "threading.Thread(target=serve).start()\nwhile True: time.sleep(0.01)",
    ],
    ids=["the thread has ended", "joined", "main has ended", "an event", "a pool", "main works"],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_flushes_what_was_set_up_in_a_thread(
    receiver: OtlpReceiver, code: str, number: signal.Signals
) -> None:
    with Process.python(IN_THREAD + code, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        process.wait_line("serving")
        process.signal(number)
        assert process.wait() == -number
    check_arrived(receiver)


def test_a_set_up_in_a_thread_of_another_interpreter_is_reported_once(receiver: OtlpReceiver) -> None:
    code = """
import sys, threading
import ctypes; del ctypes.pythonapi  # as in PyPy
def begin():
    import multiagents_otel
    multiagents_otel.auto_instrument()
    multiagents_otel.auto_instrument()
    loggers.append(multiagents_otel.FileLogger("a.log"))
loggers = []
thread = threading.Thread(target=begin)
thread.start()
thread.join()
"""
    [line] = ran(receiver, code).splitlines()
    assert "what is queued at SIGTERM, SIGHUP is lost. Call auto_instrument() in the main thread" in line


# --- children -------------------------------------------------------------------------------------

CHILD = """
trace.get_tracer_provider().force_flush()
import multiprocessing
def work(name="child"):
    with trace.get_tracer("app").start_as_current_span(name): pass
def in_thread():
    auto_instrument()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""


def test_a_child_that_records_nothing_ends_at_once_deep_in_C_code(receiver: OtlpReceiver) -> None:
    code = """
import hashlib
def deep():
    print("child", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000_000)  # for minutes no Python handler is called
process = multiprocessing.get_context("fork").Process(target=deep)
process.start()
sys.stdin.readline()
process.terminate()
process.join(50)
assert process.exitcode == -signal.SIGTERM, process.exitcode
"""
    with Process.python(HEAD + CHILD + code, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        process.wait_line("child")
        process.send_line("terminate")
        process.wait_ok()


def test_a_child_that_records_nothing_waits_for_no_backend(receiver: OtlpReceiver) -> None:
    code = """
pid = os.fork()
if not pid:
    sys.exit(0)
os.waitpid(pid, 0)
os._exit(0)
"""
    receiver.hang()
    start = HEAD[: HEAD.index("with trace")]
    assert ran(receiver, start + code, MULTIAGENTS_OTEL_FLUSH_TIMEOUT="50") == ""


@pytest.mark.parametrize("handler", ["", "signal.set_wakeup_fd(-1)"])
def test_SIGTERM_ends_a_process_that_is_deep_in_C_code(receiver: OtlpReceiver, handler: str) -> None:
    code = f"""
import hashlib
{handler}
print("deep", flush=True)
hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000_000)  # for minutes no Python handler is called
"""
    with Process.python(HEAD + code, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        process.wait_line("deep")
        assert process.terminate() == -signal.SIGTERM
    check_arrived(receiver)


@pytest.mark.parametrize("begins", ["work()", "in_thread()", "auto_instrument(); work()"])
def test_a_forked_worker_whose_server_sets_the_default_is_flushed(receiver: OtlpReceiver, begins: str) -> None:
    code = f"""
pid = os.fork()
if not pid:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    {begins}
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    print("serving", flush=True)
    time.sleep(60)
sys.stdin.readline()
os.kill(pid, signal.SIGTERM)
assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM
"""
    with Process.python(HEAD + CHILD + code, env=receiver.environment("http/protobuf", HOUR_MS)) as process:
        process.wait_line("serving")
        process.send_line("terminate")
        process.wait_ok()
    assert sorted(span.name for span in receiver.spans) == ["a-span", "child"]


@pytest.mark.parametrize(
    "pool",
    [
        "with concurrent.futures.ProcessPoolExecutor(1, context) as pool: pool.submit(work).result()",
        "with context.Pool(1) as pool: pool.apply(work)",  # terminates its workers
    ],
)
def test_the_workers_of_pools_are_flushed(receiver: OtlpReceiver, pool: str) -> None:
    code = "\nimport concurrent.futures; context = multiprocessing.get_context('fork')\n"
    ran(receiver, HEAD + CHILD + code + pool)
    receiver.wait_for(lambda got: [span for span in got.spans if span.name == "child"])


@pytest.mark.parametrize("end", ["work()", "work(); sys.exit()", "threading.Thread(target=work).start()", "pass"])
def test_a_child_that_is_forked_in_a_thread_ends_with_the_thread(receiver: OtlpReceiver, end: str) -> None:
    code = f"""
def fork():
    pid = os.fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
    else:
        {end}
thread = threading.Thread(target=fork)
thread.start()
thread.join()
"""
    ran(receiver, HEAD + CHILD + code)
    assert [span.name for span in receiver.spans] == ["a-span"] + ["child"] * (end != "pass")


def test_a_child_of_multiprocessing_that_raises_has_crashed(receiver: OtlpReceiver) -> None:
    code = """
def fail():
    work()
    raise RuntimeError("unhandled")
process = multiprocessing.get_context("fork").Process(target=fail)
process.start()
process.join()
os._exit(0)
"""
    ran(receiver, HEAD + CHILD + code)
    assert running(receiver) == [1]


# --- orderly or not -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        # as shells and test runners keep what they show
        """
def shell():
    try:
        exec("1 / 0", globals())
    except ZeroDivisionError:
        sys.last_type, sys.last_value, sys.last_traceback = sys.exc_info()
shell()
""",
        "\nimport code; code.InteractiveConsole(globals()).push('1 / 0')\n",
        "\nimport code; sys.stdin = open('/dev/null'); code.InteractiveConsole(globals()).push('nothing.at_all')\n",
    ],
)
def test_an_exception_that_a_shell_has_shown_is_no_crash(receiver: OtlpReceiver, code: str) -> None:
    ran(receiver, HEAD + code)
    assert running(receiver) == [0]


def test_an_exception_in_an_interactive_interpreter_is_no_crash(receiver: OtlpReceiver) -> None:
    environment = receiver.environment("http/protobuf", HOUR_MS)
    with Process([sys.executable, "-i", "-c", HEAD + "1 / 0"], env=environment) as process:
        process.wait_line("ZeroDivisionError")
        process.send_line("raise SystemExit(0)")
        process.wait()
    assert running(receiver) == [0]


def test_a_module_that_is_run_by_its_name_and_raises_has_crashed(receiver: OtlpReceiver) -> None:
    code = "import runpy, sys; sys.path.insert(0, '.'); open('app.py', 'w').write(CODE); import subprocess\n"
    code = f"CODE = {HEAD + '1 / 0'!r}\n{code}assert subprocess.call([sys.executable, '-m', 'app']) == 1"
    ran(receiver, code)
    assert running(receiver) == [1]


# --- causes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize(
    ("backend", "cause"), [("hangs", "did not take it within"), ("is not there", "onnection refused"), ("404", "")]
)
def test_what_is_lost_is_reported_with_its_cause_and_no_traceback(
    receiver: OtlpReceiver, protocol: str, backend: str, cause: str
) -> None:
    environment = receiver.environment(protocol, HOUR_MS) | {"MULTIAGENTS_OTEL_FLUSH_TIMEOUT": "1.5"}
    if backend == "hangs":
        receiver.hang()
    elif backend == "404":
        receiver.refuse(404)
        cause = "404" if protocol != "grpc" else "UNIMPLEMENTED"
    else:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    with Process.python(HEAD, env=environment) as process:
        process.wait_ok()
        lines = process.lines[1:]
    assert len(lines) == 1 if backend == "hangs" else 1 <= len(lines) <= 2  # one for each signal at most
    for line in lines:
        assert LOST in line or "dropped: the export failed" in line
        assert cause in line or (protocol == "grpc" and "UNAVAILABLE" in line)  # the oldest SDK gives no more


def test_the_time_for_collecting_does_not_count(receiver: OtlpReceiver) -> None:
    code = """
def slow(options):
    time.sleep(1)
    return [metrics.Observation(1)]
metrics.get_meter("app").create_observable_gauge("slow", [slow])
"""
    assert ran(receiver, HEAD + code, MULTIAGENTS_OTEL_FLUSH_TIMEOUT="0.5") == "ready\n"
    check_arrived(receiver)
    assert receiver.total("slow") == 1


# --- nothing on stderr ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "class Handler(logging.Handler):\n    def emit(self, record): pass\nlogging.getLogger().addHandler(Handler())",
        "import multiagents_otel; assert multiagents_otel.flush()",
        "trace.get_tracer_provider().force_flush()\nif not os.fork(): record(); sys.exit(0)\nos.wait()",
        "trace.get_tracer_provider().force_flush()\nif not os.fork(): sys.exit(0)\nos.wait()",
        "monitors = [multiagents_otel.EventMonitor(), multiagents_otel.ConsoleLogger()]",
    ],
    ids=["a handler of the main module", "flush", "fork", "fork unused", "monitors"],
)
@pytest.mark.parametrize("backend", ["is there", "is not there"])
def test_nothing_is_left_unclosed_or_raises_at_the_end(receiver: OtlpReceiver, code: str, backend: str) -> None:
    head = """
import logging, os, sys
import multiagents_otel
multiagents_otel.auto_instrument(config={})
from opentelemetry import trace
def record():
    with trace.get_tracer("app").start_as_current_span("a-span"): pass
record()
"""
    environment = receiver.environment("http/protobuf", HOUR_MS) | {"MULTIAGENTS_OTEL_FLUSH_TIMEOUT": "1"}
    if backend == "is not there":
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
        code = code.replace("assert ", "").replace("trace.get_tracer_provider().force_flush()\n", "")
    ignored = ["-W", "ignore::DeprecationWarning"]  # Python 3.12 has one for forks of a process with threads
    with Process([sys.executable, "-X", "dev", *ignored, "-c", head + code], env=environment) as process:
        process.wait_ok()
        output = process.output
    for sign in ("ResourceWarning", "Traceback", "Exception ignored"):
        assert sign not in output, output
    if backend == "is there":
        assert output == ""


# --- flush ----------------------------------------------------------------------------------------


def test_flush_can_be_called_anywhere(receiver: OtlpReceiver) -> None:
    code = """
import multiagents_otel
assert multiagents_otel.flush() is True  # nothing is there yet
multiagents_otel.auto_instrument()
import asyncio, os, signal, sys, threading
from opentelemetry import trace
def record(name):
    with trace.get_tracer("app").start_as_current_span(name): pass
def flushed(name):
    record(name)
    print(name, multiagents_otel.flush(), flush=True)
flushed("main")
thread = threading.Thread(target=flushed, args=["thread"])
thread.start()
thread.join()
async def main(): flushed("loop")
asyncio.run(main())
signal.signal(signal.SIGUSR1, lambda *_: flushed("handler"))
os.kill(os.getpid(), signal.SIGUSR1)
if not os.fork():
    flushed("child")
    os._exit(0)
os.wait()
logger = multiagents_otel.FileLogger("flushed.log")
asyncio.run(logger.info("a line"))
assert multiagents_otel.flush(5) is True
assert "a line" in open("flushed.log").read()
print("last", flush=True)
os._exit(0)
"""
    output = ran(receiver, code)
    names = ["main", "thread", "loop", "handler", "child"]
    assert output.splitlines() == [f"{name} True" for name in names] + ["last"]
    assert sorted(span.name for span in receiver.spans) == sorted(names)


def test_flush_is_false_when_the_backend_takes_nothing_and_never_raises(receiver: OtlpReceiver) -> None:
    code = """
import multiagents_otel
assert multiagents_otel.flush(0.2) is False
os._exit(0)
"""
    receiver.hang()
    ran(receiver, HEAD + code)


@pytest.mark.parametrize("timeout", ["float('nan')", "float('inf')", "-1", "'30'", "[]", "True", "10**400", "object()"])
def test_flush_takes_the_default_for_what_is_no_timeout_and_warns_once(receiver: OtlpReceiver, timeout: str) -> None:
    code = f"""
import fractions, multiagents_otel
for number in range(2):
    record(str(number))
    assert multiagents_otel.flush({timeout}) is True
assert multiagents_otel.flush(fractions.Fraction(61, 2)) is True
os._exit(0)
"""
    record = """
def record(name):
    with trace.get_tracer("app").start_as_current_span(name): pass
"""
    [_ready, line] = ran(receiver, HEAD + record + code).splitlines()
    assert "flush() can't wait for " in line
    assert "flush_timeout (2 s) is used instead" in line
    assert [span.name for span in receiver.spans] == ["a-span", "0", "1"]


def test_the_timeout_holds_where_tests_freeze_the_clocks(receiver: OtlpReceiver) -> None:
    """As freezegun does: it replaces the functions, and the references of each module to them."""
    code = """
import multiagents_otel
logger = multiagents_otel.FileLogger("a.log")
for name in ("monotonic", "perf_counter", "time"):
    real = getattr(time, name)
    frozen = lambda now=real(): now
    for module in [time, *(module for key, module in sys.modules.items() if key.startswith("multiagents_otel"))]:
        for attribute, value in list(vars(module).items()):
            if value is real:
                setattr(module, attribute, frozen)
assert time.monotonic() == time.monotonic()
assert multiagents_otel.flush() is False
asyncio.run(logger.info("a line"))
assert multiagents_otel.flush(0.1) is False
assert "a line" in open("a.log").read()
"""
    receiver.hang()
    output = ran(receiver, HEAD + code, MULTIAGENTS_OTEL_FLUSH_TIMEOUT="0.5")
    assert LOST in output


@pytest.mark.parametrize(
    "code",
    [
        "multiagents_otel.auto_instrument(redact_callback=lambda path, value: (flushed(), value)[1])",
        """
multiagents_otel.auto_instrument()
metrics.get_meter("app").create_observable_gauge("gauge", [lambda options: (flushed(), [])[1]])
""",
        """
multiagents_otel.auto_instrument(redact_callback=lambda path, value: (flushed(), value)[1])
record()
deadline = time.monotonic() + 60
while not answers and time.monotonic() < deadline:  # the SDK's own thread exports
    time.sleep(0.01)
""",
        """
multiagents_otel.auto_instrument(redact_callback=lambda path, value: (flushed(), value)[1])
record()
assert trace.get_tracer_provider().force_flush()
""",
    ],
    ids=["redact_callback", "observable", "the SDK's thread", "force_flush"],
)
def test_a_flush_in_a_callback_of_an_export_does_not_wait_for_itself(receiver: OtlpReceiver, code: str) -> None:
    head = """
import time
import multiagents_otel
from opentelemetry import metrics, trace
answers = []
def flushed():
    answers.append(multiagents_otel.flush())
def record():
    with trace.get_tracer("app").start_as_current_span("own") as span: span.set_attribute("key", "value")
"""
    tail = "\nrecord()\nassert multiagents_otel.flush(0.5) is True\nassert answers and not any(answers)"
    delay = "50" if "deadline" in code else str(HOUR_MS)
    ran(receiver, head + code + tail, OTEL_BSP_SCHEDULE_DELAY=delay)
    assert {span.name for span in receiver.spans} == {"own"}


RAISED = ["asyncio.CancelledError", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "Own"]
RAISING = """
import asyncio, os, threading, time
import multiagents_otel
class Own(BaseException): pass
"""


@pytest.mark.parametrize("error", RAISED)
def test_an_exporter_that_raises_anything_fails_one_flush_only(receiver: OtlpReceiver, error: str) -> None:
    code = f"""
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
class Exporter(SpanExporter):
    fails = True
    def export(self, spans):
        if self.fails: raise {error}("a cause")
        return SpanExportResult.SUCCESS
exporter = Exporter()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter))
multiagents_otel.auto_instrument(tracer_provider=provider)
def flushed(fails):
    exporter.fails = fails
    with provider.get_tracer("app").start_as_current_span("own"): pass
    return multiagents_otel.flush()
assert [flushed(fails) for fails in (True, True, False, True)] == [False, False, True, False]
exporter.fails = True
with provider.get_tracer("app").start_as_current_span("own"): pass
"""
    output = ran(receiver, RAISING + code, OTEL_BSP_SCHEDULE_DELAY=str(HOUR_MS), MULTIAGENTS_OTEL_FLUSH_TIMEOUT="30")
    assert "the backend did not take it within" not in output
    assert f"{error.split('.')[-1]}: a cause" in next(line for line in output.splitlines() if LOST in line)


def test_a_flush_starts_its_thread_again(receiver: OtlpReceiver) -> None:
    code = """
import ctypes, sys
multiagents_otel.auto_instrument()
assert multiagents_otel.flush()
for ident, frame in sys._current_frames().items():
    if frame.f_code.co_filename.endswith("flushing.py"):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(SystemExit))
multiagents_otel.flush(0.1)  # the threads take this one, and end
deadline = time.monotonic() + 60
while not multiagents_otel.flush(5) and time.monotonic() < deadline:
    pass
assert time.monotonic() < deadline
"""
    ran(receiver, RAISING + code)


@pytest.mark.parametrize("error", RAISED)
def test_a_metric_callback_that_raises_anything_ends_no_thread(receiver: OtlpReceiver, error: str) -> None:
    code = f"""
multiagents_otel.auto_instrument()
from opentelemetry import metrics
calls = []
def observe(options):
    calls.append(len(calls))
    if len(calls) < 4: raise {error}
    return [metrics.Observation(1)]
metrics.get_meter("app").create_observable_gauge("gauge", [observe])
deadline = time.monotonic() + 60
while len(calls) < 6 and time.monotonic() < deadline:
    time.sleep(0.01)
assert multiagents_otel.flush() is True
"""
    environment = receiver.environment("http/protobuf", 50)
    with Process.python(RAISING + code, env=environment) as process:
        process.wait_ok()
        assert "Traceback" not in process.output
    assert receiver.total("gauge") == 1


def test_flush_after_the_end_and_of_providers_of_the_applications_own(receiver: OtlpReceiver) -> None:
    code = """
import atexit
import multiagents_otel
atexit.register(lambda: print("after", multiagents_otel.flush()))
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
with trace.get_tracer("app").start_as_current_span("own"): pass
print("own", multiagents_otel.flush(), flush=True)
multiagents_otel.auto_instrument()
"""
    lines = ran(receiver, code).splitlines()
    assert (lines[0], lines[-1]) == ("own True", "after True")
    assert [span.name for span in receiver.spans] == ["own"]


def test_flush_covers_providers_that_only_the_instrumentor_has(receiver: OtlpReceiver) -> None:
    code = """
import multiagents_otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
multiagents_otel.MultiAgentsInstrumentor().instrument(tracer_provider=provider)
with provider.get_tracer("app").start_as_current_span("own"): pass
print(multiagents_otel.flush(), flush=True)
os._exit(0)
"""
    assert ran(receiver, "import os\n" + code) == "True\n"
    assert [span.name for span in receiver.spans] == ["own"]


def test_a_first_flush_when_the_interpreter_has_torn_down_its_imports_raises_nothing(receiver: OtlpReceiver) -> None:
    code = """
import multiagents_otel
multiagents_otel.auto_instrument()
class Pool:
    def __del__(self):
        print(sys.meta_path, multiagents_otel.flush())
pool = Pool()
"""
    assert ran(receiver, "import sys\n" + code) == "None True\n"


def test_a_first_flush_that_can_not_be_imported_does_not_claim_that_all_has_left(receiver: OtlpReceiver) -> None:
    code = """
import sys
from multiagents_otel import MultiAgentsInstrumentor, flush
MultiAgentsInstrumentor().instrument()
class Pool:
    def __del__(self):
        print(sys.meta_path, flush())
pool = Pool()
"""
    assert ran(receiver, code) == "None False\n"


def test_the_last_stop_flushes_in_the_background(receiver: OtlpReceiver, redis: RedisServer) -> None:
    code = f"""
from multiagents.event_bus.redis_bus import RedisEventBus
async def main():
    buses = [RedisEventBus({redis.url!r}) for _ in range(2)]
    for bus in buses:
        await bus.start()
        await bus.subscribe("a-channel", print)
    await buses[0].stop()
    sys.stdin.readline()
    await buses[1].stop()
asyncio.run(main())
print("stopped", flush=True)
sys.stdin.readline()
os._exit(0)
"""
    environment = receiver.environment("http/protobuf", HOUR_MS)
    environment |= {"OTEL_BSP_SCHEDULE_DELAY": str(HOUR_MS)}
    with Process.python(HEAD + code, env=environment) as process:
        process.wait_line("ready")
        assert receiver.requests == []
        process.send_line("stop the last one")
        process.wait_line("stopped")
        receiver.wait_for(lambda got: got.spans and got.total("a.counter") == 3)
        process.send_line("end")
