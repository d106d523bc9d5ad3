"""Free loopback ports, for servers that can't choose one themselves."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from typing import Final

_RANGE: Final = range(10_000, 32_768)
"""Below the ports that the system gives to clients: any connection might take one of those before the server does."""


def free_port() -> int:
    """A port that nobody listens on right now: for a server to bind, or as a dead endpoint."""
    while True:
        port = _RANGE[secrets.randbelow(len(_RANGE))]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
