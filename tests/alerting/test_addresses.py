"""E-mail addresses of every form that `config export` accepts, through a real Alertmanager."""

from __future__ import annotations

from pathlib import Path

import pytest

from multiagents_otel.tools.deploy.parameters import ParameterError, values
from multiagents_otel.tools.deploy.secrets import SecretError, channels
from tests.alerting.running import alerting, an_alert
from tests.support.notifications import Receivers

TO = (
    '"Ops, EMEA" <ops@example.com>, Jörg O\'Neil <jo.rg+x@example.com>,root@localhost ,'
    ' "a \\"b\\" c" <o\'b@x-y.example>,'
)
RECIPIENTS = ("ops@example.com", "jo.rg+x@example.com", "root@localhost", "o'b@x-y.example")


def test_every_recipient_of_a_list_gets_the_mail(tmp_path: Path) -> None:
    chosen = {"alert_to_emails": TO, "alert_from_email": '"Alerts: (shop)" <alerts@example.com>'}
    with Receivers() as receivers, alerting(tmp_path, receivers, **chosen) as running:
        running.fire(an_alert("ByMail", "error", worker_name="charge"))
        (mail,) = receivers.mail.wait(lambda mail: "ByMail" in mail.subject)
    assert mail.sender == "alerts@example.com"
    assert mail.recipients == RECIPIENTS


@pytest.mark.parametrize(
    "text",
    [
        "a@example.com;b@example.com",
        "a@example.com b@example.com",
        "a@example.com, b",
        "root",
        "@example.com",
        "a@",
        "a@@b.example",
        "a@b@c.example",
        "a@[127.0.0.1]",
        '"a b"@example.com',
        "Team: a@example.com, b@example.com;",
        "Ops <a@example.com",
        "a@exam ple.com",
        "a@-x.example",
        "a@exämple.com",
        "{{ .x }} <a@example.com>",
        "a@example.com\nBcc: b@example.com",
        ",",
    ],
)
def test_a_list_that_a_mail_server_would_not_take_is_refused(text: str) -> None:
    for name in ("alert_to_emails", "escalation_to_emails", "alert_from_email"):
        with pytest.raises(ParameterError, match=name):
            values({name: text})
        with pytest.raises(ParameterError, match=name):
            values(channels({"ALERT_TO_EMAILS": "a@b.example", name.upper(): text}))


def test_one_sender_is_one_address() -> None:
    with pytest.raises(ParameterError, match="alert_from_email"):
        values({"alert_from_email": "a@example.com, b@example.com"})


@pytest.mark.parametrize(
    ("server", "port", "smarthost"),
    [
        ("::1", "25", "[::1]:25"),
        ("[::1]", "25", "[::1]:25"),
        ("2001:DB8:0::1", "", "[2001:db8::1]:587"),
        ("mail.example", "465", "mail.example:465"),
    ],
)
def test_a_mail_server_may_have_an_ipv6_address(server: str, port: str, smarthost: str) -> None:
    environ = {"ALERT_TO_EMAILS": "a@b.example", "SMTP_SERVER": server, "SMTP_PORT": port}
    assert values(channels(environ))["smtp_smarthost"] == smarthost


@pytest.mark.parametrize(("server", "port"), [("mail:25", ""), ("::1::", ""), ("mail", "0"), ("mail", "99999")])
def test_a_mail_server_that_cannot_be_one_is_refused(server: str, port: str) -> None:
    with pytest.raises(SecretError):
        channels({"ALERT_TO_EMAILS": "a@b.example", "SMTP_SERVER": server, "SMTP_PORT": port})
