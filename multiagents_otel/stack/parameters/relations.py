"""What parameters have to do with each other: which follow others, and which values don't go together.

Programs take such values without a word, and alerts then fire never, or for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Final

from multiagents_otel.stack.parameter import ParameterError, Values, seconds

__all__ = ["check", "follow"]

_PORTS: Final = {
    "collector_metrics": "export_port",
    "collector_own_metrics": "collector_metrics_port",
    "otlp_endpoint": "otlp_http_port",
}
"""Addresses of the Collector, and where their port is chosen: it holds for both, unless an address is given."""

_APART: Final = ("otlp_grpc_port", "otlp_http_port", "export_port", "health_port", "collector_metrics_port")

_LINKS: Final = {"prometheus_url": "prometheus_address", "alertmanager_url": "alertmanager_address"}
"""What links begin with, and the address that they lead to, unless there is another for people."""

_EXPIRES: Final = 3
_SILENT: Final = 4
"""After so many exports that did not come a metric goes, and a process is taken for silent."""

_SCRAPES: Final = 4
"""A rate needs two samples in its window; a scrape that fails or is late may not take them away."""

_REMEMBERED: Final = ("fault_window", "error_spike_window")

_MEMORY: Final = {
    "collector_memory_mib": "collector_memory_spike_mib",
    "sampling_memory_mib": "sampling_memory_spike_mib",
}


def follow(found: MutableMapping[str, str], given: Mapping[str, str], defaults: Values) -> None:
    """Change what follows another parameter and was not given."""
    for address, port in _PORTS.items():
        if address not in given:
            found[address] = found[address].replace(defaults[port], found[port])
    if "prometheus_address" not in given and found["prometheus_address"].endswith(f":{found['export_port']}"):
        # The guide has its own metrics on Prometheus's port, 9090: Prometheus takes the next one.
        found["prometheus_address"] = f"localhost:{int(found['export_port']) + 1}"
    if "alert_cooldown" in given and "alert_repeat" not in given:
        # A little shorter, as the defaults are: what still fires at the end of a cooldown is told again then.
        found["alert_repeat"] = _duration(int(seconds(found["alert_cooldown"]) * 1000 * 14 / 15))
    exported = int(found["metric_export_ms"])
    if "metric_expiration" not in given:
        found["metric_expiration"] = _duration(_EXPIRES * exported)
    if "process_silent_seconds" not in given:
        found["process_silent_seconds"] = f"{_SILENT * exported / 1000:g}"
    for url, address in _LINKS.items():
        if url not in given:
            found[url] = f"http://{found[address].split(',')[0].strip()}"


def _duration(milliseconds: int) -> str:
    whole, rest = divmod(milliseconds, 1000)
    return f"{milliseconds}ms" if rest else f"{whole}s"


def check(found: Values) -> None:
    """Raise ``ParameterError`` if values don't go together."""
    used: dict[str, str] = {}
    for name in _APART:
        if (other := used.setdefault(found[name], name)) != name:
            raise ParameterError(f"{other} and {name} are both {found[name]}: two ports are needed")
    if seconds(found["alert_window"]) < _SCRAPES * seconds(found["scrape_interval"]):
        raise ParameterError(
            f"alert_window: {found['alert_window']} is too short for {_SCRAPES} scrapes"
            f" (scrape_interval: {found['scrape_interval']})"
        )
    for window in _REMEMBERED:
        if seconds(found["counter_memory"]) <= seconds(found[window]):
            raise ParameterError(
                f"counter_memory: {found['counter_memory']} is not longer than {window}, {found[window]}:"
                " old errors would count as new"
            )
    for limit, spike in _MEMORY.items():
        if int(found[limit]) <= int(found[spike]):
            raise ParameterError(f"{limit}: {found[limit]} is not more than {spike}, {found[spike]}")
