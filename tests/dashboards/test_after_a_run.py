"""What the boards show after a real run: every query gives data, numbers are true, links and exemplars find traces.

There is no Grafana here: its variables are put in, its links followed and its exemplars asked for as it does.
"""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

import pytest

from tests.dashboards.boards import BOARDS, interpolated, traceql
from tests.dashboards.conftest import CHOSEN, COMPLETED, EXECUTED, FAILED, STALLED, Stack
from tests.dashboards.searches import found
from tests.integration.conftest import COMMANDS
from tests.support.receiver import OtlpReceiver
from tests.support.sagas import STEPS, WORKERS, WORKFLOW, order_payload
from tests.support.services import wait_until

SIGNALS: Final = ("spans", "metric points", "log records")

MAY_BE_EMPTY: Final[dict[str, dict[tuple[str, str], str]]] = {
    "pipeline": {
        **{("Queue was full", signal): "the shipped Collector holds its clients up instead" for signal in SIGNALS},
        **{("Not sent, by exporter", f"{{{{exporter}}}}: {signal}, queue full"): "the same" for signal in SIGNALS},
    }
}
"""By board, then by panel and legend: why a query gives nothing after the run."""

CLICKED: Final = {
    "traces": "tempo-of-the-reader",
    "__from": "1",
    "__to": "2",
    "__field.labels.status": "compensated",
    "__field.labels.workflow_id": WORKFLOW,
    "__field.labels.worker_name": "ship_order",
    "__field.labels.multiagents_step_name": "ship",
    "__field.labels.event_type": "CommandEvent",
}


@pytest.mark.parametrize("name", BOARDS)
def test_every_query_gives_data_where_there_is_some(stack: Stack, name: str) -> None:
    expected = MAY_BE_EMPTY.get(name, {}).keys()
    # The last export, its scrape, and the time in which a process that was killed still counts as alive.
    with suppress(AssertionError):
        wait_until(lambda: empty(stack, name) == expected, "no query without data but those")
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


def test_the_bars_of_a_graph_add_up(stack: Stack) -> None:
    (stale,) = stack.prometheus.query("sum(multiagents_events_stale_total)").values()
    assert stale >= len(STEPS)
    true = {
        ("workers", "Errors by cause"): FAILED,
        ("workflows", "Stalls"): STALLED,
        ("events", "Undelivered"): 1 + STALLED,
        ("events", "Executed twice"): len(STEPS),
        ("events", "Stale results"): stale,
    }
    # The last bar stands where its interval is over.
    with suppress(AssertionError):
        wait_until(lambda: {bars: total(stack, *bars) for bars in true} == true, "every bar stands")
    assert {bars: total(stack, *bars) for bars in true} == true


def total(stack: Stack, board: str, title: str) -> float:
    """The sum of all bars of a graph."""
    return sum(float(value) for series in stack.series(BOARDS[board].expr(title)) for _at, value in series["values"])


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


def transaction_of(stack: Stack, trace: str) -> set[object]:
    return {span.attributes.get("workflow.transaction_id") for span in stack.backend.spans if span.trace_id == trace}


@pytest.mark.parametrize("name", ["overview", "workflows", "workers", "events"])
def test_every_exemplar_of_a_panel_leads_to_a_trace_that_arrived(stack: Stack, name: str) -> None:
    with_exemplars = [query for query in BOARDS[name].queries if query.has_exemplars]
    assert with_exemplars
    for query in with_exemplars:
        traces = exemplars(stack, query.expr)
        assert traces, query
        stack.backend.wait_for(partial(arrived, traces))


def arrived(traces: set[str], backend: OtlpReceiver) -> bool:
    return traces <= {span.trace_id for span in backend.spans}


def exemplars(stack: Stack, expr: str) -> set[str]:
    """The trace ids of the exemplars that Grafana asks for beside a query."""
    end = time.time()
    asked = interpolated(expr, CHOSEN, end - stack.began, 1)
    series = stack.prometheus.api("query_exemplars", query=asked, start=stack.began, end=end)
    return {exemplar["labels"]["trace_id"] for each in series for exemplar in each["exemplars"]}


def test_the_exemplars_of_slow_workflows_are_their_workflows(stack: Stack) -> None:
    for trace in exemplars(stack, BOARDS["workflows"].expr("Duration", 1)):
        roots = [span.name for span in stack.backend.spans if span.trace_id == trace and not span.parent_id]
        assert roots == [f"workflow.{WORKFLOW}"]


def test_a_transaction_leads_to_its_trace(stack: Stack) -> None:
    board = BOARDS["workflows"]
    transaction = stack.transactions["compensated"]
    (link,) = [each["url"] for each in board.data["links"] if each["type"] == "link"]
    source, query = traceql(link, {**CLICKED, "transaction": transaction})
    assert source == CLICKED["traces"]
    (trace,) = found(stack.backend.spans, query)
    assert transaction_of(stack, trace) == {transaction}
    # The panel asks the same.
    (target,) = [each for each in board.targets if each.panel == "The transaction's trace"]
    assert target.data["query"].replace("${transaction}", transaction) == query


@pytest.mark.parametrize("name", BOARDS)
def test_every_link_finds_traces(stack: Stack, name: str) -> None:
    for link in BOARDS[name].links():
        _source, query = traceql(link, {**CLICKED, "transaction": stack.transactions["stalled"]})
        assert found(stack.backend.spans, query), query


def test_the_board_of_workflows_lists_those_that_did_not_complete(stack: Stack) -> None:
    (target,) = [each for each in BOARDS["workflows"].targets if each.panel == "Workflows that did not complete"]
    listed = {
        each for trace in found(stack.backend.spans, target.data["query"]) for each in transaction_of(stack, trace)
    }
    assert listed >= {stack.transactions["compensated"], stack.transactions["stalled"]}
    assert stack.transactions["completed"] not in listed


@contextmanager
def deaf_worker(port: int) -> Iterator[None]:
    """A subscriber of commands that never answers."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"SUBSCRIBE {COMMANDS[0]}\r\n".encode())
        assert b"subscribe" in connection.recv(1000)
        yield


def test_what_a_killed_process_held_counts_no_more(stack: Stack) -> None:
    with deaf_worker(stack.orders.redis.port):
        stack.orchestrator.send_line(json.dumps({**order_payload(), "wait": False}))
        wait_until(lambda: values(stack, "overview", "Commands in flight") == [1], "the command is in flight")
        held = values(stack, "overview", "Active workflows")
        stack.orchestrator.kill9()
        wait_until(lambda: values(stack, "overview", "Active workflows") == [], "the killed process does not count")

    assert held == [1]
    assert values(stack, "overview", "Stalled workflows") == []
    # The Collector still says what the process said last, and Prometheus still has it.
    assert "multiagents_active_workflows{" in stack.collector.metrics()
    assert sum(stack.prometheus.query("multiagents_active_workflows").values()) == sum(held)
    assert {job for (job,) in column(stack, "system", "Gone without a word", 0, "job")} == {"orchestrator", "worker"}


def values(stack: Stack, board: str, title: str) -> list[float]:
    return list(stack.value(BOARDS[board].expr(title)).values())
