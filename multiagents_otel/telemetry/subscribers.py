"""How many are subscribed to a channel by its name: what Redis says beside the receivers of a publication."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Final

_FEW_CONNECTIONS: Final = 16


def has_room(client: Any) -> bool:
    """Whether a Redis client can take a command beside the application's: it is async, with connections to spare."""
    if not inspect.iscoroutinefunction(getattr(client, "execute_command", None)):
        return False
    limit = getattr(getattr(client, "connection_pool", None), "max_connections", None)
    return not isinstance(limit, int) or limit >= _FEW_CONNECTIONS


def is_cluster(client: Any) -> bool:
    """Whether a client is a Redis Cluster's, which answers for one node."""
    return any(cls.__name__ == "RedisCluster" for cls in type(client).__mro__)


async def subscribers(client: Any, channels: Iterable[str]) -> dict[str, int] | None:
    """Ask Redis for the subscribers of channels, those by a pattern left out; None where it can't or does not say."""
    if is_cluster(client) or not has_room(client):
        return None
    try:
        answer = await client.pubsub_numsub(*channels)
        return {_text(channel): int(count) for channel, count in answer}
    except Exception:  # out of reach, or not allowed to this user
        return None


def _text(channel: bytes | str) -> str:
    return channel.decode("utf-8", "replace") if isinstance(channel, bytes) else channel
