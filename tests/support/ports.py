"""Free loopback ports, for servers that can't choose one themselves."""

from __future__ import annotations

import os
import secrets
import socket
from collections import deque
from contextlib import suppress
from typing import Final

_RANGE: Final = range(10_000, 32_768)
"""Below the ports that the system gives to clients: any connection might take one of those before the server does."""

_given: Final[deque[int]] = deque(maxlen=500)

# Test processes that run side by side choose among ports of their own.
_WORKERS: Final = 8
_WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_OWN: Final = _RANGE[_WORKER::_WORKERS]


def free_port() -> int:
    """A port that nobody listens on right now, nor was lately given another: for a server, or as a dead endpoint."""
    while True:
        port = _OWN[secrets.randbelow(len(_OWN))]
        if port in _given:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.append(port)
            return port
