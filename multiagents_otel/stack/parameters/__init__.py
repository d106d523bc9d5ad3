"""The one table of what can be chosen in the pipeline's files."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from multiagents_otel.stack.parameter import Parameter, ParameterError, Values
from multiagents_otel.stack.parameters import alertmanager, collector, containers, prometheus, sampling

__all__ = ["PARAMETERS", "Parameter", "ParameterError", "Values", "port", "values"]

PARAMETERS: Final[dict[str, Parameter]] = {
    row.name: row for row in (*collector.ROWS, *sampling.ROWS, *prometheus.ROWS, *alertmanager.ROWS, *containers.ROWS)
}
"""Every parameter by its name, in the order of the reference."""

_FOLLOWING: Final = {
    "collector_metrics": "export_port",
    "collector_own_metrics": "collector_metrics_port",
    "otlp_endpoint": "otlp_http_port",
}
"""Addresses of the Collector, and where their port is chosen: it holds for both, unless an address is given."""

_MEMORY: Final = ("collector_memory", "sampling_memory")

_APART: Final = ("otlp_grpc_port", "otlp_http_port", "export_port", "health_port", "collector_metrics_port")


def values(chosen: Mapping[str, str] | None = None) -> dict[str, str]:
    """Every parameter's value: what was chosen, else its default. ParameterError names what is wrong."""
    for name in chosen or {}:
        if name not in PARAMETERS:
            near = get_close_matches(name, PARAMETERS, 1)
            raise ParameterError(f"there is no parameter {name}" + (f": did you mean {near[0]}?" if near else ""))
    given = {name: PARAMETERS[name].check(value) for name, value in (chosen or {}).items()}
    found = {name: row.default for name, row in PARAMETERS.items()} | given
    for address in set(_FOLLOWING) - set(given):
        port = _FOLLOWING[address]
        found[address] = found[address].replace(PARAMETERS[port].default, found[port])
    if "prometheus_address" not in given and found["prometheus_address"].endswith(f":{found['export_port']}"):
        # The guide has its own metrics on Prometheus's port, 9090: Prometheus takes the next one.
        found["prometheus_address"] = f"localhost:{int(found['export_port']) + 1}"
    _check_ports(found)
    _check_memory(found)
    return found


def port(values: Values, name: str) -> int:
    """The port of an address, or of the first of several. ParameterError: it has none."""
    digits = values[name].split(",")[0].rpartition(":")[2]
    if not digits.isdecimal():
        raise ParameterError(f"{name}: {values[name]!r} is not an address with a port, HOST:PORT")
    return int(digits)


def _check_ports(found: Values) -> None:
    used: dict[str, str] = {}
    for name in _APART:
        if (other := used.setdefault(found[name], name)) != name:
            raise ParameterError(f"{other} and {name} are both {found[name]}: two ports are needed")


def _check_memory(found: Values) -> None:
    for name in _MEMORY:
        limit, spike = found[f"{name}_mib"], found[f"{name}_spike_mib"]
        if int(spike) >= int(limit):
            raise ParameterError(f"{name}_spike_mib: {spike} is not less than {name}_mib, {limit}")
