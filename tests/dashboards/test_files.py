"""The files alone: current, valid, complete, and with nothing of one installation in them."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from multiagents_otel import semconv
from tests.dashboards.boards import BOARDS, FILES, GRAFANA, Board
from tests.support.processes import REPOSITORY, Process

NEEDS_SDK: Final = pytest.mark.skipif(sys.version_info < (3, 11), reason="grafana-foundation-sdk is for Python 3.11 on")

# What the names of instruments and attributes become in Prometheus.
SUFFIXES: Final = {"s": "_seconds", "By": "_bytes", "%": "_percent"}
KINDS: Final = {semconv.COUNTER: ("_total",), semconv.HISTOGRAM: ("_bucket", "_sum", "_count")}
FOREIGN: Final = ("otelcol_", "process_", "prometheus_", "alertmanager_")


@pytest.fixture(params=BOARDS, ids=str)
def board(request: pytest.FixtureRequest) -> Board:
    return BOARDS[request.param]


@NEEDS_SDK
def test_the_files_are_what_the_generator_makes(tmp_path: Path) -> None:
    with Process(
        [sys.executable, "-m", "multiagents_otel.tools.deploy.dashboards", str(tmp_path)], cwd=REPOSITORY
    ) as process:
        process.wait_ok()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in FILES
    }, "python -m multiagents_otel.tools.deploy.dashboards renews them"


def test_the_boards_that_were_promised_are_there() -> None:
    titles = {board.data["title"] for board in BOARDS.values()}
    names = ("Overview", "Workflows", "Workers", "Events and queue", "System", "Telemetry pipeline")
    assert titles == {f"MultiAgents / {name}" for name in names}


@NEEDS_SDK
def test_a_board_is_valid_by_grafanas_schema(board: Board) -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(json.loads(board.path.read_text())), cls=JSONEncoder))
    assert not_in(read, board.data) == []


def not_in(read: Any, written: Any, path: str = "") -> list[str]:
    """What was written and is not read back (a reader may add defaults)."""
    if isinstance(written, dict) and isinstance(read, dict):
        return [each for key, value in written.items() for each in not_in(read.get(key), value, f"{path}.{key}")]
    if isinstance(written, list) and isinstance(read, list) and len(read) == len(written):
        pairs = enumerate(zip(read, written, strict=True))
        return [each for at, (one, other) in pairs for each in not_in(one, other, f"{path}[{at}]")]
    return [] if read == written else [f"{path}: {written!r}, read as {read!r}"]


def test_uids_are_unique_and_short_enough() -> None:
    uids = [board.data["uid"] for board in BOARDS.values()]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"[a-z-]{1,40}", uid) for uid in uids)


def test_ids_of_panels_are_unique(board: Board) -> None:
    counts = Counter(panel["id"] for panel in board.data["panels"])
    assert {panel for panel, times in counts.items() if times > 1} == set()


def test_panels_do_not_overlap_and_fit_the_grid(board: Board) -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in board.data["panels"]]
    assert [title for title, at in places if at["x"] + at["w"] > 24] == []
    assert [(one, other) for (one, a), (other, b) in combinations(places, 2) if overlap(a, b)] == []


def overlap(a: dict[str, int], b: dict[str, int]) -> bool:
    return all(a[at] < b[at] + b[size] and b[at] < a[at] + a[size] for at, size in (("x", "w"), ("y", "h")))


def test_every_panel_says_what_it_shows_and_in_what_unit(board: Board) -> None:
    for panel in board.panels:
        assert len(panel["description"]) > 8, panel["title"]
        if panel["type"] in ("timeseries", "stat"):
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        if panel["type"] in ("timeseries", "state-timeline"):
            assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]


def test_the_reader_chooses_every_data_source(board: Board) -> None:
    sources = {json.dumps(source, sort_keys=True) for source in found(board.data, "datasource")}
    chosen = {"prometheus": "${metrics}", "tempo": "${traces}"}
    assert sources <= {json.dumps({"type": kind, "uid": uid}, sort_keys=True) for kind, uid in chosen.items()}
    assert {name: board.variables[name]["query"] for name in ("metrics", "traces")} == {
        "metrics": "prometheus",
        "traces": "tempo",
    }


def found(data: Any, key: str) -> list[Any]:
    """Every value of that key, however deep."""
    if isinstance(data, dict):
        here = [data[key]] if key in data else []
        return here + [each for value in data.values() for each in found(value, key)]
    return [each for value in data for each in found(value, key)] if isinstance(data, list) else []


def test_metrics_and_labels_are_in_the_table_of_names(board: Board) -> None:
    metrics = {
        instrument.name.replace(".", "_") + SUFFIXES.get(instrument.unit, "") + end
        for instrument in semconv.INSTRUMENTS
        for end in KINDS.get(instrument.kind, ("",))
    }
    attributes = {name.replace(".", "_") for instrument in semconv.INSTRUMENTS for name in instrument.attributes}
    for query in board.queries:
        names = set(re.findall(r"\bmultiagents_\w+(?={)", query.expr))
        assert names <= metrics, query
        if names and not re.search("|".join(FOREIGN), query.expr):
            labels = set(re.findall(r'(\w+)(?:=~|!~|!=|=)"', query.expr))
            for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", query.expr):
                labels |= set(group.split(", "))
            labels |= set(re.findall(r"\{\{(\w+)\}\}", query.data.get("legendFormat") or ""))
            assert labels <= attributes | {"job", "instance", "le"}, query


def test_every_histogram_quantile_is_over_the_sum_of_all_processes(board: Board) -> None:
    quantiles = [query.expr for query in board.queries if "histogram_quantile" in query.expr]
    assert all(re.match(r"histogram_quantile\(0\.\d+, sum by \(le(, \w+)*\) \(rate\(", expr) for expr in quantiles)
    assert [query.expr for query in board.queries if re.search(r"\bavg\b", query.expr)] == []


def test_grafana_is_provisioned_with_the_boards_and_with_the_way_from_an_exemplar_to_its_trace() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/multiagents.yaml").read_text())["datasources"]
    metrics, traces = (next(each for each in sources if each["type"] == kind) for kind in ("prometheus", "tempo"))
    assert metrics["jsonData"]["exemplarTraceIdDestinations"] == [{"name": "trace_id", "datasourceUid": traces["uid"]}]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/multiagents.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].endswith("/dashboards")
