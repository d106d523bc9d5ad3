"""The rules and their unit tests, read as YAML, and the metrics that an expression reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import promql_parser
import yaml

from multiagents_otel.tools.deploy.files import folder

PROMETHEUS: Final = folder() / "prometheus"
RULE_FILES: Final = sorted((PROMETHEUS / "rules").glob("*.yaml"))
UNIT_TESTS: Final = sorted(Path(__file__).parent.glob("*.yaml"))


@cache
def rules() -> list[dict[str, Any]]:
    """Every rule of every file."""
    return [
        rule for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]
    ]


def alerts() -> dict[str, dict[str, Any]]:
    """The alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def expectations() -> Iterator[tuple[str, list[Any]]]:
    """Of every unit test of an alert: its name, and what is expected to fire."""
    for path in UNIT_TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for each in test.get("alert_rule_test", ()):
                yield each["alertname"], each["exp_alerts"]


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression reads; a Collector's without its optional ``_total``."""
    return set(_metrics(promql_parser.parse(expression)))


def _metrics(node: Any) -> Iterator[str]:
    if isinstance(node, promql_parser.VectorSelector):
        named = (matcher.value for matcher in node.matchers.matchers if matcher.name == "__name__")
        yield node.name or re.sub(r"\(_\w+\)\?", "", next(named))
    for part in ("expr", "param", "lhs", "rhs", "vector_selector"):
        if (child := getattr(node, part, None)) is not None:
            yield from _metrics(child)
    for argument in getattr(node, "args", ()):
        yield from _metrics(argument)
