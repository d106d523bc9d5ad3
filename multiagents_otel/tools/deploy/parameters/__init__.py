"""The one table of what can be chosen in the pipeline's files."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from multiagents_otel.tools.deploy.forms import split_address
from multiagents_otel.tools.deploy.parameter import Parameter, ParameterError, Values
from multiagents_otel.tools.deploy.parameters import (
    alertmanager,
    collector,
    containers,
    prometheus,
    relations,
    sampling,
)

__all__ = ["PARAMETERS", "Parameter", "ParameterError", "Values", "port", "values"]

PARAMETERS: Final[dict[str, Parameter]] = {
    row.name: row for row in (*collector.ROWS, *sampling.ROWS, *prometheus.ROWS, *alertmanager.ROWS, *containers.ROWS)
}
"""Every parameter by its name, in the order of the reference."""


def values(chosen: Mapping[str, str] | None = None) -> dict[str, str]:
    """Every parameter's value: what was chosen, else its default. ParameterError names what is wrong."""
    for name in chosen or {}:
        if name not in PARAMETERS:
            near = get_close_matches(name, PARAMETERS, 1)
            raise ParameterError(f"there is no parameter {name}" + (f": did you mean {near[0]}?" if near else ""))
    given = {name: PARAMETERS[name].check(value) for name, value in (chosen or {}).items()}
    defaults = {name: row.default for name, row in PARAMETERS.items()}
    found = defaults | given
    relations.follow(found, given, defaults)
    relations.check(found)
    return found


def port(values: Values, name: str) -> int:
    """Return the port of an address, or of the first of several."""
    return split_address(values[name])[1]
