"""The secrets of the channels: out of the environment, into files, and nowhere else."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from multiagents_otel.tools.deploy.files import folder as shipped
from multiagents_otel.tools.deploy.parameters import values
from multiagents_otel.tools.deploy.secrets import SECRETS, SecretError, channels, write_secrets
from tests.alerting.running import alerting, an_alert
from tests.support import notifications
from tests.support.notifications import Receivers
from tests.support.services import fetch, wait_until

ENVIRON: Final = {
    "SLACK_WEBHOOK_URL": "https://hooks.slack.example/services/T/B/canary",
    "SMTP_PASSWORD": "pass canary",
    "PAGERDUTY_INTEGRATION_KEY": "key-canary",
    "PAGERDUTY_ESCALATION_KEY": "escalation-canary",
}
OFF: Final = {
    "slack": "false",
    "pagerduty": "false",
    "pagerduty_escalation": "false",
    "alert_to_emails": "",
    "escalation_to_emails": "",
    "watchdog_url": "",
    "smtp_user": "",
    "smtp_require_tls": "false",
    "smtp_smarthost": "localhost:587",
}


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_each_secret_is_in_a_file_that_only_its_owner_can_read_from_the_start(
    tmp_path: Path, no_umask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[int] = []
    replace = Path.replace

    def watched(source: Path, target: Path) -> Path:
        before.append(mode(source))
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", watched)
    folder = tmp_path / "etc" / "secrets"
    written = write_secrets(folder, values(), ENVIRON)

    assert {path.name: path.read_text() for path in written} == {
        "slack_webhook_url": "https://hooks.slack.example/services/T/B/canary",
        "smtp_password": "pass canary",
        "pagerduty_integration_key": "key-canary",
        "pagerduty_escalation_key": "escalation-canary",
    }
    assert {mode(path) for path in written} | set(before) == {0o600}
    assert mode(folder) == 0o700
    assert sorted(folder.iterdir()) == sorted(written)


def test_a_folder_that_others_could_read_is_closed_and_an_old_secret_replaced(tmp_path: Path, no_umask: None) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o777)
    old = folder / "slack_webhook_url"
    old.write_text("https://old.example/")
    write_secrets(folder, values(), ENVIRON)
    assert (mode(folder), mode(old)) == (0o700, 0o600)
    assert old.read_text() == ENVIRON["SLACK_WEBHOOK_URL"]


def test_only_the_secrets_of_channels_that_are_on_are_written_or_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert write_secrets(folder, values(OFF), {}) == []
    assert not folder.exists()
    assert [path.name for path in write_secrets(folder, values(OFF | {"slack": "true"}), ENVIRON)] == [
        "slack_webhook_url"
    ]


@pytest.mark.parametrize("missing", [secret.variable for secret in SECRETS])
def test_a_missing_secret_is_named_and_nothing_is_written(tmp_path: Path, missing: str) -> None:
    environ = {name: value for name, value in ENVIRON.items() if name != missing}
    with pytest.raises(SecretError, match=f"^{missing} is not set, and the parameter [a-z_]+ needs it$"):
        write_secrets(tmp_path / "secrets", values(), environ)
    assert not (tmp_path / "secrets").exists()


def test_a_secret_that_is_in_its_file_already_need_not_be_in_the_environment(tmp_path: Path) -> None:
    write_secrets(tmp_path, values(), ENVIRON)
    written = write_secrets(tmp_path, values(), {"SMTP_PASSWORD": "new"})
    assert [path.read_text() for path in written] == [
        ENVIRON["SLACK_WEBHOOK_URL"],
        "new",
        "key-canary",
        "escalation-canary",
    ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SLACK_WEBHOOK_URL", "hooks.slack.example/canary"),
        ("SLACK_WEBHOOK_URL", "https:///canary"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.example:99999/canary"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.example/canary%zz"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.example/canary\x1b"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.example/canary\u00e9"),
        ("PAGERDUTY_INTEGRATION_KEY", "two canary"),
        ("PAGERDUTY_INTEGRATION_KEY", "\u200bcanary"),
        ("PAGERDUTY_ESCALATION_KEY", "{{canary}}"),
        ("SMTP_PASSWORD", "line\nline canary"),
    ],
)
def test_what_cannot_be_a_secret_is_refused_without_being_shown(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(SecretError) as refused:
        write_secrets(tmp_path / "secrets", values(), ENVIRON | {variable: value})
    assert str(refused.value) == f"{variable} does not hold what its name says"
    assert not (tmp_path / "secrets").exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SMTP_SERVER", "mail.example:587"),
        ("SMTP_SERVER", "smtp://mail.example"),
        ("SMTP_PORT", "submission"),
        ("WATCHDOG_URL", "watchdog.example/ping"),
    ],
)
def test_what_cannot_be_an_address_is_refused(variable: str, value: str) -> None:
    with pytest.raises(SecretError, match=f"^{variable} does not hold what its name says$"):
        channels({"ALERT_TO_EMAILS": "oncall@shop.example", variable: value})


def test_a_mail_server_that_alerts_do_not_go_through_is_nobody_s_fault() -> None:
    assert channels({"SMTP_SERVER": "mail.example:25", "SMTP_USER": "shop"}) == channels({})


def test_a_newline_at_the_end_is_no_part_of_a_secret(tmp_path: Path) -> None:
    written = write_secrets(tmp_path, values(), {name: f"{value}\n" for name, value in ENVIRON.items()})
    assert [path.read_text() for path in written] == list(ENVIRON.values())


def test_the_environment_of_the_guide_says_which_channels_there_are() -> None:
    assert channels({}) == OFF
    assert channels(
        {
            "SLACK_WEBHOOK_URL": "https://hooks.slack.example/x",
            "SMTP_SERVER": "mail.example",
            "SMTP_PORT": "2525",
            "SMTP_USER": "mailer",
            "SMTP_PASSWORD": "x",
            "ALERT_FROM_EMAIL": "alerts@company.example",
            "ALERT_TO_EMAILS": "one@company.example,two@company.example",
            "PAGERDUTY_INTEGRATION_KEY": "x",
            "WATCHDOG_URL": "https://watchdog.company.example/1",
        }
    ) == OFF | {
        "slack": "true",
        "pagerduty": "true",
        "alert_to_emails": "one@company.example,two@company.example",
        "alert_from_email": "alerts@company.example",
        "watchdog_url": "https://watchdog.company.example/1",
        "smtp_smarthost": "mail.example:2525",
        "smtp_user": "mailer",
        "smtp_require_tls": "true",
    }


def test_the_readme_names_every_variable() -> None:
    class Asked(dict[str, str]):
        """An environment that keeps what it is asked for."""

        def get(self, name: str, default: Any = None) -> Any:
            self[name] = {"WATCHDOG_URL": "https://x.example", "SMTP_PORT": "25"}.get(name, "x")
            return super().get(name, default)

    asked = Asked()
    channels(asked)
    asked |= {secret.variable: "x" for secret in SECRETS}
    named = re.findall(r"`([A-Z_]+)`", (shipped() / "README.md").read_text(encoding="utf-8"))
    assert len(asked) > 10
    assert set(asked) <= set(named)


@pytest.mark.parametrize(
    ("given", "encrypted"),
    [({"SMTP_USER": "u"}, "true"), ({"SMTP_USER": "u", "SMTP_PORT": "465"}, "false"), ({}, "false")],
)
def test_mail_is_encrypted_where_there_is_a_login_as_in_the_guide(given: dict[str, str], encrypted: str) -> None:
    assert channels({"ALERT_TO_EMAILS": "a@b.example", **given})["smtp_require_tls"] == encrypted


def test_no_secret_is_on_alertmanagers_pages_or_in_its_log(tmp_path: Path) -> None:
    with Receivers() as receivers, alerting(tmp_path, receivers, alert_cooldown="1h") as running:
        secret = tmp_path / "secrets" / "slack_webhook_url"
        running.fire(an_alert("Works", "error"))
        receivers.slack.wait()
        receivers.pagerduty.wait()
        receivers.mail.wait()
        # Nobody listens there: the failed attempt is logged.
        secret.write_text(f"http://127.0.0.1:1{notifications.SLACK_PATH}")
        running.fire(an_alert("Fails", "error"))
        wait_until(lambda: "Notify attempt failed" in running.service.process.output, "a failed attempt in the log")
        shown = fetch(f"{running.url}/api/v2/status") + running.service.process.output
    assert "slack_webhook_url" in shown
    assert [canary for canary in notifications.SECRETS if canary in shown] == []


def test_a_secret_file_that_is_not_there_is_named_in_the_log_and_the_other_channels_go_on(tmp_path: Path) -> None:
    with Receivers() as receivers, alerting(tmp_path, receivers) as running:
        missing = tmp_path / "secrets" / "slack_webhook_url"
        missing.unlink()
        running.fire(an_alert("HalfTold", "error"))
        receivers.pagerduty.wait()
        receivers.mail.wait()
        wait_until(lambda: f"open {missing}: no such file" in running.service.process.output, "the file in the log")
        assert receivers.slack.all() == []
        failed = 'alertmanager_notifications_failed_total{integration="slack"}'
        wait_until(lambda: f"{failed} 0\n" not in fetch(f"{running.url}/metrics"), "a failed notification counted")
