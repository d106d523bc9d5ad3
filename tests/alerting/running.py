"""A real Alertmanager with our files, and what Prometheus would send to it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, TypeAlias

from multiagents_otel.tools.deploy.files import folder as shipped
from multiagents_otel.tools.deploy.render import render
from multiagents_otel.tools.deploy.secrets import write_secrets
from tests.support.notifications import Receivers
from tests.support.parameters import at_any_pace
from tests.support.ports import free_port
from tests.support.services import Alertmanager, fetch

Alert: TypeAlias = "dict[str, Any]"

BEGAN: Final = datetime(2025, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
RUNBOOK: Final = "https://runbook.example/#worker"


def write_files(folder: Path, chosen: Mapping[str, str], part: str = ".") -> Path:
    """Put the pipeline's files, or a part of them, into a folder, with these parameters; give the folder."""
    source, given = shipped() / part, at_any_pace(chosen)
    for file in source.rglob("*"):
        if file.suffix in (".yaml", ".tmpl"):
            target = folder / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(render(file.read_text(encoding="utf-8"), given), encoding="utf-8")
    return folder


@contextmanager
def alerting(folder: Path, receivers: Receivers, **chosen: str) -> Iterator[Running]:
    """Alertmanager with these receivers; times are compressed, but where `chosen` says otherwise."""
    secrets = folder / "secrets"
    given = {"alert_group_wait": "0s", "alert_cooldown": "2s", "alert_repeat": "1h", **receivers.parameters, **chosen}
    given["alert_secrets"] = str(secrets)
    config = write_files(folder / "alertmanager", given, "alertmanager") / "alertmanager.yaml"
    write_secrets(secrets, at_any_pace(given), receivers.environ)
    with Alertmanager(config, folder / "data", free_port()) as service:
        yield Running(service)


class Running:
    """Alertmanager, and the alerts that it is told of."""

    def __init__(self, service: Alertmanager) -> None:
        self.service = service
        self.url = service.url

    def fire(self, *alerts: Alert) -> None:
        self._post([{**alert, "startsAt": _text(BEGAN)} for alert in alerts])

    def resolve(self, *alerts: Alert) -> None:
        self._post(
            [{**alert, "startsAt": _text(BEGAN), "endsAt": _text(datetime.now(timezone.utc))} for alert in alerts]
        )

    def _post(self, alerts: list[Alert]) -> None:
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts",
            json.dumps(alerts).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert reply.status == 200

    def muted(self) -> list[dict[str, str]]:
        """The labels of the alerts that another one mutes."""
        alerts = json.loads(fetch(f"{self.url}/api/v2/alerts"))
        return [each["labels"] for each in alerts if each["status"]["inhibitedBy"]]


def an_alert(alertname: str, severity: str = "error", **labels: str) -> Alert:
    """An alert as our rules make them: subject, numbers and a runbook."""
    subject = labels.get("worker_name") or labels.get("workflow_id") or labels.get("job") or "everything"
    return {
        "labels": {"alertname": alertname, "severity": severity, **labels},
        "annotations": {
            "summary": f"{subject} fails",
            "description": f"{subject}: 25% of 120 executions failed",
            "runbook_url": RUNBOOK,
        },
        "generatorURL": "http://prometheus.example/graph?g0.expr=x&g0.tab=1",
    }


def _text(moment: datetime) -> str:
    return moment.isoformat()
