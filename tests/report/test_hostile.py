"""What an application may have sent, or a server that only looks like Prometheus may say, and what is made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.shown import Run
from tests.report.answering import answering
from tests.report.conftest import END, Told
from tests.report.history import History

PERIOD: Final = ("--until", "2026-11-24T12:00", "--since", "1h")

NAMES: Final = ("job", "workflow_id", "worker_name", "multiagents_step_name", "event_type", "error_type")
SERIES: Final = {"__name__": "up", "le": "+Inf", "status": "failed", **dict.fromkeys(NAMES, "shop")}

LEFT_OUT = "Prometheus has values that count nothing (NaN, infinite, beyond all measure): they are left out."
ODD = "<script>alert(1)</script>\x1b[31m\n\u202e\x9b2J\"'&"


def answer(*labels: dict[str, Any], value: str = "1") -> str:
    """The same series to every question, to the simple ones and to those over time."""
    points = {"value": [END, value], "values": [[END - 7200, value], [END - 60, value]]}
    return json.dumps({"data": {"result": [{"metric": each, **points} for each in labels]}})


def test_a_name_can_neither_steer_the_terminal_nor_write_html(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    with answering(200, answer({**SERIES, **dict.fromkeys(NAMES, ODD)})) as server:
        shown = run("report", "--prometheus", server.url, *PERIOD, "--width", "300")
        assert run("report", "--prometheus", server.url, *PERIOD, "-o", str(page)).status == 0
    assert (shown.status, shown.err) == (0, "")
    assert "<script>alert(1)</script>\\x1b[31m\\n\\u202e\\x9b2J" in shown.out
    html = page.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[31m" in html
    assert "<script" not in html
    for text in (shown.out, html):
        assert not {"\x1b", "\u202e", "\x9b"} & set(text)


@pytest.mark.parametrize("odd", ["NaN", "+Inf", "1e300"])
def test_values_that_count_nothing_are_left_out_and_it_is_said(run: Run, told: Told, odd: str) -> None:
    """Anybody who may send to the Collector can send them."""
    history = History((END - 7200, END))
    process = history.process("shop", "a", END - 7200, END)
    for number in range(3):
        process.workflow(END - 600 + number, "order", "completed", 0.3, {"charge": 0.2})
    process.workflow(END - 500, "odd", "completed", 0.3, {"charge": 0.2})
    for deed in [each for each in process.deeds if dict(each.labels).get("workflow_id") == "odd"]:
        if deed.metric == "multiagents_workflow_duration_seconds":
            process.deeds.remove(deed)
            process.time(deed.at, deed.metric, float(odd), **dict(deed.labels))
    prometheus = told(history)
    shown = run("report", "--prometheus", prometheus.url, *PERIOD)
    assert (shown.status, shown.err) == (0, "")
    assert LEFT_OUT in shown.out.splitlines()
    assert "100 % of workflows succeeded; the objective of 99 % is met. 4 workflows ended." in shown.out.splitlines()


@pytest.mark.parametrize(
    "labels",
    [
        {name: value for name, value in SERIES.items() if name != "le"},
        {**SERIES, "le": "much"},
        {**SERIES, "le": "NaN"},
        {**SERIES, "job": 5, "worker_name": ["a"], "workflow_id": None},
        {"le": "1", "job": "shop"},
    ],
)
def test_series_with_odd_labels_end_no_report(run: Run, labels: dict[str, Any]) -> None:
    with answering(200, answer(labels)) as server:
        shown = run("report", "--prometheus", server.url, *PERIOD)
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.startswith("multiagents report\n")


def test_a_service_whose_name_is_no_text_is_asked_for(run: Run) -> None:
    with answering(200, answer()) as server:
        shown = run("report", "--prometheus", server.url, *PERIOD, "--service", "sh\udcffp")
    assert (shown.status, shown.out) == (1, "")
    assert "has no multiagents series" in shown.err
