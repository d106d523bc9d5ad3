"""The environment variables that the installed packages of OpenTelemetry declare."""

from __future__ import annotations

import re
from importlib.metadata import entry_points

from opentelemetry.instrumentation.logging import environment_variables as of_logging


def declared() -> set[str]:
    """Return the variables' names: the values of the constants, whose own names may be private and differ."""
    modules = [entry.load() for entry in entry_points(group="opentelemetry_environment_variables")]
    names = {
        value
        for module in (*modules, of_logging)  # the instrumentation of logging has no entry point for its own
        if module.__name__.startswith("opentelemetry.")
        for name, value in vars(module).items()
        if re.match("_?OTEL_", name)
    }
    # Old versions have names of an exporter that no longer exists.
    return {name for name in names if not name.startswith("OTEL_EXPORTER_JAEGER_")}
