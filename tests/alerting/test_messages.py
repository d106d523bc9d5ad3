"""What is written to Slack, by mail and to PagerDuty, received by servers that speak their protocols."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.alerting.running import Running, alerting, an_alert
from tests.support.notifications import ESCALATION_KEY, ROUTING_KEY, Receivers

TO = "one@example.com, two@example.com"
QUERY = "http://prometheus.example/graph?g0.expr=x&g0.tab=1"


@pytest.fixture(scope="module")
def receivers() -> Iterator[Receivers]:
    with Receivers() as running:
        yield running


@pytest.fixture(scope="module")
def running(receivers: Receivers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with alerting(tmp_path_factory.mktemp("alerting"), receivers, alert_to_emails=TO) as alertmanager:
        yield alertmanager


def test_an_alert_fires_and_resolves_in_slack(running: Running, receivers: Receivers) -> None:
    alert = an_alert("InSlack", "error", worker_name="charge_payment")
    running.fire(alert)
    receivers.slack.wait(lambda message: message.title == "🚨 InSlack")
    running.resolve(alert)
    (resolved,) = receivers.slack.wait(lambda message: message.title == "✅ InSlack")
    (fired,) = receivers.slack.all(lambda message: message.title == "🚨 InSlack")

    text = (
        "*charge_payment fails*\n"
        "charge_payment: 25% of 120 executions failed\n"
        "<https://runbook.example/#worker|Runbook> · <http://prometheus.example/graph?g0.expr=x&amp;g0.tab=1|Query>"
    )
    assert fired.attachment["title_link"].endswith("/#/alerts?receiver=slack")
    assert fired.body == {
        "username": "MultiAgents",
        "attachments": [
            {
                "title": "🚨 InSlack",
                "title_link": fired.attachment["title_link"],
                "text": text,
                "fallback": "[ERROR] InSlack: charge_payment fails",
                "fields": [
                    {"title": "Severity", "value": "error", "short": True},
                    {"title": "Time", "value": "2025-03-04 05:06:07 UTC", "short": True},
                ],
                "color": "#ff0000",
                "callback_id": "",
                "footer": "",
                "mrkdwn_in": ["fallback", "pretext", "text"],
            }
        ],
    }
    assert resolved.text == text
    assert resolved.attachment["fields"][1] != fired.attachment["fields"][1]
    assert resolved.attachment["color"] == "#36a64f"
    assert resolved.attachment["fallback"] == "[RESOLVED] InSlack: charge_payment fails"


@pytest.mark.parametrize(
    ("severity", "color"),
    [("info", "#36a64f"), ("warning", "#ff9500"), ("error", "#ff0000"), ("critical", "#8b0000")],
)
def test_each_severity_has_the_colour_and_subject_of_the_guide(
    running: Running, receivers: Receivers, severity: str, color: str
) -> None:
    name = f"Colour{severity}"
    running.fire(an_alert(name, severity))
    (message,) = receivers.slack.wait(lambda message: message.title == f"🚨 {name}")
    (mail,) = receivers.mail.wait(lambda mail: mail.subject == f"[{severity.upper()}] {name}")
    assert message.attachment["color"] == color
    assert f"border-left: 6px solid {color}" in mail.html


def test_an_alert_fires_and_resolves_by_mail(running: Running, receivers: Receivers) -> None:
    alert = an_alert("ByMail", "warning", workflow_id="order_processing")
    running.fire(alert)
    (fired,) = receivers.mail.wait(lambda mail: mail.subject == "[WARNING] ByMail")
    running.resolve(alert)
    (resolved,) = receivers.mail.wait(lambda mail: mail.subject == "[RESOLVED] ByMail")

    assert (fired.sender, fired.recipients) == ("alerts@example.com", ("one@example.com", "two@example.com"))
    assert fired.text == (
        "Alert: ByMail\n"
        "Severity: warning\n"
        "Time: 2025-03-04 05:06:07 UTC\n"
        "\n"
        "order_processing fails\n"
        "order_processing: 25% of 120 executions failed\n"
        "  workflow_id: order_processing\n"
        "  since: 2025-03-04 05:06:07 UTC\n"
        "  runbook: https://runbook.example/#worker\n"
        f"  query: {QUERY}\n"
    )
    assert "<strong>order_processing fails</strong>" in fired.html
    assert '<a href="https://runbook.example/#worker">Runbook</a>' in fired.html
    assert "  until: 2" in resolved.text
    assert "<td>until</td>" in resolved.html.replace(' style="padding-right: 16px"', "")


def test_an_alert_opens_and_closes_one_incident_in_pagerduty(running: Running, receivers: Receivers) -> None:
    alert = an_alert("InPagerDuty", "critical", worker_name="charge_payment")
    running.fire(alert)
    receivers.pagerduty.wait(lambda event: event.payload["class"] == "InPagerDuty")
    running.resolve(alert)
    opened, closed = receivers.pagerduty.wait(lambda event: event.payload["class"] == "InPagerDuty", count=2)

    assert (opened.action, closed.action) == ("trigger", "resolve")
    assert opened.body["dedup_key"] == closed.body["dedup_key"]
    assert opened.body["routing_key"] == ROUTING_KEY
    assert opened.body["links"] == [{"href": "https://runbook.example/#worker", "text": "Runbook"}]
    assert opened.payload == {
        "summary": "InPagerDuty: charge_payment: 25% of 120 executions failed",
        "source": "multiagents-framework",
        "severity": "critical",
        "class": "InPagerDuty",
        "component": "charge_payment",
        "custom_details": {
            "firing": (
                "charge_payment fails\n"
                "charge_payment: 25% of 120 executions failed\n"
                "  worker_name: charge_payment\n"
                "  since: 2025-03-04 05:06:07 UTC\n"
                "  runbook: https://runbook.example/#worker\n"
                f"  query: {QUERY}\n"
            ),
            "resolved": "",
            "num_firing": "1",
            "num_resolved": "0",
        },
    }
    assert closed.payload["custom_details"]["firing"] == ""
    assert closed.payload["custom_details"]["resolved"].startswith("charge_payment fails\n")


def test_information_and_warnings_open_no_incident(running: Running, receivers: Receivers) -> None:
    running.fire(*(an_alert(f"Page{severity}", severity) for severity in ("info", "warning", "error")))
    receivers.mail.wait(lambda mail: "Page" in mail.subject, count=3)
    receivers.pagerduty.wait(lambda event: event.payload["class"] == "Pageerror")
    assert [
        event.payload["class"]
        for event in receivers.pagerduty.all(lambda event: event.payload["class"].startswith("Page"))
    ] == ["Pageerror"]


def test_processes_of_one_service_share_a_message_which_says_what_is_over(
    running: Running, receivers: Receivers
) -> None:
    alerts = [an_alert("Shared", "error", job="orders", instance=instance) for instance in ("one", "two")]
    running.fire(*alerts)
    receivers.slack.wait(lambda message: "Shared" in message.title and message.text.count("*orders fails*") == 2)
    running.resolve(alerts[0])
    (left,) = receivers.slack.wait(lambda message: "Shared" in message.title and "Resolved" in message.text)
    (mail,) = receivers.mail.wait(lambda mail: "Shared" in mail.subject and "Resolved" in mail.text)
    assert left.title == "🚨 Shared"
    assert left.text.count("\n\nResolved:\n*orders fails*\n") == 1
    still, over = mail.text.split("\n\nResolved:\n\n")
    assert "  instance: two\n" in still
    assert "  instance: one\n" in over
    assert left.attachment["color"] == "#ff0000"


def test_a_long_list_is_cut_in_slack_and_whole_in_the_mail(running: Running, receivers: Receivers) -> None:
    running.fire(*(an_alert("Many", "error", job="orders", instance=str(number)) for number in range(37)))
    (message,) = receivers.slack.wait(lambda message: "\nand so on, 37 in all" in message.text)
    receivers.mail.wait(lambda mail: "Many" in mail.subject and mail.text.count("  instance: ") == 37)
    assert message.text.count("*orders fails*") == 10


def test_a_name_with_markup_in_it_is_shown_as_it_is_and_calls_nobody(running: Running, receivers: Receivers) -> None:
    running.fire(an_alert("Markup", "error", worker_name="<!channel> & <b>"))
    (message,) = receivers.slack.wait(lambda message: message.title == "🚨 Markup")
    (mail,) = receivers.mail.wait(lambda mail: mail.subject == "[ERROR] Markup")
    assert message.text.startswith("*&lt;!channel&gt; &amp; &lt;b&gt; fails*\n")
    assert "<strong>&lt;!channel&gt; &amp; &lt;b&gt; fails</strong>" in mail.html


def test_a_runbook_that_is_a_file_is_named_and_is_no_link(running: Running, receivers: Receivers) -> None:
    alert = an_alert("RunbookFile", "error")
    alert["annotations"]["runbook_url"] = "runbook.md#runbookfile"
    running.fire(alert)
    (message,) = receivers.slack.wait(lambda message: message.title == "🚨 RunbookFile")
    (mail,) = receivers.mail.wait(lambda mail: mail.subject == "[ERROR] RunbookFile")
    (event,) = receivers.pagerduty.wait(lambda event: event.payload["class"] == "RunbookFile")
    assert "\nRunbook: runbook.md#runbookfile · <http://prometheus.example/" in message.text
    assert '">Runbook: runbook.md#runbookfile · <a href="http://prometheus.example/' in mail.html
    assert "links" not in event.body
    assert "  runbook: runbook.md#runbookfile\n" in event.payload["custom_details"]["firing"]


def test_an_escalated_alert_goes_to_further_people_under_the_first_alerts_name(
    running: Running, receivers: Receivers
) -> None:
    alert = an_alert("MultiAgentsEscalated", "critical", escalated="true", escalated_alert="Unattended", job="orders")
    running.fire(alert)
    (message,) = receivers.slack.wait(lambda message: message.title == "🚨 Unattended (escalated)")
    (mail,) = receivers.mail.wait(lambda mail: mail.subject == "[CRITICAL] Unattended (escalated)")
    (event,) = receivers.pagerduty.wait(lambda event: "Unattended" in event.summary)
    assert message.text.startswith("<!channel> still firing: nobody has mended it\n*orders fails*\n")
    assert mail.recipients == ("lead@example.com",)
    assert event.body["routing_key"] == ESCALATION_KEY
    assert event.summary == "Unattended (escalated): orders: 25% of 120 executions failed"


def test_no_receiver_refused_a_message(receivers: Receivers) -> None:
    assert receivers.refused.all() == []
