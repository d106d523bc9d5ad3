"""The parts of the pipeline's files that are made, not written: their length depends on a parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from multiagents_otel.tools.deploy import application, gateways, metric_names, redaction
from multiagents_otel.tools.deploy.parameter import Values

GENERATED: Final[dict[str, Callable[[Values], Sequence[str]]]] = {
    "application": application.variables,
    "metric_names": lambda _: metric_names.statements(),
    "redaction": lambda _: redaction.region(),
    **gateways.REGIONS,
}
"""By the name that a region's marker gives: makes the lines of the region, without its indentation."""
