"""``multiagents-otel config export``: the pipeline's files with a user's values."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from multiagents_otel.tools.deploy.export import exported
from multiagents_otel.tools.deploy.parameters import PARAMETERS, values
from multiagents_otel.tools.deploy.secrets import channels
from tests.cli.shown import Run
from tests.guide.framework_source import snippets

VARIABLES = (
    "SLACK_WEBHOOK_URL",
    "PAGERDUTY_INTEGRATION_KEY",
    "PAGERDUTY_ESCALATION_KEY",
    "ALERT_TO_EMAILS",
    "ESCALATION_TO_EMAILS",
    "WATCHDOG_URL",
    "SMTP_PASSWORD",
)


@pytest.fixture(autouse=True)
def no_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *(name for name in os.environ if name.startswith(("MULTIAGENT", "SMTP_", "ALERT_")))):
        monkeypatch.delenv(name, raising=False)


def there(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and "secrets" not in path.parts
    }


def test_all_files_are_written_with_the_values_that_were_given(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "pipeline"
    shown = run("config", "export", str(folder), "--set", "error_spike_count=25", "--decision-wait", "3m")
    assert (shown.status, shown.err) == (0, "")
    expected = exported(values({**channels({}), "error_spike_count": "25", "decision_wait": "3m"}))
    assert there(folder) == expected
    assert shown.out.splitlines()[:4] == [
        f"wrote {len(expected)} files into {folder}",
        "  decision_wait      3m  (--decision-wait)",
        "  error_spike_count  25  (--set)",
        "alerts go nowhere: the environment has none of SLACK_WEBHOOK_URL, ALERT_TO_EMAILS, PAGERDUTY_INTEGRATION_KEY",
    ]


def test_the_guides_configuration_sets_endpoint_and_thresholds(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "monitoring.yaml"
    config.write_text(next(snippet.code for snippet in snippets() if snippet.language == "yaml"))
    shown = run("config", "export", str(tmp_path / "out"), "--config", str(config))
    assert (shown.status, shown.err) == (0, "")
    told = [line.split("  (")[0].split() for line in shown.out.splitlines() if line.startswith("  ") and "(" in line]
    assert dict(told[:6]) == {
        "export_prometheus": "true",
        "export_port": "9090",
        "alert_on_high_error_rate": "true",
        "high_error_percent": "10",
        "worker_error_percent": "10",
        "slow_worker_seconds": "5",
    }
    texts = there(tmp_path / "out")
    assert "endpoint: ${env:COLLECTOR_HOST:-127.0.0.1}:9090 " in texts["collector.yaml"]
    assert "targets: [localhost:9090]  # parameter: collector_metrics" in texts["prometheus/prometheus.yaml"]
    assert "--web.listen-address localhost:9091" in shown.out  # Prometheus's own port is taken


def test_a_configurations_values_are_written_where_they_belong(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "monitoring.yaml"
    config.write_text(
        "worker_monitoring:\n"
        "  alert_on_high_error_rate: false\n"
        "  error_rate_threshold: 0.035\n"
        "  slow_execution_threshold_ms: 1500\n"
        "metrics: {export_format: json}\n"
    )
    assert run("config", "export", str(tmp_path / "out"), "--config", str(config)).status == 0
    chosen = {
        "alert_on_high_error_rate": "false",
        "high_error_percent": "3.5",
        "worker_error_percent": "3.5",
        "slow_worker_seconds": "1.5",
        "export_prometheus": "false",
    }
    texts = there(tmp_path / "out")
    assert texts == exported(values({**channels({}), **chosen}))
    assert "prometheus:\n    endpoint" not in texts["collector.yaml"]
    assert "HighErrorRate" not in texts["prometheus/rules/application.yaml"]


def test_an_option_wins_over_the_configuration_and_set_over_both(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "monitoring.json"
    config.write_text('{"metrics_collection": {"export_port": 9001}}')

    def port(*options: str) -> str:
        shown = run("config", "export", str(tmp_path / "out"), "--force", *options)
        assert shown.status == 0
        [line] = [line for line in shown.out.splitlines() if "export_port" in line]
        return " ".join(line.split())

    assert port("--config", str(config)) == f"export_port 9001 ({config}, line 1)"
    monkeypatch.setenv("MULTIAGENTS_OTEL_METRICS_COLLECTION_EXPORT_PORT", "9002")
    variable = "MULTIAGENTS_OTEL_METRICS_COLLECTION_EXPORT_PORT"
    assert port("--config", str(config)) == f"export_port 9002 ({variable})"
    assert port("--config", str(config), "--export-port", "9003") == "export_port 9003 (--export-port)"
    assert port("--set", "export_port=9004", "--export-port", "9003") == "export_port 9004 (--set)"


def test_secrets_of_the_environment_are_written_for_their_owner_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T0/B0/canary")
    monkeypatch.setenv("PAGERDUTY_INTEGRATION_KEY", "pagerduty-canary")
    shown = run("config", "export", str(tmp_path / "out"))
    secrets = tmp_path / "out" / "alertmanager" / "secrets"
    assert {path.name: (path.read_text(), path.stat().st_mode & 0o777) for path in secrets.iterdir()} == {
        "slack_webhook_url": ("https://hooks.slack.com/services/T0/B0/canary", 0o600),
        "pagerduty_integration_key": ("pagerduty-canary", 0o600),
    }
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "out" / "alertmanager" / ".gitignore").read_text() == "/secrets/\n"
    assert "alerts go to Slack, PagerDuty" in shown.out
    assert "nobody notices if alerting itself dies: WATCHDOG_URL is not set" in shown.out
    assert "canary" not in shown.out + "".join(there(tmp_path / "out").values())


def test_a_folder_of_secrets_elsewhere_is_left_alone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T0/B0/canary")
    for elsewhere in (str(tmp_path / "elsewhere"), "../../elsewhere"):
        options = ["--force", "--set", f"alert_secrets={elsewhere}"]
        assert run("config", "export", str(tmp_path / "out"), *options).status == 0
        assert not (tmp_path / "elsewhere").exists()
        written = there(tmp_path / "out")["alertmanager/alertmanager.yaml"]
        assert f"api_url_file: {elsewhere}/slack_webhook_url" in written


def test_links_are_replaced_and_what_they_lead_to_is_left_alone(run: Run, tmp_path: Path) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine.yaml"
    out.mkdir()
    mine.write_text("mine")
    (out / "collector.yaml").symlink_to(mine)
    (out / "README.md").symlink_to(tmp_path / "not there")
    assert run("config", "export", str(out), "--force").status == 0
    assert there(out) == exported(values(channels({})))
    assert not any(path.is_symlink() for path in out.rglob("*"))
    assert there(tmp_path)["mine.yaml"] == "mine"
    assert not (tmp_path / "not there").exists()


@pytest.mark.parametrize("linked", ["alertmanager", "alertmanager/secrets"])
def test_no_secret_is_written_through_a_link(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: str
) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T0/B0/canary")
    link, target = tmp_path / "out" / linked, tmp_path / "shared"
    target.mkdir(mode=0o755)
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    shown = run("config", "export", str(tmp_path / "out"), "--force")
    assert (shown.status, shown.out) == (2, "")
    assert shown.err == f"config export: {link} is a link: secrets are written into a folder of their own\n"
    assert list(target.iterdir()) == []
    assert target.stat().st_mode & 0o777 == 0o755


def test_what_cannot_be_written_or_read_is_named(run: Run, tmp_path: Path) -> None:
    file, missing = tmp_path / "file", tmp_path / "missing.yaml"
    file.write_text("mine")
    shown = run("config", "export", str(file))
    assert (shown.status, shown.out, shown.err) == (1, "", f"config export: {file}: File exists\n")
    shown = run("config", "export", str(tmp_path / "out"), "--config", str(missing))
    assert (shown.status, shown.out, shown.err) == (1, "", f"config export: {missing}: No such file or directory\n")


def test_a_directory_that_is_not_empty_is_left_alone_unless_forced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "collector.yaml").write_text("old")
    shown = run("config", "export", str(tmp_path))
    assert (shown.status, shown.out) == (1, "")
    assert shown.err == (
        f"config export: {tmp_path} is not empty: --force writes into it, and leaves what is not ours\n"
    )
    assert there(tmp_path) == {"mine.txt": "mine", "collector.yaml": "old"}
    assert run("config", "export", str(tmp_path), "--force").status == 0
    assert there(tmp_path) == {**exported(values(channels({}))), "mine.txt": "mine"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "decision_wiat=3m"], "there is no parameter decision_wiat: did you mean decision_wait?"),
        (
            ["--set", "decision_wait=soon"],
            "decision_wait: 'soon' is not a duration like 500ms, 30s, 10m or 2h; a Collector has no d",
        ),
        (["--set", "alert_for=soon"], "alert_for: 'soon' is not a duration like 500ms, 30s, 10m, 2h or 7d"),
        (["--set", "alert_window=0s"], "alert_window: 0s is not more than 0s and at most 100 years"),
        (["--set", "queue_size=99"], "queue_size: 99 is not between 2000 and 1e+15"),
        (
            ["--set", "collector_memory_mib=128"],
            "collector_memory_mib: 128 is not more than collector_memory_spike_mib (128): "
            "the Collector would refuse everything",
        ),
        (
            ["--set", "smtp_smarthost=mail"],
            "smtp_smarthost: 'mail' is not an address with a port, HOST:PORT or [IPv6]:PORT",
        ),
        (
            ["--set", "gateways=a,,b"],
            "gateways: 'a,,b' is not a list of addresses with their ports, HOST:PORT or [IPv6]:PORT, "
            "with commas between them",
        ),
        (
            ["--set", "backend_endpoint=here"],
            "backend_endpoint: 'here' is not a URL that begins with http:// or https:// (special characters as %24)",
        ),
        (["--set", "decision_wait"], "--set decision_wait: NAME=VALUE is expected"),
        (["--export-port", "99999"], "export_port: 99999 is not between 1 and 65535"),
        (["--set", "gateways=a:1,a:1"], "gateways: 'a:1, a:1' is not a list of different addresses"),
        (
            ["--set", "prometheus_address=prometheus"],
            "prometheus_address: 'prometheus' is not an address with a port, HOST:PORT or [IPv6]:PORT",
        ),
        (["--set", "slack=true"], "SLACK_WEBHOOK_URL is not set, and the parameter slack needs it"),
        (["--set", "slack=ja"], "slack: 'ja' is not true or false"),
    ],
)
def test_a_wrong_parameter_is_told_with_what_would_do(
    run: Run, tmp_path: Path, options: list[str], message: str
) -> None:
    shown = run("config", "export", str(tmp_path / "out"), *options)
    assert (shown.status, shown.out, shown.err) == (2, "", f"config export: {message}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "value",
    [
        "a: b",
        "a:",
        "&a",
        "*a",
        "- a",
        "$HOME",
        "${HOME}",
        "{{a}}",
        "a # b",
        'a"b',
        "a\\b",
        "a\nb",
        "a\x7fb",
        "a\x85b",
        "a\u2028b",
    ],
)
@pytest.mark.parametrize(
    "name", ["collector_storage", "collector_metrics", "runbook", "watchdog_url", "smtp_smarthost"]
)
def test_no_text_ends_what_it_stands_in(run: Run, tmp_path: Path, name: str, value: str) -> None:
    shown = run("config", "export", str(tmp_path / "out"), "--set", f"{name}={value}")
    assert (shown.status, shown.out) == (2, "")
    assert shown.err.startswith(f"config export: {name}: {value!r} is not "), shown.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "setting", ["alert_window=99999999d", "queue_size=1" + 30 * "0", "metric_expiration=1d", "queue_size=007"]
)
def test_no_number_is_taken_that_a_program_then_refuses(run: Run, tmp_path: Path, setting: str) -> None:
    shown = run("config", "export", str(tmp_path / "out"), "--set", setting)
    assert (shown.status, shown.out) == (2, "")
    assert not (tmp_path / "out").exists()


def test_a_wrong_configuration_is_told_with_its_line(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "monitoring.yaml"
    config.write_text("metrics_collection:\n  export_port: 0\n  export_prot: 9100\n")
    shown = run("config", "export", str(tmp_path / "out"), "--config", str(config))
    assert (shown.status, shown.out) == (1, "")
    first, second = sorted(shown.err.splitlines())
    assert first.startswith(f"config export: {config}, line 2: option 'metrics_collection.export_port' must be a port")
    assert second.startswith(f"config export: {config}, line 3: multiagents_otel has no option")
    assert "did you mean 'metrics_collection.export_port'?" in second


def test_what_cannot_be_read_or_written_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for argv in (["--config", str(tmp_path / "none.yaml"), str(tmp_path / "out")], [str(tmp_path / "file")]):
        shown = run("config", "export", *argv)
        assert (shown.status, shown.out) == (1, "")
        assert str(tmp_path) in shown.err


def test_a_directory_is_needed(run: Run) -> None:
    shown = run("config", "export")
    assert (shown.status, shown.err) == (2, "config export: a directory is needed, or --list\n")


def test_every_parameter_is_listed_with_its_default_and_help(run: Run) -> None:
    shown = run("config", "export", "--list")
    assert (shown.status, shown.err) == (0, "")
    heads = [line for line in shown.out.splitlines() if not line.startswith(" ")]
    assert heads == [f"{row.name} = {row.default or '(empty)'}  ({row.kind})" for row in PARAMETERS.values()]
    words = " ".join(shown.out.split())
    assert all(" ".join(row.help.split()) in words for row in PARAMETERS.values())
