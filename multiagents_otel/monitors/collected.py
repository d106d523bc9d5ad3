"""What a MetricsCollector returns, made of what it has collected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from multiagents_otel.monitors import recorded
from multiagents_otel.monitors.recorded import timestamp
from multiagents_otel.monitors.sample import Sample
from multiagents_otel.monitors.slots import Totals

NAMES_OF_FRAMEWORK: Final = {
    "cpu_usage_percent": "system_cpu_percent",
    "memory_usage_percent": "system_memory_percent",
    "disk_usage_percent": "system_disk_percent",
}
"""What the framework calls some figures of a sample; the others have one name."""
_SUMMED_UP: Final = (*NAMES_OF_FRAMEWORK, "active_connections", "event_queue_size")


def seconds_of(minutes: object) -> float:
    """A window as somebody gave it; an hour for what can be none."""
    window = recorded.number(minutes)
    return 3_600.0 if window is None else max(0.0, window * 60.0)


def of_all(entries: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The entries of all types."""
    return [entry for of_type in entries.values() for entry in of_type]


def sample_report(sample: Sample) -> dict[str, Any]:
    """What ``collect_system_metrics`` returns."""
    # What could not be seen is told as 0.0 where it gets formatted as a number.
    shown = {figure: value or 0.0 for figure, value in sample._asdict().items() if figure in NAMES_OF_FRAMEWORK}
    return {**sample._asdict(), **shown, "timestamp": timestamp()}


def aggregations(totals: Totals) -> dict[str, float]:
    """What ``get_metric_aggregations`` returns; all 0 of no values."""
    some = totals.count > 0
    return {
        "count": totals.count,
        "avg": totals.average,
        "min": totals.minimum if some else 0.0,
        "max": totals.maximum if some else 0.0,
        "sum": totals.total,
        "latest": totals.latest,
    }


def averages_and_peaks(system: Mapping[str, Totals]) -> dict[str, Any]:
    """The guide's part of what ``get_system_metrics`` returns."""
    flat: dict[str, Any] = {}
    for figure in _SUMMED_UP:
        totals = system.get(NAMES_OF_FRAMEWORK.get(figure, figure))
        # Nobody knows of a Redis: no connections would be an answer.
        unknown = None if figure == "active_connections" else 0.0
        name = figure.removesuffix("_percent")
        flat[f"avg_{name}"] = totals.average if totals else unknown
        flat[f"peak_{name}"] = totals.maximum if totals else unknown
    for figure in ("network_bytes_sent", "network_bytes_received"):
        totals = system.get(figure)
        flat[figure] = totals.maximum - totals.minimum if totals else 0.0
    return flat


def system_statistics(totals: Totals) -> dict[str, float]:
    """A figure of the system as the framework tells it."""
    return {
        "count": totals.count,
        "average": totals.average,
        "min": totals.minimum,
        "max": totals.maximum,
        "latest": totals.latest,
    }


def by_type(
    found: Mapping[str, list[dict[str, Any]]],
    kind: object,
    minutes: float,
    type_key: str,
    statistics: Callable[[list[dict[str, Any]]], dict[str, Any]],
) -> dict[str, Any]:
    """Entries and statistics of one type (``kind``), or of each, as the framework tells them."""
    if not kind:
        told = {each: {"metrics": entries, "statistics": statistics(entries)} for each, entries in found.items()}
        return {"time_window_minutes": minutes, f"{type_key.removesuffix('_type')}s": told}
    label = recorded.name(kind)
    entries = found.get(label, [])
    return {type_key: label, "time_window_minutes": minutes, "metrics": entries, "statistics": statistics(entries)}
