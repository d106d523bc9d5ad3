"""Real child processes whose output a test can wait for, and which never outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from tests.support.deadline import DEADLINE

REPOSITORY: Final = Path(__file__).resolve().parents[2]

_WITHOUT_DSPY: Final = str(REPOSITORY / "tests" / "support" / "light")
_FOREIGN: Final = ("OTEL_", "MULTIAGENT")  # what the developer's shell has set is no part of a test
_SHOWN: Final = 20_000
_JOIN_TIMEOUT: Final = 5.0


class Process:
    """A child in a session of its own: leaving the context kills it with all its descendants.

    It runs in a fresh directory unless ``cwd`` says otherwise (the framework writes ``./logs``), with the
    repository importable, and without the OTEL_* and MULTIAGENT* variables of this process. In ``env``,
    None removes a variable. Unless ``dspy`` is set, an empty stand-in takes the place of DSPy, which the framework
    imports, since that takes half of the CPU time of a short program.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | str | None = None,
        dspy: bool = False,
    ) -> None:
        self.argv = tuple(argv)
        self._dspy = dspy
        self._env = env or {}
        self._cwd = cwd
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._closed = False
        self._code: int | None = None

    @classmethod
    def python(
        cls,
        code: str | Path,
        *args: str,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | str | None = None,
    ) -> Process:
        """This interpreter on a script (a Path) or on code (a str, dedented)."""
        program = [str(code)] if isinstance(code, Path) else ["-c", textwrap.dedent(code)]
        return cls([sys.executable, *program, *args], env=env, cwd=cwd)

    def __enter__(self) -> Process:
        self._directory = tempfile.TemporaryDirectory(prefix="multiagents-otel-", ignore_cleanup_errors=True)
        self.output_path = Path(self._directory.name, "output.txt")
        try:
            self._child = subprocess.Popen(
                self.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                cwd=self._cwd or self._directory.name,
                start_new_session=True,
            )
        except BaseException:
            self._directory.cleanup()
            raise
        self._threads = [
            threading.Thread(target=target, name=f"{target.__name__}-{self.pid}", daemon=True)
            for target in (self._read, self._reap)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The group may have members left when its leader has ended (forked workers).
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for thread in self._threads:
            thread.join(_JOIN_TIMEOUT)
        self._child.wait()
        with suppress(BrokenPipeError):
            if self._child.stdin:
                self._child.stdin.close()
        add_note = getattr(error, "add_note", None)  # Python 3.11
        if add_note is not None and self.output not in str(error):
            add_note(self._described("while it failed"))
        self._directory.cleanup()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def output(self) -> str:
        """Both of the child's output streams so far."""
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def lines(self) -> list[str]:
        with self._changed:
            return list(self._lines)

    @property
    def returncode(self) -> int | None:
        """None while it runs, negative when a signal ended it."""
        with self._changed:
            return self._code

    def wait_line(self, text: str, timeout: float = DEADLINE, count: int = 1) -> str:
        """Waits for the (count-th) line that holds the text, and returns it."""

        def found() -> str | None:
            matches = [line for line in self._lines if text in line]
            return matches[count - 1] if len(matches) >= count else None

        with self._changed:
            self._changed.wait_for(lambda: self._closed or found() is not None, timeout)
            line = found()
        if line is None:
            raise AssertionError(self._described(f"printed no line with {text!r} (waited {timeout} s at most)"))
        return line

    def send_line(self, text: str) -> None:
        """Writes a line to its standard input: how a test lets a waiting child go on."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{text}\n".encode())
        self._child.stdin.flush()

    def signal(self, number: int) -> None:
        """Sends a signal to the child alone, and does not wait."""
        os.kill(self.pid, number)

    def kill9(self) -> None:
        """Kills the child (not its descendants) at once, and waits until it has ended."""
        self.signal(signal.SIGKILL)
        self.wait()

    def terminate(self, timeout: float = DEADLINE) -> int:
        """Sends SIGTERM, waits for the end, returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout: float = DEADLINE) -> int:
        """Waits for the end, returns the exit code; the output is then complete."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._code is not None, timeout):
                raise AssertionError(self._described(f"still runs after {timeout} s"))
            # A descendant may hold the pipe for longer: what the child itself wrote is there by then.
            self._changed.wait_for(lambda: self._closed, 1.0)
            assert self._code is not None
            return self._code

    def wait_ok(self, timeout: float = DEADLINE) -> str:
        """Waits for the end, fails unless the exit code is 0, returns the output."""
        code = self.wait(timeout)
        if code != 0:
            raise AssertionError(self._described(f"ended with {code}"))
        return self.output

    def _environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
        path = [str(REPOSITORY), *([] if self._dspy else [_WITHOUT_DSPY]), *filter(None, [inherited.get("PYTHONPATH")])]
        defaults = {"PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
        merged = {**inherited, **defaults, **self._env}
        return {key: value for key, value in merged.items() if value is not None}

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout, self.output_path.open("wb") as copy:
            for line in self._child.stdout:
                copy.write(line)
                copy.flush()
                with self._changed:
                    self._lines.append(line.decode(errors="replace").rstrip("\r\n"))
                    self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _reap(self) -> None:
        # Not reaped before the context is left: until then the system gives its id to nobody else,
        # and a late signal can't hit a stranger.
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        with self._changed:
            self._code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            self._changed.notify_all()

    def _described(self, what: str) -> str:
        with self._changed:
            state = "running" if self._code is None else f"exit code {self._code}"
            command = " ".join(self.argv)[:300]
            return f"process {self.pid} ({state}) {what}\n$ {command}\n--- its output:\n{self.output[-_SHOWN:]}---"
