"""A web application that records at its very end: an ASGI one, and a WSGI one for gunicorn with its hooks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from tests.ends.recording import record

workers = 1
bind = "127.0.0.1:0"


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[Any]]
) -> None:
    """Serve the lifespan protocol, and nothing else."""
    if scope["type"] != "lifespan":
        return
    await receive()
    print("ready", flush=True)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    record()
    await send({"type": "lifespan.shutdown.complete"})


def wsgi(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer nothing."""
    start_response("204 No Content", [])
    return ()


def post_worker_init(_worker: Any) -> None:
    """Report a worker of gunicorn's."""
    print("ready", flush=True)


def worker_exit(_server: Any, _worker: Any) -> None:
    """Record at the end of a worker of gunicorn's."""
    record()
