"""How the boards count, at the edges: promtool gives their queries the series that a user's processes may leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.dashboards.boards import BOARDS, EVERYTHING, interpolated
from tests.support.processes import Process
from tests.support.services import find

SCRAPE: Final = 15
RANGE: Final = 600
NOW: Final = 1200
"""When a reader looks, at the last ten minutes; a scrape each 15 s, the 41st is the first of them."""

LIVING: Final = f"0+15x{NOW // SCRAPE}"


def told(tmp_path: Path, board: str, title: str, series: dict[str, str], expected: float | None) -> None:
    """See that a panel of one number shows what is expected of series given in promtool's notation; None: nothing."""
    expr = interpolated(BOARDS[board].expr(title), {**EVERYTHING, "alive": "1m"}, RANGE, SCRAPE)
    samples: list[dict[str, Any]] = [] if expected is None else [{"labels": "{}", "value": expected}]
    case = {
        "interval": f"{SCRAPE}s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": expr, "eval_time": f"{NOW}s", "exp_samples": samples}],
    }
    path = tmp_path / "test.yaml"
    path.write_text(json.dumps({"evaluation_interval": f"{SCRAPE}s", "tests": [case]}))
    with Process([find("promtool"), "test", "rules", str(path)]) as process:
        process.wait_ok()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("5x40 6 7x39", 2),
        ("5x80", 0),
        ("_x60 3x20", 3),
        ("_x79 3", 3),
        ("0x50 1 4x10 _x19", 4),
        ("5x30 _x30 6x20", 1),
        ("_x50 1x10 _x10 2x10", 2),
        ("5x50 0 2x29", 2),
    ],
    ids=[
        "it grew",
        "it did not",
        "it was born with a number",
        "it was scraped once",
        "its process has ended",
        "a gap in the scrapes at the range's beginning",
        "a gap within the range",
        "it began anew with the same instance id",
    ],
)
def test_a_count_is_exact(tmp_path: Path, values: str, expected: float) -> None:
    series = (
        'multiagents_events_undelivered_total{job="shop",instance="1",event_type="CommandEvent",worker_name="pack"}'
    )
    told(tmp_path, "overview", "Undelivered events", {series: values}, expected)


@pytest.mark.parametrize(
    ("probes", "running", "expected"),
    [
        (LIVING, "1x80", 2),
        ("0+15x74 1110x6", "1x80", None),
        ("0+15x77 1155x3", "1x77 0x3", None),
        ("_x79 5", "_x79 1", None),
        ("_x78 5 20", "_x78 1 1", 2),
    ],
    ids=[
        "it lives",
        "it was killed, and the Collector repeats its last word",
        "it ended in order a moment ago",
        "it was seen once",
        "it has begun",
    ],
)
def test_a_gauge_counts_while_its_process_lives(
    tmp_path: Path, probes: str, running: str, expected: float | None
) -> None:
    process = 'job="shop",instance="1"'
    series = {
        f'multiagents_active_workflows{{{process},workflow_id="order"}}': "2x80",
        f"multiagents_event_loop_lag_seconds_count{{{process}}}": probes,
        f"multiagents_process_running{{{process}}}": running,
    }
    told(tmp_path, "overview", "Active workflows", series, expected)


def test_a_share_is_nothing_where_nothing_was_counted(tmp_path: Path) -> None:
    started = 'multiagents_workflows_started_total{job="shop",instance="1",workflow_id="order"}'
    told(tmp_path, "overview", "Success", {started: "0x80"}, None)


def test_a_duration_is_nothing_where_nothing_ended(tmp_path: Path) -> None:
    labels = 'job="shop",instance="1",workflow_id="order",status="completed"'
    bucket = f'multiagents_workflow_duration_seconds_bucket{{{labels},le="+Inf"}}'
    told(tmp_path, "overview", "Duration, p95", {bucket: "3x80"}, None)


def test_a_share_is_0_where_no_workflow_completed(tmp_path: Path) -> None:
    failed = 'multiagents_workflows_total{job="shop",instance="1",workflow_id="order",status="failed"}'
    told(tmp_path, "overview", "Success", {failed: "_x60 1x20"}, 0)
