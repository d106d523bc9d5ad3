"""The pipeline's real programs for tests: Collector, Prometheus and Alertmanager, each on free ports of loopback."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from tests.support.deadline import DEADLINE
from tests.support.processes import REPOSITORY, Process

__all__ = ["Alertmanager", "Collector", "Prometheus", "Service", "ServiceMissingError", "fetch", "find", "wait_until"]

T = TypeVar("T")


class ServiceMissingError(AssertionError):
    """A program of the pipeline is not on this machine: the test fails, it is not skipped."""


def find(*names: str) -> str:
    """The first of these programs that .tools/ or the PATH has."""
    path = os.pathsep.join([str(REPOSITORY / ".tools"), os.environ.get("PATH", "")])
    for name in names:
        program = shutil.which(name, path=path)
        if program:
            return program
    raise ServiceMissingError(f"no {' or '.join(names)} on this machine: run `make collector tools`")


def fetch(url: str, *, timeout: float = 10.0, headers: Mapping[str, str] | None = None) -> str:
    """What a GET answers, as text. urllib.error.HTTPError for a status from 400 on."""
    request = urllib.request.Request(url, headers=dict(headers or {}))
    with urllib.request.urlopen(request, timeout=timeout) as reply:
        return str(reply.read().decode())


def wait_until(look: Callable[[], T], what: str, timeout: float = DEADLINE) -> T:
    """Look until there is something true, and give it. For what tells nobody that it has happened."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    seen: object = None
    while time.monotonic() < deadline:
        try:
            seen = found = look()
            if found:
                return found
        except (OSError, urllib.error.URLError, ValueError) as error:
            seen = error
        pause.wait(0.05)
    raise AssertionError(f"not within {timeout} s: {what} (last seen: {seen!r:.2000})")


class Service:
    """A program of the pipeline: `start` returns when it is ready, `stop` ends it politely, `kill9` does not."""

    programs: ClassVar[tuple[str, ...]]

    def __init__(self, argv: Sequence[str], ready_url: str, env: Mapping[str, str | None] | None = None) -> None:
        self._argv = argv
        self._ready_url = ready_url
        self._env = env or {}
        self._running = ExitStack()
        self._process: Process | None = None

    def __enter__(self: T) -> T:
        self.start()  # type: ignore[attr-defined]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def process(self) -> Process:
        if self._process is None:
            raise RuntimeError(f"{self.programs[0]} does not run")
        return self._process

    def start(self) -> None:
        """Start it (again, on the same ports), and return when it says that it is ready."""
        program = find(*self.programs)
        with ExitStack() as starting:
            process = starting.enter_context(Process([program, *self._argv], env=self._env))

            def ready() -> bool:
                if process.returncode is not None:
                    raise AssertionError(f"{program} ended with {process.returncode}\n{process.output}")
                return bool(fetch(self._ready_url, timeout=2.0) or True)

            wait_until(ready, f"{program} ready\n{process.output}", DEADLINE)
            self._process = process
            self._running = starting.pop_all()

    def stop(self, timeout: float = DEADLINE) -> None:
        """End it with SIGTERM and wait."""
        with self._running:
            if self._process is not None and self._process.returncode is None:
                self._process.terminate(timeout)
        self._process = None

    def kill9(self) -> None:
        """Kill it at once."""
        self.process.kill9()
        self._running.close()
        self._process = None


class Collector(Service):
    """`configs` are files or `yaml:` texts, later ones on top; `health` is the port of its health_check extension."""

    programs = ("otelcol", "otelcol-contrib")

    def __init__(
        self, *configs: Path | str, health: int, env: Mapping[str, str | None] | None = None, sets: Sequence[str] = ()
    ) -> None:
        argv = [*(f"--config={config}" for config in configs), *(f"--set={each}" for each in sets)]
        super().__init__(argv, f"http://127.0.0.1:{health}/", env)


class Prometheus(Service):
    """With exemplars, on a free port; queries through its HTTP API."""

    programs = ("prometheus",)

    def __init__(self, config: Path, data: Path, port: int, *args: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        argv = [f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address=127.0.0.1:{port}"]
        argv += ["--enable-feature=exemplar-storage", "--web.enable-lifecycle", *args]
        super().__init__(argv, f"{self.url}/-/ready")

    def api(self, path: str, **parameters: str | float) -> Any:
        """`data` of an answer of /api/v1/<path>. AssertionError: the query is wrong."""
        query = urllib.parse.urlencode(parameters)
        try:
            return json.loads(fetch(f"{self.url}/api/v1/{path}?{query}"))["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    def query(self, expression: str, **parameters: str | float) -> dict[tuple[tuple[str, str], ...], float]:
        """An instant query: the value of each series, by its sorted labels."""
        result = self.api("query", query=expression, **parameters)["result"]
        return {tuple(sorted(each["metric"].items())): float(each["value"][1]) for each in result}

    def alerts(self) -> list[dict[str, Any]]:
        """What is pending or firing."""
        alerts: list[dict[str, Any]] = self.api("alerts")["alerts"]
        return alerts


class Alertmanager(Service):
    """Alone (no cluster), on a free port."""

    programs = ("prometheus-alertmanager", "alertmanager")

    def __init__(self, config: Path, data: Path, port: int, *args: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        argv = [f"--config.file={config}", f"--storage.path={data}", f"--web.listen-address=127.0.0.1:{port}"]
        super().__init__([*argv, "--cluster.listen-address=", *args], f"{self.url}/-/ready")
