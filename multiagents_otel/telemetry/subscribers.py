"""How many are subscribed to a channel by its name: what Redis says beside the receivers of a publication."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Final

_FEW_CONNECTIONS: Final = 16


def client_of(owner: object) -> Any:
    """Return the Redis client of a bus or store that takes a command beside the application's; None if it does not.

    It has to be async, of a bus that runs (a closed client would connect again), with connections to spare.
    """
    client = getattr(owner, "redis_client", None)
    if not inspect.iscoroutinefunction(getattr(client, "execute_command", None)):
        return None
    limit = getattr(getattr(client, "connection_pool", None), "max_connections", None)
    few = isinstance(limit, int) and limit < _FEW_CONNECTIONS
    return None if few or not getattr(owner, "_running", True) else client


async def subscribers(client: Any, channels: Iterable[str]) -> dict[str, int] | None:
    """Ask Redis for the subscribers of channels, those by a pattern left out; None where it can't or does not say.

    A Redis Cluster answers for one node.
    """
    if client is None or any(cls.__name__ == "RedisCluster" for cls in type(client).__mro__):
        return None
    try:
        answer = await client.pubsub_numsub(*channels)
        return {_text(channel): int(count) for channel, count in answer}
    except Exception:  # out of reach, or not allowed to this user
        return None


def _text(channel: bytes | str) -> str:
    return channel.decode("utf-8", "replace") if isinstance(channel, bytes) else channel
