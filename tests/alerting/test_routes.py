"""Which alert goes where: asked of amtool, for every channel that a user may have or not have."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
import yaml

from multiagents_otel.tools.deploy.files import folder as shipped
from multiagents_otel.tools.deploy.parameters import values
from multiagents_otel.tools.deploy.render import render
from tests.alerting.running import write_files
from tests.support.services import find

SHIPPED: Final = shipped() / "alertmanager"
CHANNELS: Final = {
    "slack": "false",
    "alert_to_emails": "",
    "pagerduty": "false",
    "escalation_to_emails": "",
    "pagerduty_escalation": "false",
    "watchdog_url": "",
    "smtp_user": "",
}


def written(folder: Path, chosen: Mapping[str, str]) -> Path:
    return write_files(folder, chosen, "alertmanager") / "alertmanager.yaml"


def amtool(*arguments: str) -> str:
    done = subprocess.run([find("amtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def receivers_of(config: Path, labels: str) -> str:
    return amtool("config", "routes", "test", "--config.file", str(config), *labels.split())


def test_with_all_defaults_the_files_come_out_as_they_are() -> None:
    for file in (SHIPPED / "alertmanager.yaml", *SHIPPED.glob("templates/*.tmpl")):
        assert render(file.read_text(encoding="utf-8"), values()) == file.read_text(encoding="utf-8")


def test_alertmanager_takes_the_configuration_with_every_choice_of_channels(tmp_path: Path) -> None:
    chosen = [
        dict(off) for count in range(len(CHANNELS) + 1) for off in itertools.combinations(CHANNELS.items(), count)
    ]
    configs = [written(tmp_path / str(number), each) for number, each in enumerate(chosen)]
    assert amtool("check-config", *map(str, configs)).count("SUCCESS") == 2 * 2 ** len(
        CHANNELS
    )  # it says so of templates too


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("alertname=A severity=info", "slack,email"),
        ("alertname=A severity=warning worker_name=w", "slack,email"),
        ("alertname=A severity=error worker_name=w", "pagerduty,slack,email"),
        ("alertname=A severity=critical job=j", "pagerduty,slack,email"),
        ("alertname=A", "slack,email"),
        ("alertname=E severity=critical escalated=true", "pagerduty_escalation,slack,email_escalation"),
        ("alertname=MultiAgentsWatchdog severity=none", "dead_mans_switch"),
    ],
)
def test_slack_and_mail_get_all_and_pagerduty_errors_and_critical_ones(labels: str, receivers: str) -> None:
    assert receivers_of(SHIPPED / "alertmanager.yaml", labels) == receivers


def alerts_of_the_rules() -> dict[str, str]:
    """The severity of each alert that Prometheus may send."""
    groups = [
        group
        for file in (shipped() / "prometheus" / "rules").glob("*.yaml")
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    ]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return {rule["alert"]: rule["labels"]["severity"] for rule in rules}


def test_every_name_that_alertmanager_looks_for_is_a_rules() -> None:
    text = (SHIPPED / "alertmanager.yaml").read_text(encoding="utf-8")
    patterns = re.findall(r'alertname=~?"([^"]+)"', text)
    alerts = alerts_of_the_rules()
    # (A|B)C names AC and BC: each alternative has to name one.
    each = [
        re.sub(r"\(.*\)", choice, pattern)
        for pattern in patterns
        for choice in (re.findall(r"\((.*)\)", pattern) or ["-"])[0].split("|")
    ]
    assert [pattern for pattern in each if not any(re.fullmatch(pattern, name) for name in alerts)] == []
    assert set(alerts.values()) == {"none", "warning", "error", "critical"}


@pytest.mark.parametrize(
    ("off", "receivers", "escalated"),
    [
        ("slack", "pagerduty,email", "pagerduty_escalation,email_escalation"),
        ("alert_to_emails", "pagerduty,slack", "pagerduty_escalation,slack,email_escalation"),
        ("pagerduty", "slack,email", "pagerduty_escalation,slack,email_escalation"),
        ("escalation_to_emails", "pagerduty,slack,email", "pagerduty_escalation,slack"),
        ("pagerduty_escalation", "pagerduty,slack,email", "slack,email_escalation"),
    ],
)
def test_a_channel_that_is_absent_is_left_out(tmp_path: Path, off: str, receivers: str, escalated: str) -> None:
    config = written(tmp_path, {off: CHANNELS[off]})
    assert receivers_of(config, "alertname=A severity=error") == receivers
    assert receivers_of(config, "alertname=E severity=critical escalated=true") == escalated


def test_with_no_channel_at_all_nobody_is_told(tmp_path: Path) -> None:
    config = written(tmp_path, CHANNELS)
    assert receivers_of(config, "alertname=A severity=error") == "nobody"
    assert receivers_of(config, "alertname=E severity=critical escalated=true") == "nobody"
    assert "secrets/" not in config.read_text(encoding="utf-8").split("global:")[1]
