"""The generated boards as Grafana reads them: their panels, queries, variables and links, with the variables put in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from multiagents_otel.tools.deploy.files import folder

GRAFANA: Final = folder() / "grafana"
FILES: Final = sorted((GRAFANA / "dashboards").glob("*.json"))

EVERYTHING: Final = {"job": ".*", "worker": ".*", "workflow": ".*"}
"""What the variables stand for when a reader has chosen "All"."""

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_VARIABLE: Final = re.compile(r"\$\{(?P<braced>[\w.]+)\}|\$(?P<bare>\w+)")


@dataclass(frozen=True)
class Target:
    """One query of one panel."""

    panel: str
    data: Mapping[str, Any]

    @property
    def expr(self) -> str:
        return str(self.data["expr"])

    @property
    def is_instant(self) -> bool:
        return bool(self.data.get("instant"))

    @property
    def has_exemplars(self) -> bool:
        return bool(self.data.get("exemplar"))

    @property
    def is_promql(self) -> bool:
        return bool(self.data["datasource"]["type"] == "prometheus")


class Board:
    """One dashboard file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))

    @cached_property
    def panels(self) -> list[dict[str, Any]]:
        return [panel for panel in self.data["panels"] if panel["type"] != "row"]

    @cached_property
    def targets(self) -> list[Target]:
        return [Target(panel["title"], target) for panel in self.panels for target in panel["targets"]]

    @property
    def queries(self) -> list[Target]:
        """Those of Prometheus."""
        return [target for target in self.targets if target.is_promql]

    @cached_property
    def variables(self) -> dict[str, dict[str, Any]]:
        return {variable["name"]: variable for variable in self.data["templating"]["list"]}

    def panel(self, title: str) -> dict[str, Any]:
        (found,) = [panel for panel in self.panels if panel["title"] == title]
        return found

    def expr(self, title: str, number: int = 0) -> str:
        """The (number-th) query of a panel."""
        return [target.expr for target in self.targets if target.panel == title][number]

    def links(self) -> Iterator[str]:
        """The addresses of all links to traces."""
        for link in self.data["links"]:
            if link["type"] == "link":
                yield link["url"]
        for panel in self.panels:
            for link in panel["fieldConfig"]["defaults"].get("links", ()):
                yield link["url"]


BOARDS: Final = {path.stem: Board(path) for path in FILES}


def interpolated(text: str, variables: Mapping[str, str], span: float, step: float) -> str:
    """The text with Grafana's own variables, and a reader's, put in.

    Args:
        text: a query.
        variables: what was chosen.
        span: of the board's time range, in seconds.
        step: of the query, in seconds: its minimal one, as the board has more pixels than the range has steps.
    """
    # Grafana's definition: the interval and one minimal step, four minimal steps at least.
    known = {"__rate_interval": _duration(max(step + step, 4 * step)), "__range": _duration(span), **variables}
    known["__interval"] = _duration(step)
    return _VARIABLE.sub(lambda found: known[found["braced"] or found["bare"]], text)


def seconds(duration: str) -> float:
    """15s, 1m, ... in seconds."""
    return float(duration[:-1]) * _SECONDS[duration[-1]]


def traceql(address: str, variables: Mapping[str, str]) -> tuple[str, str]:
    """The data source and the query of a link to Explore, for what the reader chose and clicked."""
    filled = _VARIABLE.sub(lambda found: variables[found["braced"] or found["bare"]], address)
    parts = urlsplit(filled)
    assert parts.path == "/explore"
    parameters = parse_qs(parts.query, strict_parsing=True)
    (pane,) = json.loads(parameters["panes"][0]).values()
    (query,) = pane["queries"]
    assert query["datasource"]["uid"] == pane["datasource"]
    return pane["datasource"], query["query"]


def _duration(value: float) -> str:
    return f"{round(value * 1000)}ms"
