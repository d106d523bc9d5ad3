"""How the agents share transactions out over the gateways: by the last digits of the trace id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from multiagents_otel.tools.deploy.forms import plain_addresses
from multiagents_otel.tools.deploy.parameter import ParameterError, Values

_DIGITS: Final = 4
"""Of the trace id's hexadecimal ones: shares are equal to one part in 65,536."""


def addresses(values: Values) -> list[str]:
    """The gateways' addresses, in their order. ParameterError: there is none, or one stands there twice."""
    found = [address.strip() for address in values["gateways"].split(",") if address.strip()]
    if not found or len(set(found)) < len(found):
        raise ParameterError(f"gateways: {values['gateways']!r} is not a list of different addresses")
    return found


def _first(values: Values) -> list[str]:
    return [f"endpoint: {plain_addresses(addresses(values)[0])}"]


def _others(values: Values) -> list[str]:
    return [
        line
        for number, address in enumerate(addresses(values)[1:], 1)
        for line in (f"otlp_grpc/gateway-{number}:", f"  endpoint: {plain_addresses(address)}", "  <<: *gateway")
    ]


def _same_for_others(values: Values) -> list[str]:
    return [f"otlp_grpc/gateway-{number}: *gateway" for number in range(1, len(addresses(values)))]


def _default(signal: str) -> Callable[[Values], list[str]]:
    return lambda values: [f"- {signal}/gateway-{len(addresses(values)) - 1}"]


def _table(signal: str, context: str) -> Callable[[Values], list[str]]:
    """A row for each gateway but the last. The table may not be empty, so one gateway alone has a row too."""

    def rows(values: Values) -> list[str]:
        count = len(addresses(values))
        return [line for number in range(max(count - 1, 1)) for line in row(number, count)]

    def row(number: int, count: int) -> list[str]:
        last = 16**_DIGITS - 1
        bound = f"{min(last, (number + 1) * 16**_DIGITS // count):0{_DIGITS}x}"
        return [
            f"- context: {context}",
            f'  condition: Substring({context}.trace_id.string, {32 - _DIGITS}, {_DIGITS}) < "{bound}"',
            f"  pipelines: [{signal}/gateway-{number}]",
        ]

    return rows


def _pipelines(values: Values) -> list[str]:
    return [
        line
        for number in range(len(addresses(values)))
        for signal in ("traces", "logs")
        for line in (
            f"{signal}/gateway-{number}:",
            f"  receivers: [routing/{signal}]",
            f"  exporters: [otlp_grpc/gateway-{number}]",
        )
    ]


REGIONS: Final[Mapping[str, Callable[[Values], Sequence[str]]]] = {
    "first_gateway": _first,
    "other_gateways": _others,
    "same_for_other_gateways": _same_for_others,
    "traces_default": _default("traces"),
    "traces_table": _table("traces", "span"),
    "logs_default": _default("logs"),
    "logs_table": _table("logs", "log"),
    "gateway_pipelines": _pipelines,
}
"""The regions of agent.yaml and of what goes on top of it, by name."""
