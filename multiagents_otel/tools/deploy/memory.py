"""How much memory a Collector in a container needs: what its files say, and a quarter more."""

from __future__ import annotations

from collections.abc import Sequence

from multiagents_otel.tools.deploy.documents import parsed


def refusing(texts: Sequence[str]) -> int:
    """The MiB of heap at which a Collector with these files, each on top of the one before, refuses more."""
    limits = [(parsed(text).get("processors") or {}).get("memory_limiter") for text in texts]
    return int([limit["limit_mib"] for limit in limits if limit][-1])


def needed(texts: Sequence[str]) -> int:
    """The MiB of its container. What is not heap has to fit in too."""
    return refusing(texts) * 5 // 4
