"""How often a message comes, and which alert silences which."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.alerting.running import Alert, alerting, an_alert
from tests.support.notifications import Receivers, SlackMessage
from tests.support.services import fetch, wait_until


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    with Receivers() as running:
        yield running


def test_an_alert_that_flaps_sends_one_firing_message_in_a_cooldown(tmp_path: Path, receivers: Receivers) -> None:
    def is_fired(message: SlackMessage) -> bool:
        return message.title == "🚨 Flapping"

    alert = an_alert("Flapping", "error", worker_name="charge_payment")
    arrived: list[float] = []
    with alerting(tmp_path, receivers, alert_cooldown="3s", alert_repeat="2s") as running:
        turns = itertools.cycle((running.fire, running.fire, running.resolve))

        def flaps() -> bool:
            tell = next(turns)
            tell(alert)
            if len(receivers.slack.all(is_fired)) > len(arrived):
                arrived.append(time.monotonic())
            return len(arrived) == 2

        wait_until(flaps, "two messages")
    # What was seen arriving was sent a moment earlier: a look lasts well under a second.
    assert arrived[1] - arrived[0] > 2
    assert len(receivers.pagerduty.all(lambda event: event.action == "trigger")) <= 2


def test_what_still_fires_is_told_again_after_the_cooldown_and_resolved_once(
    tmp_path: Path, receivers: Receivers
) -> None:
    alert = an_alert("Lasting", "error", worker_name="charge_payment")
    with alerting(tmp_path, receivers, alert_cooldown="2s", alert_repeat="1s") as running:
        running.fire(alert)
        receivers.slack.wait(count=2)
        assert receivers.slack.all(lambda message: message.title == "✅ Lasting") == []
        running.resolve(alert)
        receivers.slack.wait(lambda message: message.title == "✅ Lasting")
        receivers.pagerduty.wait(lambda event: event.action == "resolve")


def test_a_second_worker_does_not_wait_for_the_firsts_cooldown(tmp_path: Path, receivers: Receivers) -> None:
    with alerting(tmp_path, receivers, alert_cooldown="1h") as running:
        running.fire(an_alert("WorkerFails", "error", worker_name="charge_payment", job="orders"))
        receivers.slack.wait()
        running.fire(an_alert("WorkerFails", "error", worker_name="ship_order", job="orders"))
        receivers.slack.wait(count=2)


def test_a_restart_of_alertmanager_tells_nothing_twice(tmp_path: Path, receivers: Receivers) -> None:
    alert = an_alert("Lasting", "error", worker_name="charge_payment")
    with alerting(tmp_path, receivers, alert_cooldown="1h") as running:
        running.fire(alert)
        receivers.slack.wait()
        receivers.pagerduty.wait()
        receivers.mail.wait()
        # A message that has arrived is noted down when its receiver has said so.
        noted = [f'latency_seconds_count{{integration="{each}"}} 1\n' for each in ("slack", "pagerduty", "email")]
        wait_until(lambda: all(each in fetch(f"{running.url}/metrics") for each in noted), "three messages noted")
        running.service.stop()
        running.service.start()
        running.fire(alert)
        running.fire(an_alert("Later", "error"))
        receivers.slack.wait(count=2)
        receivers.pagerduty.wait(count=2)
        receivers.mail.wait(count=2)
    assert [message.title for message in receivers.slack.all()] == ["🚨 Lasting", "🚨 Later"]
    assert [event.payload["class"] for event in receivers.pagerduty.all()] == ["Lasting", "Later"]
    assert [mail.subject for mail in receivers.mail.all()] == ["[ERROR] Lasting", "[ERROR] Later"]


def test_a_channel_that_is_down_delays_no_other(tmp_path: Path, receivers: Receivers) -> None:
    with alerting(tmp_path, receivers, smtp_smarthost="127.0.0.1:1", alert_cooldown="1h") as running:
        running.fire(an_alert("NoMail", "error"))
        receivers.slack.wait()
        receivers.pagerduty.wait()
        wait_until(lambda: "Notify attempt failed" in running.service.process.output, "a failed mail in the log")
    assert receivers.mail.all() == []


def test_the_watchdog_pings_its_switch_again_and_again_and_nobody_else(tmp_path: Path, receivers: Receivers) -> None:
    watchdog = an_alert("MultiAgentsWatchdog", "none")
    with alerting(tmp_path, receivers, watchdog_interval="2s") as running:
        running.fire(watchdog)
        receivers.watchdog.wait(count=3)
        running.resolve(watchdog)
        running.fire(an_alert("Later", "error"))
        receivers.slack.wait()
    assert {ping["status"] for ping in receivers.watchdog.all()} == {"firing"}
    assert [message.title for message in receivers.slack.all()] == ["🚨 Later"]


@pytest.mark.parametrize(
    ("loud", "quiet", "others"),
    [
        (
            an_alert("Big", "critical", job="j", worker_name="w"),
            an_alert("Small", "warning", job="j", worker_name="w"),
            [
                an_alert("Small", "warning", job="j", worker_name="other"),
                an_alert("Serious", "error", job="j", worker_name="w"),
            ],
        ),
        (
            an_alert("Big", "critical", job="j", workflow_id="f"),
            an_alert("Small", "info", job="j", workflow_id="f"),
            [an_alert("Small", "warning", job="j", workflow_id="other")],
        ),
        (
            an_alert("Big", "critical", job="j", instance="i"),
            an_alert("Small", "warning", job="j", instance="i"),
            [an_alert("Small", "warning", job="j2", instance="i")],
        ),
        # Neither has a subject, and that makes them no relatives.
        (an_alert("Big", "critical"), None, [an_alert("Small", "warning")]),
        (
            an_alert("MultiAgentsWorkerFailed", "error", job="j", worker_name="w"),
            an_alert("MultiAgentsWorkerHighErrorRate", "warning", job="j", worker_name="w"),
            [an_alert("MultiAgentsWorkerHighErrorRate", "warning", job="j", worker_name="other")],
        ),
        (
            an_alert("MultiAgentsSuccessFastBurn", "critical", job="j", workflow_id="f"),
            an_alert("MultiAgentsSuccessMediumBurn", "error", job="j", workflow_id="f"),
            [an_alert("MultiAgentsSuccessMediumBurn", "error", job="j", workflow_id="other")],
        ),
        (
            an_alert("MultiAgentsProcessSilent", "error", job="j", instance="i"),
            an_alert("MultiAgentsHighErrorRate", "warning", job="j", event_type="CommandEvent"),
            [an_alert("MultiAgentsHighErrorRate", "warning", job="j2", event_type="CommandEvent")],
        ),
        (
            an_alert("MultiAgentsCollectorDown", "critical", job="otel-collector", instance="i"),
            an_alert("MultiAgentsProcessSilent", "error", job="j", instance="i2"),
            [an_alert("MultiAgentsWorkerFailed", "error", job="j", worker_name="w")],
        ),
        (
            an_alert("MultiAgentsCollectorDown", "critical", job="otel-collector", instance="i"),
            an_alert("MultiAgentsTelemetrySendFailed", "error", job="otel-collector", instance="i"),
            [an_alert("MultiAgentsTelemetrySendFailed", "error", job="otel-collector", instance="i2")],
        ),
    ],
    ids=[
        "worker",
        "workflow",
        "process",
        "no subject",
        "failed worker",
        "burn",
        "silent process",
        "collector",
        "its telemetry",
    ],
)
def test_what_says_more_silences_what_says_less_about_the_same(
    tmp_path: Path, receivers: Receivers, loud: Alert, quiet: Alert | None, others: list[Alert]
) -> None:
    with alerting(tmp_path, receivers) as running:
        running.fire(loud)
        receivers.slack.wait()
        if quiet:
            running.fire(quiet)
        running.fire(*others)
        receivers.slack.wait(count=1 + len(others))
        assert running.muted() == ([quiet["labels"]] if quiet else [])
    assert len(receivers.slack.all()) == 1 + len(others)
