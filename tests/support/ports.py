"""Free loopback ports, for servers that can't choose one themselves."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A port that nobody listens on right now: for a server to bind, or as a dead endpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
