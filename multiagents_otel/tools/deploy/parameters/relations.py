"""What parameters have to do with each other: which follow others, and which values don't go together.

Programs take such values without a word, and alerts then fire never, or for ever.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, MutableMapping
from typing import Final, Literal, NamedTuple

from multiagents_otel.tools.deploy.forms import split_address
from multiagents_otel.tools.deploy.parameter import ParameterError, Values, seconds

__all__ = ["RELATIONS", "Relation", "check", "follow"]

_PORTS: Final = {
    "collector_metrics": "export_port",
    "collector_own_metrics": "collector_metrics_port",
    "otlp_endpoint": "otlp_http_port",
}
"""Addresses of the Collector, and where their port is chosen: it holds for both, unless an address is given."""

_APART: Final = ("otlp_grpc_port", "otlp_http_port", "export_port", "health_port", "collector_metrics_port")
_LOCAL: Final = ("prometheus_address", "alertmanager_address")
_GRAFANA: Final = "3000"
"""What listens on one machine: the Collector, the other programs if their addresses are local, and Grafana."""

_LINKS: Final = {"prometheus_url": "prometheus_address", "alertmanager_url": "alertmanager_address"}
"""What links begin with, and the address that they lead to, unless there is another for people."""

_EXPIRES: Final = 3
_SILENT: Final = 4
"""After so many exports, or scrapes, that did not come a metric goes, and a process is taken for silent."""


class Relation(NamedTuple):
    """A condition on two parameters: the first one compares so to a number of times the second one."""

    name: str
    sign: Literal["<", "<=", ">", ">="]
    times: float
    other: str
    reason: str
    """What happens otherwise."""


_SIGNS: Final[dict[str, tuple[str, Callable[[float, float], bool]]]] = {
    "<": ("less than", operator.lt),
    "<=": ("at most", operator.le),
    ">": ("more than", operator.gt),
    ">=": ("at least", operator.ge),
}

RELATIONS: Final = (
    Relation("evaluation_interval", "<=", 1, "scrape_interval", "rules would miss values"),
    Relation("alert_window", ">=", 4, "scrape_interval", "a rate needs two values, also where a scrape fails"),
    Relation("alert_window", ">=", 2, "metric_export_ms", "most windows would hold no new value"),
    Relation("fault_window", ">=", 2, "evaluation_interval", "alerts would never fire"),
    Relation("error_spike_window", ">=", 2, "evaluation_interval", "the alert would never fire"),
    Relation("counter_memory", ">", 1, "fault_window", "old errors would count as new"),
    Relation("counter_memory", ">", 1, "error_spike_window", "old errors would count as new"),
    Relation("metric_expiration", ">=", 3, "metric_export_ms", "metrics of a living process would come and go"),
    Relation("metric_expiration", ">=", 2, "scrape_interval", "the last values of a process would not be scraped"),
    Relation("process_silent_seconds", ">=", 3, "metric_export_ms", "living processes would be reported as silent"),
    Relation("process_silent_seconds", ">=", 2, "scrape_interval", "living processes would be reported as silent"),
    Relation("process_memory_seconds", ">", 1, "process_silent_seconds", "no process would be reported as silent"),
    Relation("process_memory_seconds", ">", 1, "fault_window", "old errors would count as new"),
    Relation("alert_repeat", "<", 1, "alert_cooldown", "what still fires would be reported every second time only"),
    Relation("decision_wait_after_root", "<=", 1, "decision_wait", "the shorter one ends the wait"),
    Relation("collector_memory_mib", ">", 1, "collector_memory_spike_mib", "the Collector would refuse everything"),
    Relation("sampling_memory_mib", ">", 1, "sampling_memory_spike_mib", "the Collector would refuse everything"),
    Relation("gateway_request_mib", ">", 1, "max_request_mib", "gateways would refuse what agents take"),
    Relation("gateway_request_mib", ">", 1, "max_request_bytes", "gateways would refuse what agents take"),
    *(
        Relation(f"slo_{speed}_short", "<", 1, f"slo_{speed}_long", "the long window would say no more than the short")
        for speed in ("fast", "medium", "slow")
    ),
    *(
        Relation(f"slo_{speed}_short", ">=", 2, "evaluation_interval", "the alert would never fire")
        for speed in ("fast", "medium", "slow")
    ),
    *(
        Relation("prometheus_retention", ">", 1, window, "Prometheus would have deleted what the rules read")
        for window in ("slo_fast_long", "slo_medium_long", "slo_slow_long", "fault_window", "counter_memory")
    ),
)
"""Every relation that a help text states, or that the programs and the rules rest on."""


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
        found["alert_repeat"] = _duration(max(1, int(seconds(found["alert_cooldown"]) * 1000 * 14 / 15)))
    if "evaluation_interval" not in given:
        found["evaluation_interval"] = min(found["evaluation_interval"], found["scrape_interval"], key=seconds)
    exported, scraped = int(found["metric_export_ms"]), round(1000 * seconds(found["scrape_interval"]))
    if "metric_expiration" not in given:
        found["metric_expiration"] = _duration(max(_EXPIRES * exported, 2 * scraped))
    if "process_silent_seconds" not in given:
        found["process_silent_seconds"] = f"{_SILENT * max(exported, scraped) / 1000:.3f}".rstrip("0").rstrip(".")
    for url, address in _LINKS.items():
        if url not in given:
            found[url] = f"http://{found[address].split(',')[0].strip()}"


def _duration(milliseconds: int) -> str:
    whole, rest = divmod(milliseconds, 1000)
    return f"{milliseconds}ms" if rest else f"{whole}s"


def check(found: Values) -> None:
    """Raise ``ParameterError`` if values don't go together."""
    _check_ports(found)
    for relation in RELATIONS:
        words, holds = _SIGNS[relation.sign]
        if not holds(_amount(relation.name, found), relation.times * _amount(relation.other, found)):
            times = f"{relation.times:g} times " if relation.times != 1 else ""
            raise ParameterError(
                f"{relation.name}: {found[relation.name]} is not {words} {times}{relation.other}"
                f" ({found[relation.other]}): {relation.reason}"
            )
    allowed = 100 - float(found["slo_objective_percent"])
    for name in ("slo_fast_burn", "slo_medium_burn", "slo_slow_burn"):
        if float(found[name]) * allowed >= 100:
            raise ParameterError(
                f"{name}: {found[name]} times the {allowed:g} % that slo_objective_percent"
                f" ({found['slo_objective_percent']}) allows is not less than 100 %: the alert would never fire"
            )


def _amount(name: str, found: Values) -> float:
    """The value in seconds, in MiB, or as it is."""
    if found[name][-1].isalpha():
        return seconds(found[name])
    if name.endswith("_ms"):
        return float(found[name]) / 1000
    if name.endswith("_bytes"):
        return float(found[name]) / 2**20
    return float(found[name])


def _check_ports(found: Values) -> None:
    used = {_GRAFANA: "Grafana"}
    listening = [(name, found[name]) for name in _APART]
    for name in _LOCAL:
        host, number = split_address(found[name])
        if host in ("localhost", "[::1]", "[::]", "0.0.0.0") or host.startswith("127."):  # noqa: S104 - compared
            listening.append((name, str(number)))
    for name, port in listening:
        if (other := used.setdefault(port, name)) != name:
            raise ParameterError(f"{other} and {name} are both {port}: two ports are needed")
