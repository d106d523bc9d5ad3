"""Programs that run for as long as the stack does: found, started, watched and stopped."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / ".tools"
READY, END = 60.0, 10.0  # seconds at most
LAST_LINES = 15
OURSELVES = os.getpid()


class StackError(Exception):
    """The stack can't run, or runs no more; the message is for its user."""


class Stop:
    """Whether somebody has asked for the end: by Ctrl-C, by a signal, or by closing the terminal."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True  # no exception: it could fall between the start of a program and our note of it


def _end_with_us() -> None:
    """In a new program, before it is itself: if we are killed outright, the system ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != OURSELVES:  # killed before that
            os._exit(1)


class Program:
    """A running program. It has a session of its own: a Ctrl-C reaches us alone, and we stop all in their order."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=env,
                start_new_session=True,
                preexec_fn=_end_with_us,
            )

    def check(self) -> None:
        """StackError if it has ended."""
        if (status := self._child.poll()) is not None:
            last = "\n".join(self.output.splitlines()[-LAST_LINES:])
            raise StackError(f"{self.name} has ended with {status}:\n{last}\nAll of its output: {self._log}")

    def wait(self, ready: "Ready", stop: Stop) -> None:
        """Return when it is ready, or when the end is asked for."""
        deadline = time.monotonic() + READY
        while not stop.asked and not ready(self):
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} is not ready after {READY:.0f} s; its output: {self._log}")
            time.sleep(0.05)

    @property
    def output(self) -> str:
        """All that it has printed so far."""
        return self._log.read_text(errors="replace")

    def end(self) -> None:
        """Ask it to end, and make it if it does not."""
        self._child.terminate()
        try:
            self._child.wait(END)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


@contextmanager
def running(name: str, argv: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str]) -> Iterator[Program]:
    """A program until the context is left."""
    program = Program(name, argv, log, cwd, env)
    try:
        yield program
    finally:
        program.end()


Ready = Callable[[Program], bool]


def answers(url: str) -> Ready:
    """Ready when a GET of the URL succeeds."""

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ready(program: Program) -> bool:
        try:
            with direct.open(url, timeout=2.0):
                return True
        except OSError:
            return False

    return ready


def says(text: str) -> Ready:
    """Ready when it has printed the text."""
    return lambda program: text in program.output


def find(*names: str) -> str:
    """The first of these programs that .tools/ or the PATH has. StackError says how to get one."""
    path = os.pathsep.join([str(TOOLS), os.environ.get("PATH", "")])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise StackError(f"there is no {names[0]} on this machine: `make stack` and `make collector tools` get it")


def free(preferred: Mapping[str, int]) -> dict[str, int]:
    """For each name its own port if nobody has it, else a free one."""
    chosen, probes = {}, []
    try:
        for name, port in preferred.items():
            probe = socket.socket()
            probes.append(probe)  # open until all are chosen: no port is given twice
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not held up by connections of a last run
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                probe.bind(("127.0.0.1", 0))
            chosen[name] = probe.getsockname()[1]
    finally:
        for probe in probes:
            probe.close()
    return chosen
