"""Parameters of the pipeline's files at the pace of tests."""

from __future__ import annotations

from collections.abc import Mapping

from multiagents_otel.tools.deploy.parameters import PARAMETERS, relations


def at_any_pace(chosen: Mapping[str, str]) -> dict[str, str]:
    """Return every parameter's value as ``values`` does, also where they don't go together for a real pipeline."""
    given = {name: PARAMETERS[name].check(value) for name, value in chosen.items()}
    defaults = {name: row.default for name, row in PARAMETERS.items()}
    found = defaults | given
    relations.follow(found, given, defaults)
    return found
