"""Another value for each parameter, one that the programs take too."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from multiagents_otel.tools.deploy.parameters import PARAMETERS, Parameter

_GIVEN: Final = {
    "collector_host": "127.0.0.9",
    "backend_exporter": "otlp_http",
    "slow_workflow_seconds": "60",
    "alert_secrets": "other-secrets",
    "gateways": "gw-a:5317, gw-b:5317, gw-c.telemetry.svc:5317",
    "evaluation_interval": "14s",
    "alert_repeat": "13m",
    "slo_objective_percent": "99.5",
}
"""What can't be made of the default."""


def _text(row: Parameter) -> str:
    for word, other in (("localhost", "other-host"), ("example", "sample"), (".invalid", ".test")):
        if word in row.default:
            return row.default.replace(word, other)
    return f"{row.default}-other"


def _number(row: Parameter) -> str:
    up, down = float(row.default) + 7, float(row.default) - 7
    return f"{down if row.most is not None and up > row.most else up:.10g}"


_OTHER: Final[dict[str, Callable[[Parameter], str]]] = {
    "duration": lambda row: re.sub(r"\d+", lambda digits: str(int(digits[0]) + 1), row.default),
    "number": _number,
    "integer": _number,
    "text": _text,
    "flag": lambda row: "false" if row.default == "true" else "true",
}


def other(row: Parameter) -> str:
    """A value that the parameter may have and that is not its default."""
    return _GIVEN.get(row.name) or _OTHER[row.kind.removeprefix("collector ")](row)


def others(*, flags: str | None = None) -> dict[str, str]:
    """Every parameter at another value; flags all at one, if it is given: what is left out can't be wrong."""
    return {name: (flags if flags and row.kind == "flag" else other(row)) for name, row in PARAMETERS.items()}
