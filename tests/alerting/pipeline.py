"""The whole pipeline with our files: Collector, Prometheus, Alertmanager, and who gets messages; times compressed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from multiagents_otel.tools.deploy.secrets import write_secrets
from tests.alerting.running import write_files
from tests.support.deadline import DEADLINE
from tests.support.notifications import Mail, PagerDutyEvent, Receivers, SlackMessage
from tests.support.parameters import at_any_pace
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer
from tests.support.services import Alertmanager, Collector, Prometheus

EXPORT_INTERVAL_MS: Final = 1000
COMPRESSED: Final = {
    "scrape_interval": "1s",
    "evaluation_interval": "1s",
    "metric_expiration": "5s",
    "alert_window": "10s",
    "alert_for": "4s",
    "fault_window": "10s",
    "error_spike_window": "10s",
    "process_silent_seconds": "12",
    "slow_worker_seconds": "2",
    "slow_workflow_seconds": "2.5",
    "collector_down_for": "10s",
    "slo_fast_short": "5s",
    "slo_least_bad": "1",
    "slo_fast_long": "10s",
    "escalate_after": "10s",
    "alert_group_wait": "1s",
    "alert_cooldown": "15s",
    # Nothing is told again: what a receiver has of an alert is that it fires, and that it is over.
    "alert_repeat": "1h",
    "watchdog_interval": "2s",
    # What depends on the machine that runs the tests, and on how busy it is.
    "high_cpu_percent": "100",
    "loop_lag_seconds": "5",
    # The slower burns take longer to show, and their rules differ in numbers alone.
    "slo_medium_burn": "1000",
    "slo_slow_burn": "1000",
}


class Told(NamedTuple):
    """What the receivers were told of one rule about one subject, in order: "firing" and "resolved"."""

    slack: list[str]
    mail: list[str]
    pagerduty: list[str]


class Pipeline:
    """The running pipeline, and what its receivers got."""

    def __init__(
        self,
        collector: Collector,
        backend: OtlpReceiver,
        prometheus: Prometheus,
        receivers: Receivers,
        environ: dict[str, str],
    ) -> None:
        self.collector = collector
        self.backend = backend
        self.prometheus = prometheus
        self.receivers = receivers
        self._environ = environ
        self._processes = ExitStack()

    def start(self, code: str, service: str, **environ: str) -> Process:
        """Start a process of the application, and return at once: it prints "ready"."""
        given = {**self._environ, "OTEL_SERVICE_NAME": service, **environ}
        return self._processes.enter_context(Process([sys.executable, "-c", code], env=given))

    def stop(self) -> None:
        self._processes.close()

    def value(self, expression: str) -> float:
        """The one value of a query; 0 if there is none."""
        found = list(self.prometheus.query(expression).values())
        assert len(found) < 2, f"{expression}: {found}"
        return found[0] if found else 0.0

    def fired(self) -> set[str]:
        """The alerts that have fired at any time so far."""
        found = self.prometheus.query('count by (alertname) (last_over_time(ALERTS{alertstate="firing"}[1h]))')
        return {dict(labels)["alertname"] for labels in found}

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        return {each["labels"]["alertname"] for each in self.prometheus.alerts() if each["state"] == "firing"}

    def lasts(self, rule: str, labels: str) -> bool:
        """Whether an alert fires now, and has done so without an interruption since it first fired."""
        selector = f'{{alertname="{rule}",{labels}}}'
        firing = self.value(f"count(ALERTS{selector} and ALERTS{{alertstate='firing'}})")
        return firing == 1 and self.value(f"max(changes(ALERTS_FOR_STATE{selector}[1h]))") == 0

    def wait_told(self, rule: str, subject: str, status: str = "firing", timeout: float = DEADLINE) -> SlackMessage:
        """Wait for Slack's message about a rule and a subject."""
        mark = "🚨" if status == "firing" else "✅"
        found = self.receivers.slack.wait(
            lambda message: message.title == f"{mark} {rule}" and subject in message.text, timeout=timeout
        )
        return found[0]

    def mail(self, rule: str, subject: str) -> Mail:
        """The first mail about a rule and a subject."""
        return self.receivers.mail.wait(lambda mail: mail.subject.endswith(f"] {rule}") and subject in mail.text)[0]

    def incident(self, rule: str, subject: str) -> PagerDutyEvent:
        """The first event in PagerDuty about a rule and a subject."""
        return self.receivers.pagerduty.wait(lambda event: _is_about(event, rule, subject))[0]

    def told(self, rule: str, subject: str) -> Told:
        """All that was told of a rule and a subject."""
        slack = self.receivers.slack.all(lambda message: message.title[2:] == rule and subject in message.text)
        mail = self.receivers.mail.all(lambda mail: mail.subject.endswith(f"] {rule}") and subject in mail.text)
        events = self.receivers.pagerduty.all(lambda event: _is_about(event, rule, subject))
        return Told(
            ["firing" if message.title.startswith("🚨") else "resolved" for message in slack],
            ["resolved" if each.subject.startswith("[RESOLVED]") else "firing" for each in mail],
            ["firing" if event.action == "trigger" else "resolved" for event in events],
        )


def _is_about(event: PagerDutyEvent, rule: str, subject: str) -> bool:
    details = event.payload["custom_details"]
    return event.payload["class"] == rule and subject in details["firing"] + details["resolved"]


@contextmanager
def pipeline(folder: Path) -> Iterator[Pipeline]:
    """Everything but the application, started; with Redis for it."""
    ports = {name: free_port() for name in ("otlp_grpc", "otlp_http", "export", "collector_metrics", "health")}
    prometheus_port, alertmanager_port = free_port(), free_port()
    with ExitStack() as running:
        receivers = running.enter_context(Receivers())
        backend = running.enter_context(OtlpReceiver())
        redis = running.enter_context(RedisServer())
        chosen = {
            **COMPRESSED,
            **receivers.parameters,
            **{f"{name}_port": str(port) for name, port in ports.items()},
            "collector_metrics": f"localhost:{ports['export']}",
            "collector_own_metrics": f"localhost:{ports['collector_metrics']}",
            "alertmanager_address": f"localhost:{alertmanager_port}",
            "prometheus_address": f"localhost:{prometheus_port}",
            "backend_exporter": "otlp_http",
            "backend_endpoint": backend.http_endpoint,
            "collector_storage": str(folder / "storage"),
            "alert_secrets": str(folder / "secrets"),
        }
        write_secrets(folder / "secrets", at_any_pace(chosen), receivers.environ)
        files = write_files(folder / "files", chosen)
        collector = running.enter_context(Collector(files / "collector.yaml", health=ports["health"]))
        running.enter_context(
            Alertmanager(files / "alertmanager" / "alertmanager.yaml", folder / "alerts", alertmanager_port)
        )
        prometheus = running.enter_context(
            Prometheus(
                files / "prometheus" / "prometheus.yaml",
                folder / "metrics",
                prometheus_port,
                # How soon Alertmanager hears of an alert that fired before Prometheus knew of any Alertmanager.
                "--rules.alert.resend-delay=1s",
            )
        )
        started = Pipeline(
            collector,
            backend,
            prometheus,
            receivers,
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ports['otlp_http']}",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_METRIC_EXPORT_INTERVAL": str(EXPORT_INTERVAL_MS),
                # Who could not reach the Collector tries again soon after it is back, as with the defaults of both.
                "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "2",
                "REDIS_URL": redis.url,
            },
        )
        running.callback(started.stop)
        yield started
