"""What a monitoring configuration, the guide's ``monitoring.yaml``, says about the pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from multiagents_otel.config import NAMES, OptionError, files
from multiagents_otel.config.sources import DEFAULT, Layer, of_environment, resolve

__all__ = ["ParameterValue", "parameters_in"]


class ParameterValue(NamedTuple):
    """Value of a parameter, and its source."""

    value: str
    source: str


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


_PARAMETERS: Final[tuple[tuple[str, str, Callable[[Any], str]], ...]] = (
    ("metrics_collection.export_prometheus", "export_prometheus", _flag),
    ("metrics_collection.export_port", "export_port", str),
    ("worker_monitoring.alert_on_high_error_rate", "alert_on_high_error_rate", _flag),
    ("worker_monitoring.error_rate_threshold", "high_error_percent", lambda rate: _number(100 * rate)),
    ("worker_monitoring.error_rate_threshold", "worker_error_percent", lambda rate: _number(100 * rate)),
    ("worker_monitoring.slow_execution_threshold_ms", "slow_worker_seconds", lambda ms: _number(ms / 1000)),
)
"""What an option of the configuration sets: a parameter, and how the option's value is written there."""


def parameters_in(path: str | os.PathLike[str], environ: Mapping[str, str]) -> dict[str, ParameterValue]:
    """The parameters that the file sets, or the environment for it, which wins as it does for an application.

    Raises:
        OSError: the file can't be read.
        OptionError: something in it, or in the environment, is wrong.
    """
    layers = [*of_environment(NAMES, environ), Layer(files.read(Path(path)), strict=True)]
    settings, problems = resolve(NAMES, layers)
    if problems:
        raise OptionError("\n".join(str(problem.error) for problem in problems))
    return {
        name: ParameterValue(written(settings[option].value), settings[option].source)
        for option, name, written in _PARAMETERS
        if settings[option].source != DEFAULT
    }
