"""What is recorded by hand through the framework's ``IMetricsCollector``: the entries, and statistics of them."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from enum import Enum
from typing import Any, Final, NamedTuple

from multiagents_otel import semconv
from multiagents_otel.telemetry.event import utf8

_KINDS: Final = 200
_FULL_TYPES: Final = 10
_METADATA: Final = 10
_LONGEST: Final = 200


def timestamp() -> str:
    """Now, as ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def name(value: object) -> str:
    """A name of somebody else's making, short and fit for UTF-8."""
    if isinstance(value, Enum):
        value = value.value
    return utf8(value[:_LONGEST]) if isinstance(value, str) else str(type(value).__name__)


def number(value: object) -> float | None:
    """A finite number; None for everything else."""
    if isinstance(value, (str, bytes)):
        return None
    try:
        converted = float(value)  # type: ignore[arg-type]
    except Exception:  # a number type of somebody else's may raise anything
        return None
    return converted if math.isfinite(converted) else None


class Entry(NamedTuple):
    """One call: when (monotonic), of what type, and all of it as it is returned."""

    at: float
    kind: str
    told: dict[str, Any]


class Recorded:
    """Entries by type (of event, of worker): the newest of each, for 200 types, then ``_OTHER``.

    Args:
        limit: how many entries are kept for each type, and ten times as many of all types.
        retention_seconds: how long.
    """

    def __init__(self, limit: int, retention_seconds: float) -> None:
        self._limit = limit
        self._retention = retention_seconds
        self._entries: dict[str, deque[Entry]] = {}

    def add(self, type_key: str, kind: object, told: Mapping[str, Any], metadata: object) -> None:
        """One more entry; ``type_key`` is the key that it has its type under."""
        label = name(kind)
        if label not in self._entries and len(self._entries) >= _KINDS:
            label = semconv.OTHER
        entry = {"timestamp": timestamp(), type_key: label, **told, "metadata": _plain(metadata)}
        entries = self._entries.setdefault(label, deque(maxlen=self._limit))
        if len(self) >= _FULL_TYPES * self._limit:
            max(self._entries.values(), key=len).popleft()
        entries.append(Entry(time.monotonic(), label, entry))

    def within(self, window_seconds: float) -> dict[str, list[dict[str, Any]]]:
        """The entries of a window that ends now, by type; a type that has none in it has an empty list."""
        after = time.monotonic() - min(window_seconds, self._retention)
        return {
            kind: [entry.told for entry in list(entries) if entry.at >= after]
            for kind, entries in list(self._entries.items())
        }

    def __len__(self) -> int:
        return sum(map(len, list(self._entries.values())))

    @property
    def kinds(self) -> int:
        """How many types there are."""
        return len(self._entries)


def _plain(metadata: object) -> dict[str, Any]:
    """Only what is plain is kept: never a payload."""
    if not isinstance(metadata, Mapping):
        return {}
    plain = ((name(key), value) for key, value in list(metadata.items())[:_METADATA])
    return {
        key: utf8(value[:_LONGEST]) if isinstance(value, str) else value
        for key, value in plain
        if value is None or isinstance(value, (str, bool, int, float))
    }


def event_statistics(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What recorded events come to, of all types: the framework's keys, durations in the unit of who recorded them."""
    kinds: Counter[str] = Counter()
    durations, successful = [], 0
    for entry in entries:
        kinds[entry["event_type"]] += 1
        durations.append(entry["duration"])
        successful += entry["success"]
    return {
        "total_events": len(durations),
        "successful_events": successful,
        **_rates(durations, successful),
        "events_by_type": dict(kinds),
    }


def event_type_statistics(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What recorded events of one type come to."""
    told = list(entries)
    successful = sum(entry["success"] for entry in told)
    return {
        "count": len(told),
        "successful": successful,
        **_rates([entry["duration"] for entry in told], successful),
    }


def _rates(durations: list[float], successful: int) -> dict[str, float]:
    count = len(durations)
    return {
        "success_rate": successful / count * 100 if count else 0.0,
        "average_duration": sum(durations) / count if count else 0.0,
        "min_duration": min(durations, default=0.0),
        "max_duration": max(durations, default=0.0),
    }


def worker_statistics(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the recorded metrics of all workers come to."""
    told = list(entries)
    return {
        "total_metrics": len(told),
        "workers_by_type": dict(Counter(entry["worker_type"] for entry in told)),
        "metric_statistics": _by_name(told),
    }


def worker_type_statistics(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the recorded metrics of one worker come to."""
    told = list(entries)
    return {"count": len(told), "metrics_by_name": _by_name(told)}


def _by_name(entries: list[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    values: dict[str, list[float]] = {}
    for entry in entries:
        values.setdefault(entry["metric_name"], []).append(entry["value"])
    return {
        metric: {"count": len(of), "average": sum(of) / len(of), "min": min(of), "max": max(of)}
        for metric, of in values.items()
    }
