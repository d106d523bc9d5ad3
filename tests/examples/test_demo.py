"""The demo shows what it promises, says so when it does not, and its backend can be used by itself."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import EXAMPLES, Start
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.redis_server import find_redis_server

_DEMO = EXAMPLES / "demo"


def _demo(folder: Path) -> Process:
    env = {"MULTIAGENTS_OTEL_REDIS_SERVER": find_redis_server(), "COLUMNS": "100"}
    return Process([sys.executable, str(_DEMO), "--folder", str(folder)], env=env, cwd=folder.parent)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder with the telemetry, and what was printed."""
    folder = tmp_path_factory.mktemp("demo") / "telemetry"
    with _demo(folder) as process:
        return folder, process.wait_ok(120)


@pytest.fixture(scope="module")
def faults() -> Callable[[Path], list[str]]:
    """The demo's own check."""
    spec = importlib.util.spec_from_file_location("demo_check", _DEMO / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[Path], list[str]] = module.faults
    return found


def test_the_demo_shows_three_orders_and_their_fates(demo: tuple[Path, str]) -> None:
    _, output = demo
    shown = output.splitlines()
    assert shown[:6] == [
        "An order saga in two processes, over Redis",
        "",
        "  1001  1 teapot                completed    validated, charged, shipped",
        "  1002  11 samovars             compensated  out of stock at the last step, the payment refunded",
        "  1003  2 tea sets, as a gift   stalled      charged, then sent to a worker that nobody runs",
        "",
    ]
    headers = [line.rpartition("  ")[0] for line in shown if line.startswith(("✓", "✗"))]
    assert headers == [
        "✓ order_processing  completed",
        "✗ order_processing  compensated at step ship: __main__.OutOfStockError",
        "✗ gift_order  stalled at step wrap: undelivered",
    ]
    assert "Metrics  shop (1 process) · warehouse (1 process)" in output
    assert shown[-1] == "checked: 3 orders, 3 traces, one root each, no span without its parent"


def test_the_demo_prints_nothing_else_and_fits_into_a_hundred_columns(demo: tuple[Path, str]) -> None:
    _, output = demo
    assert max(map(len, output.splitlines())) <= 100
    assert len(output.splitlines()) < 150
    for noise in ("\x1b", "Traceback", "ERROR", "Warning", "event_type="):
        assert noise not in output


Change = Callable[[dict[str, Any]], None]


def _drop_a_root(span: dict[str, Any]) -> None:
    if span["name"] == "workflow.gift_order":
        span["parentSpanId"] = "00000000000000ff"


def _split_a_trace(span: dict[str, Any]) -> None:
    if span["name"] == "worker.ship_order":
        span["traceId"] = "f" * 32


def _lose_a_parent(span: dict[str, Any]) -> None:
    if span["name"] == "send command.wrap_gift":
        span["parentSpanId"] = "00000000000000ff"


def _complete_them_all(span: dict[str, Any]) -> None:
    for attribute in span["attributes"]:
        if attribute["key"] == "workflow.status":
            attribute["value"] = {"stringValue": "completed"}


def _move_to_one_process(span: dict[str, Any]) -> None:
    if span["name"].startswith(("process command", "worker", "send result", "process compensation")):
        span["traceId"] = span["spanId"] * 2


def _changed(demo: Path, folder: Path, change: Change) -> None:
    written = []
    for line in (demo / "traces.jsonl").read_text(encoding="utf-8").splitlines():
        request = json.loads(line)
        for resource in request["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    change(span)
        written.append(json.dumps(request))
    (folder / "traces.jsonl").write_text("\n".join(written), encoding="utf-8")
    (folder / "metrics.jsonl").write_bytes((demo / "metrics.jsonl").read_bytes())


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_drop_a_root, "has 0 roots"),
        (_split_a_trace, "4 traces, not 3"),
        (_lose_a_parent, "has spans without their parent: send command.wrap_gift"),
        (_complete_them_all, "the workflows ended as"),
        (_move_to_one_process, "has no span of warehouse"),
    ],
)
def test_the_demo_checks_itself(
    demo: tuple[Path, str], faults: Callable[[Path], list[str]], tmp_path: Path, change: Change, fault: str
) -> None:
    assert faults(demo[0]) == []
    _changed(demo[0], tmp_path, change)
    assert fault in "\n".join(faults(tmp_path))


def test_the_demo_misses_what_has_not_arrived(faults: Callable[[Path], list[str]], tmp_path: Path) -> None:
    assert faults(tmp_path) == ["0 traces, not 3", "the workflows ended as []", "the metrics count the workflows as {}"]


def test_the_demo_fails_if_a_process_of_its_does(tmp_path: Path) -> None:
    (tmp_path / "structlog.py").write_text("raise SystemExit(3)")
    env = {"MULTIAGENTS_OTEL_REDIS_SERVER": find_redis_server(), "PYTHONPATH": str(tmp_path)}
    with Process([sys.executable, str(_DEMO), "--folder", str(tmp_path / "telemetry")], env=env) as process:
        assert process.wait(60) == 1
        assert process.lines[-1] == "warehouse.py ended with 3"


def test_the_demos_backend_can_be_used_by_itself(start: Start, tmp_path: Path) -> None:
    folder, port = tmp_path / "telemetry", str(free_port())
    with Process([sys.executable, str(_DEMO / "sink.py"), str(folder), port]) as sink:
        setting = sink.wait_line("export OTEL_EXPORTER_OTLP_ENDPOINT=").removeprefix("export ")
        variable, _, endpoint = setting.partition("=")
        with start("custom_event_bus.py", **{variable: endpoint}, OTEL_EXPORTER_OTLP_COMPRESSION="gzip") as example:
            example.wait_ok(60)
    command = Path(sys.executable).with_name("multiagents-otel")
    files = [str(folder / f"{signal}.jsonl") for signal in ("traces", "metrics", "logs")]
    with Process([str(command), "show", *files]) as show:
        output = show.wait_ok()
    assert "✓ doubling  completed" in output
    assert "7 spans in 1 process" in output
    assert "multiagents.workflow.started" in output
