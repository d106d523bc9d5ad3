"""The rules and their unit tests, read as YAML."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from multiagents_otel.stack.files import folder

PROMETHEUS: Final = folder() / "prometheus"
RULE_FILES: Final = sorted((PROMETHEUS / "rules").glob("*.yaml"))
UNIT_TESTS: Final = sorted(Path(__file__).parent.glob("*.yaml"))


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
