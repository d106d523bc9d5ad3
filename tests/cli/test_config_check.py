"""``multiagents-otel config check``: what would apply, whence, and what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.shown import Run, Shown
from tests.config.conftest import no_options  # noqa: F401 - a fixture


def rows(shown: Shown) -> dict[str, list[str]]:
    """Value and source of each option, by its path."""
    found = {}
    section = ""
    for line in shown.out.splitlines():
        if line.startswith("  "):
            name, value, source = line.split(maxsplit=2)
            found[f"{section}.{name}"] = [value, source]
        else:
            section = line
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "monitoring.yaml"
    path.write_text(
        "logging:\n"
        "  level: debug\n"
        "event_monitoring:\n"
        "  detailed_timing: off\n"
        "  trace_retention_hours: 5\n"
        "metrics:\n"
        "  retention_days: 2\n"
        "instrumentation:\n"
        "  excluded_events: ['a.*', b]\n"
    )
    return path


def test_every_option_is_shown_with_its_value_and_source(run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIAGENTS_OTEL_EVENT_MONITORING_TRACE_RETENTION_HOURS", "6")
    monkeypatch.setenv("MULTIAGENT_EVENT_MAX_HISTORY", "7")
    shown = run("config", "check", str(path))
    assert (shown.status, shown.err) == (0, "")
    told = rows(shown)
    assert {name: row for name, row in told.items() if row[1] != "default"} == {
        "logging.level": ["DEBUG", f"{path}, line 2"],
        "event_monitoring.detailed_timing": ["false", f"{path}, line 4"],
        "event_monitoring.trace_retention_hours": ["6", "MULTIAGENTS_OTEL_EVENT_MONITORING_TRACE_RETENTION_HOURS"],
        "event_monitoring.max_trace_history": ["7", "MULTIAGENT_EVENT_MAX_HISTORY"],
        "metrics_collection.retention_hours": ["48", f"{path}, line 7"],
        "instrumentation.excluded_events": ["a.*,b", f"{path}, line 9"],
    }
    assert told["worker_monitoring.error_rate_threshold"] == ["0.1", "default"]
    assert told["instrumentation.excluded_workers"] == ["-", "default"]
    assert "workflow_hook" not in shown.out


def test_only_what_is_given_can_be_shown(run: Run, path: Path) -> None:
    shown = run("config", "check", "--given", str(path))
    assert len(rows(shown)) == 5
    assert "worker_monitoring" not in shown.out


def test_without_a_file_the_variables_file_is_checked(run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows(run("config", "check"))["logging.level"] == ["INFO", "default"]
    monkeypatch.setenv("MULTIAGENTS_OTEL_CONFIG", str(path))
    assert rows(run("config", "check"))["logging.level"] == ["DEBUG", f"{path}, line 2"]


def test_the_collectors_options_are_told_to_be_the_collectors(run: Run, path: Path) -> None:
    assert "Collector" not in run("config", "check", str(path)).out
    path.write_text("metrics: {export_port: 9464}\n")
    told = run("config", "check", str(path)).out.splitlines()[-1]
    assert told == "export_prometheus and export_port are for the Collector: the application itself opens no port."


def test_what_resource_usage_needs_is_told_where_it_is_asked_for_and_not_installed(
    run: Run, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = "worker_monitoring: {track_resource_usage: true}\n"
    path.write_text(asked)
    assert "multiagents-otel[process]" not in run("config", "check", str(path)).out
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.system_metrics", None)
    told = run("config", "check", str(path))
    assert told.out.splitlines()[-1] == (
        "worker_monitoring.track_resource_usage needs a package that is not installed here: "
        "pip install 'multiagents-otel[process]'"
    )
    assert told.status == 0
    path.write_text("")
    assert "multiagents-otel[process]" not in run("config", "check", str(path)).out


def test_all_that_is_wrong_is_told_and_the_status_is_1(run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIAGENTS_OTEL_STALL_GRAC", "1")
    monkeypatch.setenv("MULTIAGENTS_OTEL_STALL_GRACE", "long")
    path.write_text("loging:\n  level: INFO\n  x: 1\nlogging:\n  level: loud\n  backup_count: 3\n")
    shown = run("config", "check", str(path))
    assert shown.status == 1
    assert shown.err.splitlines() == [
        "multiagents_otel has no variable MULTIAGENTS_OTEL_STALL_GRAC: did you mean MULTIAGENTS_OTEL_STALL_GRACE?",
        "MULTIAGENTS_OTEL_STALL_GRACE must be seconds, 0 or more, not 'long': its default 10.0 holds",
        f"{path}, line 2: multiagents_otel has no section 'loging': did you mean 'logging'?",
        f"{path}, line 5: option 'logging.level' must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, not 'loud'",
    ]
    assert rows(shown)["logging.backup_count"] == ["3", f"{path}, line 6"]


@pytest.mark.parametrize("text", [None, "- a list", "logging: ["])
def test_a_file_that_cannot_be_read_is_one_error(run: Run, path: Path, text: str | None) -> None:
    path.unlink() if text is None else path.write_text(text)
    shown = run("config", "check", str(path))
    assert (shown.status, shown.out) == (1, "")
    assert str(path) in shown.err


def test_what_a_file_holds_moves_no_cursor(run: Run, path: Path) -> None:
    path.write_text('logging: {file_path: "a\\eb", "x\\ey": 1}\n')
    shown = run("config", "check", str(path))
    assert "\x1b" not in shown.out + shown.err


def test_an_action_has_to_be_named(run: Run) -> None:
    assert run("config").status == 2
    assert "Show every option that would apply" in run("config", "check", "--help").out
