"""Every query of every board against a real Prometheus, after a real run: it parses, and shows what happened."""

from __future__ import annotations

import math
import time
from typing import Final

import pytest

from tests.dashboards.boards import BOARDS
from tests.dashboards.conftest import Stack

MAY_BE_EMPTY: Final[dict[str, dict[str, str]]] = {
    "pipeline": {
        "Queue was full": "the shipped Collector holds its clients up instead",
        "Not sent, by exporter": "the same, for its second query",
        "Traces cut short": "for a Collector that samples by the tail",
        "Decisions": "for a Collector that samples by the tail",
        "Traces held": "for a Collector that samples by the tail",
        "Dropped before a decision": "for a Collector that samples by the tail",
    }
}
"""By board and panel: why a query of it may give nothing after the run."""


@pytest.mark.parametrize("name", BOARDS)
def test_every_query_gives_data_where_there_is_some(stack: Stack, name: str) -> None:
    end = time.time()
    empty = [
        (target.panel, target.expr)
        for target in BOARDS[name].queries
        if not any(map(math.isfinite, stack.shown(target, end)))
    ]
    for panel, expr in empty:
        print(panel, "::", expr)
    assert {panel for panel, _expr in empty} == MAY_BE_EMPTY.get(name, {}).keys()
