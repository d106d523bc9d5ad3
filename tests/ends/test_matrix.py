"""The last record of a process arrives, whatever ends it, on every Python that the machine has."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.matrix.environments import ENDS, Environment, NoInterpreterError, build
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver

LAST: Final = "last"
WEB: Final = "tests.ends.web:app"
HOUR_MS: Final = 3_600_000  # only the end of the process exports anything
LEAST_PYTHONS: Final = 4
START: Final = "import os, signal, sys, threading, multiprocessing\nfrom tests.ends.recording import record\n"
WAIT: Final = "record(); print('ready', flush=True); threading.Event().wait(60)"
THREAD: Final = """
def last():
    threading.main_thread().join()
    record()
    sys.exit()
threading.Thread(target=last).start()
"""
FORK: Final = """
record()
if child := os.fork():
    os.waitpid(child, 0)
else:
    record()
    sys.exit()
"""
MULTIPROCESSING: Final = """
def child():
    record()
if __name__ == "__main__":
    record()
    process = multiprocessing.get_context({method!r}).Process(target=child)
    process.start()
    process.join()
"""
PID_1: Final = """
assert os.getpid() == 1
record()
os.kill(1, signal.SIGTERM)
record()
"""


class Way(NamedTuple):
    """A way for a process to end.

    Attributes:
        arguments: of Python.
        records: how many have to arrive.
        code: the exit code.
        sent: the signal that ends the process once it is ready.
        ready: how many of its processes have to be ready before.
        running: ``multiagents.process.running`` in the last export of each process.
        prefix: the command that starts Python.
        protocols: those with which it can be done.
    """

    arguments: tuple[str, ...]
    records: int = 1
    code: int = 0
    sent: int | None = None
    ready: int = 1
    running: int = 0
    prefix: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ("http/protobuf", "grpc")


def python(code: str) -> tuple[str, ...]:
    return ("-c", START + code)


def gunicorn(*arguments: str) -> tuple[str, ...]:
    return ("-m", "gunicorn", "--bind", "127.0.0.1:0", "--workers", "1", *arguments)


ASGI_WORKER: Final = ("--worker-class", "uvicorn.workers.UvicornWorker", WEB)
UVICORN: Final = ("-m", "uvicorn", WEB, "--port", "0")
WAYS: Final = {
    "plain exit": Way(python("record()")),
    "exception": Way(python("record(); raise RuntimeError('unhandled')"), code=1, running=1),
    "SIGTERM": Way(python(WAIT), code=-signal.SIGTERM, sent=signal.SIGTERM),
    "SIGINT": Way(python(WAIT), code=-signal.SIGINT, sent=signal.SIGINT),
    "sys.exit in a thread": Way(python(THREAD)),
    "fork": Way(python(FORK), records=2),
    "fork of multiprocessing": Way(python(MULTIPROCESSING.format(method="fork")), records=2),
    "spawn of multiprocessing": Way(("{program}",), records=2),
    "uvicorn": Way(UVICORN, sent=signal.SIGTERM, code=-signal.SIGTERM),
    "uvicorn --workers 2": Way((*UVICORN, "--workers", "2"), records=2, ready=2, sent=signal.SIGTERM),
    "gunicorn": Way(gunicorn(*ASGI_WORKER), sent=signal.SIGTERM),
    "gunicorn --preload": Way(gunicorn("--preload", *ASGI_WORKER), sent=signal.SIGTERM),
    "gunicorn, its own worker": Way(
        gunicorn("--config", "python:tests.ends.web", "tests.ends.web:wsgi"), sent=signal.SIGTERM
    ),
    "PID 1": Way(python(PID_1), records=2, prefix=("unshare", "--pid", "--fork", "--mount-proc")),
    "notebook": Way(("-m", "tests.ends.notebook")),
}


@pytest.fixture(scope="module", params=ENDS, ids=lambda environment: environment.python)
def interpreter(request: pytest.FixtureRequest) -> str:
    environment: Environment = request.param
    try:
        return str(build(environment))
    except NoInterpreterError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "spawns.py"
    path.write_text(START + MULTIPROCESSING.format(method="spawn"))
    return path


@pytest.mark.parametrize("way", WAYS)
def test_the_last_record_arrives(interpreter: str, way: str, program: Path, tmp_path: Path) -> None:
    arguments, records, code, sent, ready, running, prefix, protocols = WAYS[way]
    for protocol in protocols:
        argv = [*prefix, interpreter, *(argument.replace("{program}", str(program)) for argument in arguments)]
        home = {"HOME": str(tmp_path)}  # where gunicorn has its socket, and a kernel its connection file
        with OtlpReceiver() as receiver, Process(argv, env=receiver.environment(protocol, HOUR_MS) | home) as process:
            if sent is not None:
                process.wait_line("ready", count=ready)
                process.signal(sent)
            assert process.wait() == code, process.output
            assert ("Traceback" in process.output) == (way == "exception" or sent == signal.SIGINT), process.output
            arrived = {
                "spans": [span.name for span in receiver.spans if span.scope_name == "app"],
                "counter": receiver.total(LAST),
                "logs": [record.body for record in receiver.logs if record.scope_name == "app"],
                "running": {point.value for point in receiver.metric("multiagents.process.running")},
            }
        expected = {"spans": [LAST] * records, "counter": records, "logs": [LAST] * records, "running": {running}}
        assert arrived == expected, f"{protocol}:\n{process.output}"


def test_the_machine_has_enough_pythons() -> None:
    missing = []
    for environment in ENDS:
        try:
            build(environment)
        except NoInterpreterError as error:
            missing.append(str(error))
    print(*missing, sep="\n")
    if os.environ.get("CI"):
        assert len(ENDS) - len(missing) >= LEAST_PYTHONS, missing
