"""The report's numbers are those of what happened, counted apart."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import pytest

from multiagents_otel.tools.quantities import duration
from tests.cli.shown import Run
from tests.report.conftest import END, prometheus_with
from tests.report.history import History
from tests.report.reading import interpolated, summary, table, words
from tests.report.shop import BEFORE, START, shop
from tests.support.services import Prometheus

WORKFLOW = "multiagents_workflow_duration_seconds"
STEP = "multiagents_step_duration_seconds"
WORKER = "multiagents_worker_duration_seconds"
QUEUE = "multiagents_event_queue_time_seconds"
EVENT = "multiagents_event_duration_seconds"


@pytest.fixture(scope="module")
def history() -> History:
    return shop()


@pytest.fixture(scope="module")
def prometheus(history: History, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with prometheus_with(history, tmp_path_factory.mktemp("shop")) as running:
        yield running


@pytest.fixture
def out(run: Run, prometheus: Prometheus) -> str:
    return report(run, prometheus)


def report(run: Run, prometheus: Prometheus, *options: str) -> str:
    asked = ("report", "--prometheus", prometheus.url, "--since", "4h", "--until", "2026-11-24T12:00")
    shown = run(*asked, "--width", "200", *options)
    assert (shown.status, shown.err) == (0, "")
    return shown.out


def test_each_workflow_has_its_outcomes_its_success_rate_and_its_percentiles(out: str, history: History) -> None:
    ended = history.tally(START, END, "multiagents_workflows_total", "workflow_id", "status")
    expected = []
    for workflow in ("order", "newsletter"):
        counts = {status: ended[workflow, status] for status in STATUSES}
        good, bad = counts["completed"], counts["failed"] + counts["compensated"] + counts["stalled"]
        took = history.values(START, END, WORKFLOW, workflow_id=workflow)
        expected.append(
            {
                "workflow": workflow,
                "started": str(sum(counts.values())),
                **{status: str(count) for status, count in counts.items()},
                "success": "100 %" if not bad else f"{int(1000 * good / (good + bad)) / 10:.1f} %",
                **{f"p{each}": interpolated(took, WORKFLOW, each) for each in (50, 95, 99)},
            }
        )
    assert table(out, "Workflows") == expected
    assert expected[0]["stalled"] == "3"


STATUSES = ("completed", "failed", "compensated", "cancelled", "stalled")


def test_steps_come_slowest_first_with_what_they_cost(out: str, history: History) -> None:
    names = history.tally(START, END, STEP, "workflow_id", "multiagents_step_name")
    whole = sum(history.values(START, END, STEP))
    told = table(out, "Slowest steps")
    assert {(row["workflow"], row["step"]) for row in told} == names.keys()
    for row in told:
        took = history.values(START, END, STEP, workflow_id=row["workflow"], multiagents_step_name=row["step"])
        assert row == {
            "step": row["step"],
            "workflow": row["workflow"],
            "runs": str(len(took)),
            **{f"p{each}": interpolated(took, STEP, each) for each in (50, 95, 99)},
            "total time": duration(sum(took)),
            "share": row["share"],
        }
        assert float(row["share"].removesuffix(" %")) == pytest.approx(100 * sum(took) / whole, abs=0.1)
    assert [row["step"] for row in told] == ["charge", "render", "ship", "validate"]


def test_each_worker_has_its_errors_durations_and_queue_time(out: str, history: History) -> None:
    runs = history.tally(START, END, "multiagents_worker_executions_total", "worker_name", "status")
    told = table(out, "Workers")
    assert {row["worker"] for row in told} == {worker for worker, _ in runs}
    for row in told:
        worker = row["worker"]
        good, bad = runs[worker, "success"], runs[worker, "error"]
        took = history.values(START, END, WORKER, worker_name=worker)
        assert row == {
            "worker": worker,
            "runs": str(good + bad),
            "errors": str(bad),
            "cancelled": "0",
            "success": "100 %" if not bad else f"{int(1000 * good / (good + bad)) / 10:.1f} %",
            **{f"p{each}": interpolated(took, WORKER, each) for each in (50, 95, 99)},
            "queue p95": interpolated(history.values(START, END, QUEUE, worker_name=worker), QUEUE, 95),
            "total time": duration(sum(took)),
        }
    assert [row["worker"] for row in told[:1]] == ["charge"], "most errors first"


def test_events_are_told_by_type(out: str, history: History) -> None:
    counts = history.tally(START, END, "multiagents_events_total", "status")
    took = history.values(START, END, EVENT)
    (row,) = table(out, "Events")
    assert row == {
        "event": "CommandEvent",
        "events": f"{sum(counts.values()):,}",
        "errors": str(counts["error",]),
        "success": f"{int(1000 * counts['success',] / sum(counts.values())) / 10:.1f} %",
        **{f"p{each}": interpolated(took, EVENT, each) for each in (50, 95, 99)},
    }


def test_error_patterns_say_who_what_how_often_and_when(out: str, history: History) -> None:
    key = ("worker_name", "error_type")
    errors = history.tally(START, END, "multiagents_worker_errors_total", *key)
    before = history.tally(BEFORE, START, "multiagents_worker_errors_total", *key)
    told = table(out, "Error patterns")
    assert [(row["worker"], row["error type"], row["errors"], row["before"]) for row in told] == [
        (*pattern, str(count), str(before[pattern])) for pattern, count in sorted(errors.items(), key=lambda e: -e[1])
    ]
    for row in told:
        slots = [0] * 24
        for at, deed in history.seen(START, END):
            if deed.metric == "multiagents_worker_errors_total" and ("error_type", row["error type"]) in deed.labels:
                slots[ceil((at - START) / 600) - 1] += 1
        marks = "▁▂▃▄▅▆▇█"
        assert row["when"] == "".join(marks[min(7, 8 * each // max(slots))] if each else "·" for each in slots)


def test_a_spike_is_told_with_its_time_and_its_height(out: str) -> None:
    (row,) = table(out, "Error spikes")
    assert (row["worker"], row["error type"], row["most in 5 min"]) == ("charge", "TimeoutError", "40")
    assert "2026-11-24 09:5" in row["from (UTC)"]
    assert "2026-11-24 10:0" in row["to"]


def test_what_was_not_delivered_or_ran_twice_is_told_with_its_worker(out: str) -> None:
    assert table(out, "Delivery") == [
        {"fault": "run twice", "where": "charge", "count": "2"},
        {"fault": "undelivered", "where": "CommandEvent, send", "count": "1"},
    ]


def test_the_period_is_compared_with_the_one_before_it(out: str, history: History) -> None:
    told = summary(out)
    for number, (start, end) in enumerate(((START, END), (BEFORE, START))):
        ended = history.tally(start, end, "multiagents_workflows_total", "status")
        took = history.values(start, end, WORKFLOW)
        assert told["workflows ended"][number] == f"{sum(ended.values()):,}"
        assert told["stalled workflows"][number] == str(ended["stalled",])
        assert told["compensations"][number] == str(ended["compensated",])
        assert [told[f"workflow p{each}"][number] for each in (50, 95, 99)] == [
            interpolated(took, WORKFLOW, each) for each in (50, 95, 99)
        ]
    now = sum(history.tally(START, END, "multiagents_workflows_total").values())
    before = sum(history.tally(BEFORE, START, "multiagents_workflows_total").values())
    assert told["workflows ended"][2] == f"{now / before - 1:+.0%}".replace("%", " %")
    assert told["stalled workflows"] == ["3", "0", "new"]


def test_the_services_and_their_processes_are_named(out: str, prometheus: Prometheus) -> None:
    assert out.splitlines()[1:3] == [
        f"2026-11-24 08:00 to 2026-11-24 12:00 UTC (4h), {prometheus.url}",
        "services: orders (2 processes), mailer (1 process)",
    ]


def test_one_service_can_be_looked_at_alone(run: Run, prometheus: Prometheus, history: History) -> None:
    out = report(run, prometheus, "--service", "mailer")
    assert out.splitlines()[2] == "services: mailer (1 process)"
    assert [row["workflow"] for row in table(out, "Workflows")] == ["newsletter"]
    assert [row["worker"] for row in table(out, "Workers")] == ["render"]
    assert words(out, "Error patterns") == ["No worker failed."]
    both = report(run, prometheus, "--service", "mailer", "--service", "orders")
    assert both == report(run, prometheus)


def test_the_objective_is_met_or_missed(run: Run, prometheus: Prometheus) -> None:
    assert "the objective of 99 % is missed" in report(run, prometheus)
    assert "the objective of 80.5 % is met" in report(run, prometheus, "--objective", "80.5")


def test_the_percentiles_are_prometheus_own(out: str, prometheus: Prometheus) -> None:
    """Where no process was born or has ended in the period, its own function must say the same."""
    growth = f"sum by (le) (increase({WORKFLOW}_bucket{{job='mailer'}}[4h]))"
    value = prometheus.query(f"histogram_quantile(0.95, {growth})", time=END)[()]
    (row,) = [row for row in table(out, "Workflows") if row["workflow"] == "newsletter"]
    assert row["p95"] == duration(value)
