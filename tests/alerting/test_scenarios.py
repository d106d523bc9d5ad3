"""From the application to the receivers: it is broken in every way, and the right people hear of it, once.

One story for all: everything is healthy, then all breaks at once, each in a workflow of its own, then all is mended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest

from tests.alerting.application import ORCHESTRATOR, WORKER
from tests.alerting.expected import ALL, WHILE_BROKEN, Expected
from tests.alerting.pipeline import COMPRESSED, Pipeline, Told, pipeline
from tests.support.notifications import ESCALATION_KEY, ROUTING_KEY
from tests.support.processes import Process
from tests.support.services import wait_until

HEALTHY: Final = ("flaky", "replicated", "slow", "killed", "failed", "stalling")
"""The workflows whose worker is there from the start."""
COLORS: Final = {"warning": "#ff9500", "error": "#ff0000", "critical": "#8b0000"}


class Story:
    """The application, and what is done to it."""

    def __init__(self, running: Pipeline) -> None:
        self.pipeline = running
        self.interrupted: list[Expected] = []
        """What did not fire all the time until it was mended."""
        start = running.start
        self.crew = start(WORKER, "crew", WORKERS="flaky,replicated,slow")
        self.killed = start(WORKER, "killed", WORKERS="killed")
        self.failed = start(WORKER, "failed", WORKERS="failed")
        self.stalling = start(WORKER, "stalling", WORKERS="stalling")
        self.orders = start(ORCHESTRATOR, "orders", WORKFLOWS=",".join((*HEALTHY, "missing")))
        self._ready(self.crew, self.killed, self.failed, self.stalling, self.orders)

    def work(self) -> None:
        """All is healthy, and under load for longer than any window looks back."""
        for name in HEALTHY:
            self.orders.send_line(f"on {name} {6 if name == 'flaky' else 2}")
        completed = 'min(increase(multiagents_workflows_total{status="completed",workflow_id!="missing"}[10s]))'
        wait_until(lambda: self.pipeline.value(completed) > 15, "ten seconds of load")

    def break_all(self) -> None:
        for name in ("killed", "stalling"):
            self.orders.send_line(f"off {name}")
            self.orders.wait_line(f"off {name}")
        self.killed.kill9()
        self.pipeline.backend.refuse(401)
        self.crew.send_line("flaky flaky")
        self.crew.send_line("slow slow")
        self.failed.send_line("failed bad")
        self.orders.send_line("start missing 3")
        self.stalling.send_line("stalling hanging")
        self.orders.send_line("start stalling 1")
        self.stalling.wait_line("at work")
        self.stalling.kill9()
        self.second = self.pipeline.start(WORKER, "second", WORKERS="replicated")
        self.stalling = self.pipeline.start(WORKER, "stalling", WORKERS="stalling")
        # No more work for the failed one, and no chance to say that it is better.
        self.pipeline.wait_told("MultiAgentsWorkerFailed", "worker failed_worker")
        self.orders.send_line("off failed")
        self.orders.wait_line("off failed")
        self.failed.kill9()

    def mend_all(self) -> None:
        self.pipeline.backend.accept()
        self.crew.send_line("flaky good")
        self.crew.send_line("slow good")
        self.second.send_line("stop")
        self.second.wait_ok()
        self.killed, self.failed, self.missing = (
            self.pipeline.start(WORKER, name, WORKERS=name) for name in ("killed", "failed", "missing")
        )
        self._ready(self.killed, self.failed, self.missing)
        self.orders.send_line("start missing 1")

    @staticmethod
    def _ready(*processes: Process) -> None:
        for process in processes:
            process.wait_line("ready")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with pipeline(tmp_path_factory.mktemp("pipeline")) as running:
        yield running


@pytest.fixture(scope="module")
def healthy(started: Pipeline) -> Story:
    story = Story(started)
    story.work()
    return story


@pytest.fixture(scope="module")
def broken(healthy: Story) -> Story:
    healthy.break_all()
    return healthy


@pytest.fixture(scope="module")
def mended(broken: Story) -> Story:
    """After this nothing fires any more but the watchdog."""
    broken.interrupted = [alert for alert in WHILE_BROKEN if not broken.pipeline.lasts(alert.rule, alert.labels)]
    broken.mend_all()
    wait_until(lambda: broken.pipeline.firing() == {"MultiAgentsWatchdog"}, "all is resolved", 90)
    return broken


def each(expected: tuple[Expected, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("alert", expected, ids=[f"{alert.rule}-{alert.labels}" for alert in expected])


def test_under_healthy_load_nothing_but_the_watchdog_fires(healthy: Story) -> None:
    running = healthy.pipeline
    assert running.fired() == {"MultiAgentsWatchdog"}
    running.receivers.watchdog.wait(count=2)
    assert running.receivers.slack.all() == []
    assert running.receivers.mail.all() == []
    assert running.receivers.pagerduty.all() == []


@each(ALL)
def test_what_breaks_is_told_with_its_severity_and_numbers(broken: Story, alert: Expected) -> None:
    running = broken.pipeline
    message = running.wait_told(alert.rule, alert.subject)
    mail = running.mail(alert.rule, alert.subject)
    number = re.search(alert.says, message.text)
    assert number, message.text
    assert alert.least <= float(number[1]) <= alert.most
    assert message.attachment["color"] == COLORS[alert.severity]
    assert mail.subject == f"[{alert.severity.upper()}] {alert.rule}"
    assert re.search(alert.says, mail.text), mail.text
    if alert.severity != "warning":
        event = running.incident(alert.rule, alert.subject)
        assert event.body["routing_key"] == ROUTING_KEY
        assert event.payload["severity"] == alert.severity
        assert re.search(alert.says, event.summary), event.summary


def test_telemetry_that_the_backend_refuses_for_good_is_told(broken: Story) -> None:
    running = broken.pipeline
    rule = "MultiAgentsTelemetrySendFailed"
    message = running.wait_told(rule, "traces are lost")
    number = re.search(r"dropped (\d+) items of traces", message.text)
    assert number, message.text
    assert int(number[1]) > 0
    assert message.attachment["color"] == COLORS["error"]
    assert running.incident(rule, "traces are lost").payload["severity"] == "error"


def test_a_critical_alert_that_nobody_mends_is_escalated(broken: Story) -> None:
    running = broken.pipeline
    running.wait_told("MultiAgentsSuccessFastBurn (escalated)", "")
    escalated = running.receivers.pagerduty.wait(lambda event: event.body["routing_key"] == ESCALATION_KEY)
    assert {(event.payload["class"], event.payload["severity"]) for event in escalated} == {
        ("MultiAgentsEscalated", "critical")
    }
    assert escalated[0].summary.startswith("MultiAgentsSuccessFastBurn (escalated): ")


def test_nothing_resolves_before_it_is_mended_not_even_when_what_measured_it_is_killed(mended: Story) -> None:
    assert mended.interrupted == []


@each(ALL)
def test_each_receiver_is_told_once_that_it_fires_and_once_that_it_is_mended(mended: Story, alert: Expected) -> None:
    running = mended.pipeline
    pages = alert.severity != "warning"
    expected = Told(*[["firing", "resolved"]] * (3 if pages else 2), *([] if pages else [[]]))
    wait_until(lambda: running.told(alert.rule, alert.subject) == expected, f"{expected} of {alert.rule}")


def test_an_orchestrator_whose_commands_reach_nobody_has_no_share_of_failed_ones(mended: Story) -> None:
    about = mended.pipeline.receivers.slack.all(lambda message: "orders: many CommandEvents" in message.text)
    assert [message.text for message in about] == []


def test_a_backend_that_takes_telemetry_again_resolves_it(mended: Story) -> None:
    mended.pipeline.wait_told("MultiAgentsTelemetrySendFailed", "traces are lost", "resolved")


def test_nothing_fires_that_nobody_broke(mended: Story) -> None:
    assert mended.pipeline.fired() == {alert.rule for alert in ALL} | {
        "MultiAgentsEscalated",
        "MultiAgentsTelemetrySendFailed",
        "MultiAgentsWatchdog",
    }
    assert mended.pipeline.receivers.refused.all() == []


@pytest.mark.slow
def test_when_the_collector_is_down_one_alert_says_so_and_no_process_is_taken_for_silent(mended: Story) -> None:
    running = mended.pipeline
    before = len(running.receivers.slack.all())
    running.collector.kill9()
    rule = "MultiAgentsCollectorDown"
    running.wait_told(rule, "out of reach")
    silent = running.value("vector(time())") + 2 * float(COMPRESSED["process_silent_seconds"])
    wait_until(lambda: running.value("vector(time())") > silent, "long enough for processes to be silent")
    assert running.firing() == {rule, "MultiAgentsEscalated", "MultiAgentsWatchdog"}
    running.collector.start()
    running.wait_told(rule, "out of reach", "resolved")
    wait_until(lambda: running.firing() == {"MultiAgentsWatchdog"}, "all is resolved")
    titles = {message.title for message in running.receivers.slack.all()[before:]}
    others = {title for title in titles if rule not in title}
    assert {title[2:] for title in titles - others} == {rule, f"{rule} (escalated)"}
    # Earlier alerts may still resolve, and what applications could not export meanwhile was dropped.
    assert {title for title in others if title.startswith("🚨")} <= {"🚨 MultiAgentsTelemetryDropped"}
