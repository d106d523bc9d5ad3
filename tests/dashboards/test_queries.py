"""Every query of every board against a real Prometheus, after a real run: it parses, and shows what happened."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Final

import pytest

from tests.dashboards.boards import BOARDS
from tests.dashboards.conftest import COMPLETED, EXECUTED, FAILED, STALLED, Stack
from tests.support.sagas import STEPS, WORKERS, WORKFLOW
from tests.support.services import wait_until

SIGNALS: Final = ("spans", "metric points", "log records")

MAY_BE_EMPTY: Final[dict[str, dict[tuple[str, str], str]]] = {
    "pipeline": {
        **{("Queue was full", signal): "the shipped Collector holds its clients up instead" for signal in SIGNALS},
        **{("Not sent, by exporter", f"{{{{exporter}}}}: {signal}, queue full"): "the same" for signal in SIGNALS},
    }
}
"""By board, then by panel and legend: why a query gives nothing after the run."""


@pytest.mark.parametrize("name", BOARDS)
def test_every_query_gives_data_where_there_is_some(stack: Stack, name: str) -> None:
    expected = MAY_BE_EMPTY.get(name, {}).keys()
    # The last export, its scrape, and the time in which a process that was killed still counts as alive.
    with suppress(AssertionError):
        wait_until(lambda: empty(stack, name) == expected, "no query without data but those", timeout=30)
    assert empty(stack, name) == expected


def empty(stack: Stack, name: str) -> set[tuple[str, str]]:
    """The queries of a board that give nothing, by panel and legend."""
    end = time.time()
    nothing = [each for each in BOARDS[name].queries if not any(map(math.isfinite, stack.shown(each, end)))]
    return {(target.panel, target.data.get("legendFormat") or "") for target in nothing}


def shown(stack: Stack, board: str, title: str) -> float:
    """What a panel of one number shows."""
    (value,) = stack.value(BOARDS[board].expr(title)).values()
    return value


def column(stack: Stack, board: str, title: str, number: int, *keys: str) -> dict[tuple[str, ...], float]:
    """A column of a table, by its keys."""
    found = stack.value(BOARDS[board].expr(title, number))
    return {tuple(dict(labels)[key] for key in keys): value for labels, value in found.items()}


def test_the_numbers_of_the_overview_are_true(stack: Stack) -> None:
    ended = COMPLETED + FAILED + STALLED
    titles = ("Success", "Workflows ended", "Executions failed", "Undelivered events", "Executed twice")
    assert {title: shown(stack, "overview", title) for title in (*titles, "Stalled workflows")} == {
        "Success": COMPLETED / ended,
        "Workflows ended": ended,
        "Executions failed": FAILED / EXECUTED,
        # The compensation of the first failure, and the first commands of the orders after the workers' end.
        "Undelivered events": 1 + STALLED,
        "Executed twice": len(STEPS),
        "Stalled workflows": STALLED,
    }


def test_the_tables_are_true(stack: Stack) -> None:
    titles = ("Started", "Completed", "Failed", "Compensated", "Cancelled", "Stalled")
    counts = (COMPLETED + FAILED + STALLED, COMPLETED, 0, FAILED, 0, STALLED)
    by_workflow = [column(stack, "workflows", "By workflow", number, "workflow_id") for number in range(len(titles))]
    assert dict(zip(titles, by_workflow, strict=True)) == {
        title: {(WORKFLOW,): count} for title, count in zip(titles, counts, strict=True)
    }
    executions = column(stack, "workers", "Workers", 0, "worker_name")
    assert executions == {(name,): EXECUTED / len(WORKERS) for name in WORKERS}
    shares = column(stack, "workflows", "Slowest steps", 3, "multiagents_step_name")
    assert shares.keys() == {(step,) for step in STEPS}
    assert sum(shares.values()) == pytest.approx(1)


def test_an_error_that_a_counter_was_born_with_is_counted(stack: Stack) -> None:
    errors = column(stack, "overview", "Errors of workers", 0, "worker_name", "error_type")
    assert errors == {("ship_order", "ValueError"): FAILED}
    assert shown(stack, "pipeline", "Faults of multiagents-otel") == 2


def test_a_choice_leaves_the_rest_out(stack: Stack) -> None:
    for board in ("workers", "events"):
        for query in (each for each in BOARDS[board].queries if "worker_name" in each.expr and not each.is_instant):
            names = {series["metric"].get("worker_name") for series in stack.series(query.expr, worker="ship_order")}
            assert names <= {"ship_order", None}, query
    expr = BOARDS["overview"].expr("Workflows ended, by status")
    assert stack.series(expr, job="(orchestrator|worker)")
    assert stack.series(expr, job="worker") == []


def test_the_variables_offer_what_there_is(stack: Stack) -> None:
    offered = {
        name: sorted(stack.offered(BOARDS[board].variables[name]["query"]))
        for board, name in (("overview", "job"), ("workflows", "workflow"), ("workers", "worker"))
    }
    assert offered == {"job": ["orchestrator", "worker"], "workflow": [WORKFLOW], "worker": sorted(WORKERS)}
