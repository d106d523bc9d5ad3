"""Counters as they really come: born above 0, replaced, reset, older than Prometheus, unseen for a while."""

from __future__ import annotations

import pytest

from tests.cli.shown import Run, Shown
from tests.report.conftest import END, HOUR, Told
from tests.report.history import History
from tests.report.reading import summary, table, words

START = END - HOUR
LONG_AGO = END - 5 * HOUR


def report(run: Run, told: Told, history: History) -> Shown:
    url = told(history).url
    shown = run("report", "--prometheus", url, "--since", "1h", "--until", "2026-11-24T12:00Z", "--width", "200")
    return Shown(shown.status, shown.out, shown.err.replace(url, "URL"))


def workers(shown: Shown) -> dict[str, tuple[str, str]]:
    """Runs and errors by worker."""
    assert (shown.status, shown.err) == (0, "")
    return {row["worker"]: (row["runs"], row["errors"]) for row in table(shown.out, "Workers")}


def test_a_counter_that_was_born_at_five_is_counted_from_nothing(run: Run, told: Told) -> None:
    history = History((LONG_AGO, END))
    process = history.process("shop", "a", END - 1800, END)
    for number in range(5):
        process.count(END - 1799 + number, "multiagents_worker_executions_total", worker_name="w", status="error")
        process.count(END - 1799 + number, "multiagents_worker_errors_total", worker_name="w", error_type="Boom")
    shown = report(run, told, history)
    assert workers(shown) == {"w": ("5", "5")}
    (row,) = table(shown.out, "Error patterns")
    assert (row["worker"], row["error type"], row["errors"], row["share"]) == ("w", "Boom", "5", "100 %")
    assert row["when"] == "·" * 15 + "█" + "·" * 14


def test_a_process_that_was_scraped_once_counts(run: Run, told: Told) -> None:
    history = History((LONG_AGO, END))
    process = history.process("shop", "a", END - 600, END - 600)
    process.workflow(END - 600, "order", "completed", 0.3, {"charge": 0.2})
    shown = report(run, told, history)
    assert workers(shown) == {"charge": ("1", "0")}
    (row,) = table(shown.out, "Workflows")
    assert (row["completed"], row["success"], row["p50"]) == ("1", "100 %", "375 ms")


def test_a_process_and_the_one_that_replaces_it_count_together(run: Run, told: Told) -> None:
    history = History((LONG_AGO, END))
    old = history.process("shop", "a", LONG_AGO, END - 1800)
    new = history.process("shop", "b", END - 1790, END)
    for number in range(100):  # 60 of them in the period
        old.count(END - 1800 - 60 * (number + 1) * 0.8, "multiagents_worker_executions_total", **GOOD)
    for number in range(7):
        new.count(END - 1790 + number, "multiagents_worker_executions_total", **GOOD)
    seen = history.tally(START, END, "multiagents_worker_executions_total")[()]
    assert workers(report(run, told, history)) == {"w": (str(seen), "0")}
    assert 40 < seen < 50


GOOD = {"worker_name": "w", "status": "success"}


def test_a_process_that_keeps_its_instance_id_over_a_restart_counts_on(run: Run, told: Told) -> None:
    history = History((LONG_AGO, END))
    process = history.process("shop", "a", LONG_AGO, END, resets=(END - 1830,))
    process.declare("multiagents_worker_executions_total", **GOOD)
    for number in range(500):
        process.count(LONG_AGO + 30 * number, "multiagents_worker_executions_total", **GOOD)
    for number in range(240):
        process.count(START + 1 + 15 * number, "multiagents_worker_executions_total", **GOOD)
    runs, _ = workers(report(run, told, history))["w"]
    seen = history.tally(START, END, "multiagents_worker_executions_total")[()]
    assert int(runs) == pytest.approx(seen, rel=0.02), "increase() extrapolates, and what nobody scraped is lost"


def test_a_process_that_has_long_ended_does_not_count(run: Run, told: Told) -> None:
    history = History((LONG_AGO, END))
    dead = history.process("shop", "a", LONG_AGO, START - 1800)
    dead.count(LONG_AGO + 1, "multiagents_worker_executions_total", **GOOD)
    alive = history.process("shop", "b", LONG_AGO, END)
    alive.declare("multiagents_worker_executions_total", worker_name="idle", status="success")
    assert workers(report(run, told, history)) == {"idle": ("0", "0")}


def test_what_prometheus_did_not_see_for_a_while_is_counted_once(run: Run, told: Told) -> None:
    history = History((LONG_AGO, END), blind=(START - 1800, START + 1200))
    process = history.process("shop", "a", LONG_AGO, END)
    for number in range(300):
        process.count(LONG_AGO + 60 * number + 59, "multiagents_worker_executions_total", **GOOD)
    # One a minute. Those of the dark before the period can only be told to have come after it.
    assert workers(report(run, told, history)) == {"w": (str(60 + 30), "0")}


def test_after_a_long_blindness_the_report_starts_where_prometheus_sees_again(run: Run, told: Told) -> None:
    history = History((LONG_AGO, END), blind=(START - 2 * HOUR, START + 1200))
    process = history.process("shop", "a", LONG_AGO, END)
    for number in range(300):
        process.count(LONG_AGO + 60 * number + 59, "multiagents_worker_executions_total", **GOOD)
    shown = report(run, told, history)
    assert workers(shown) == {"w": ("40", "0")}
    assert "data only from 2026-11-24 11:20 UTC on: this report is about 40m" in shown.out


def test_without_traffic_there_is_a_report_that_says_so(run: Run, told: Told) -> None:
    history = History((LONG_AGO, END))
    process = history.process("shop", "a", LONG_AGO, END)
    process.declare("multiagents_workflows_started_total", workflow_id="order")
    process.declare("multiagents_worker_executions_total", worker_name="charge", status="success")
    shown = report(run, told, history)
    assert workers(shown) == {"charge": ("0", "0")}
    assert "No workflow ended in this period that counts as a success or not." in shown.out.splitlines()
    assert summary(shown.out)["workflows ended"] == ["0", "0", "same"]
    assert summary(shown.out)["workflow success"] == ["-", "-", "-"]
    assert words(shown.out, "Slowest steps") == ["No step ran."]
    assert words(shown.out, "Error patterns") == ["No worker failed."]
    assert words(shown.out, "Events") == ["No event was handled."]


def test_a_prometheus_younger_than_the_period_counts_only_what_it_has_seen(run: Run, told: Told) -> None:
    history = History((END - 1800, END))
    old = history.process("shop", "a", LONG_AGO, END)
    for number in range(300):
        old.count(LONG_AGO + 60 * number + 59, "multiagents_worker_executions_total", **GOOD)
    born = history.process("shop", "b", END - 600, END)
    born.count(END - 599, "multiagents_worker_executions_total", worker_name="new", status="success")
    shown = report(run, told, history)
    assert workers(shown) == {"w": ("30", "0"), "new": ("1", "0")}
    assert shown.out.splitlines()[1].startswith("2026-11-24 11:30 to 2026-11-24 12:00 UTC (30m)")
    assert shown.out.splitlines()[5:7] == [
        "Prometheus has data only from 2026-11-24 11:30 UTC on: this report is about 30m, not 1h.",
        "There is no data from before 2026-11-24 11:30 UTC, and hence no trend.",
    ]
    assert summary(shown.out)["worker executions"] == ["31"]


def test_workflows_that_ended_before_prometheus_looked_are_told_of(run: Run, told: Told) -> None:
    """Whoever starts Prometheus last sees why the report knows of fewer workflows than there were."""
    history = History((END - 300, END))
    process = history.process("shop", "a", END - 600, END)
    for number in range(3):
        process.workflow(END - 540 + number, "order", "completed", 0.3, {"charge": 0.2})
    process.workflow(END - 200, "order", "failed", 0.3, {"charge": 0.2}, error="ValueError")
    shown = report(run, told, history)
    assert summary(shown.out)["workflows ended"] == ["1"]
    assert (
        "Prometheus has data only from 2026-11-24 11:55 UTC on: this report is about 5m, not 1h. 3 workflows had ended "
        "before Prometheus first looked, and nobody knows when: what happened then is not counted."
    ) in " ".join(shown.out.split())


def test_an_application_younger_than_prometheus_counts_from_its_start(run: Run, told: Told) -> None:
    history = History((LONG_AGO, END))
    process = history.process("shop", "a", END - 1800, END)
    process.count(END - 1799, "multiagents_worker_executions_total", **GOOD)
    shown = report(run, told, history)
    assert workers(shown) == {"w": ("1", "0")}
    assert "There is no data from before 2026-11-24 11:00 UTC, and hence no trend." in shown.out.splitlines()
    assert "only from" not in shown.out


def test_data_that_was_written_to_prometheus_has_no_up_and_is_counted_all_the_same(run: Run, told: Told) -> None:
    history = History(None)
    process = history.process("shop", "a", LONG_AGO, END)
    for number in range(300):
        process.count(LONG_AGO + 60 * number + 59, "multiagents_events_total", event_type="Event", status="success")
    shown = report(run, told, history)
    (row,) = table(shown.out, "Events")
    assert row["events"] == "60"


def test_a_period_before_that_is_seen_in_part_is_compared_by_the_hour(run: Run, told: Told) -> None:
    history = History((START - 1800, END))
    process = history.process("shop", "a", START - 2 * HOUR, END)
    process.declare("multiagents_worker_executions_total", **GOOD)
    for number in range(180):
        process.count(START - 2 * HOUR + 60 * number + 1, "multiagents_worker_executions_total", **GOOD)
    shown = report(run, told, history)
    assert summary(shown.out)["worker executions"] == ["60", "30", "same"]
    assert (
        "The period before has data only from 2026-11-24 10:30 UTC on (30m): numbers are compared per hour."
        in shown.out.splitlines()
    )
