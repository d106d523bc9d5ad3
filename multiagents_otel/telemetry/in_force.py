"""The instrumentation that is in force in this process, for those who only ask what it knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.metrics import Meter

if TYPE_CHECKING:
    from multiagents_otel.telemetry.core import Telemetry
    from multiagents_otel.telemetry.in_flight import InFlight


class InForce(NamedTuple):
    """What one ``instrument()`` call has put in place, as far as monitors ask for it."""

    telemetry: Telemetry
    in_flight: InFlight
    buses: Iterable[Any]


_in_force: InForce | None = None


def enter(telemetry: Telemetry, in_flight: InFlight, buses: Iterable[Any]) -> None:
    """An instrumentation comes into force."""
    global _in_force
    _in_force = InForce(telemetry, in_flight, buses)


def leave() -> None:
    """No instrumentation is in force any more."""
    global _in_force
    _in_force = None


def meter() -> Meter | None:
    """The meter of its instruments; None while there is no instrumentation."""
    return _in_force.telemetry.instruments.meter if _in_force is not None else None


def buses() -> list[Any]:
    """The event buses that it has seen and that are alive."""
    return list(_in_force.buses) if _in_force is not None else []


def unfinished_commands() -> int:
    """Commands that this process has published or executes, and that are not finished; each of them once."""
    now = _in_force
    if now is None:
        return 0
    executing = [execution.delivery.message.id for execution in now.telemetry.executing.copy()]
    return len(now.in_flight) + sum(command not in now.in_flight for command in executing)
