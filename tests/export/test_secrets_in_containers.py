"""Alertmanager, with the command and the mounts of its container, finds its secrets and sends."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from multiagents_otel.tools.deploy.export import exported, write
from multiagents_otel.tools.deploy.parameters import values
from multiagents_otel.tools.deploy.secrets import channels, write_secrets
from tests.export.containers import Container
from tests.export.test_compose import container as of_compose
from tests.export.test_kubernetes import one
from tests.support.notifications import Receivers
from tests.support.ports import free_port

FOLDER = "/etc/alertmanager"


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    with Receivers() as receivers:
        yield receivers


def compose(texts: dict[str, str], folder: Path) -> Container:
    return of_compose("alertmanager", yaml.safe_load(texts["docker-compose.yaml"])["services"]["alertmanager"], folder)


def kubernetes(texts: dict[str, str], folder: Path) -> Container:
    """The pod's folders, put together from ConfigMap and Secret as the kubelet does."""
    name = "multiagents-otel-alertmanager"
    pod = one(texts, "StatefulSet", name)["spec"]["template"]["spec"]
    [found], volumes = pod["containers"], {volume["name"]: volume for volume in pod["volumes"]}
    root = folder / "pod"
    for item in volumes["files"]["configMap"]["items"]:
        path = root / "files" / item["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(one(texts, "ConfigMap", name)["data"][item["key"]])
    assert volumes["secrets"]["secret"]["secretName"] == name
    (root / "silences").mkdir()
    places = {"files": root / "files", "secrets": folder / "alertmanager/secrets", "silences": root / "silences"}
    mounts = {mount["mountPath"]: places[mount["name"]] for mount in found["volumeMounts"]}
    # The folder that the others are mounted into is the image's own.
    (root / "secrets").symlink_to(mounts.pop(f"{FOLDER}/secrets"))
    return Container("alertmanager", found["args"], {}, found["workingDir"], {**mounts, FOLDER: root})


@pytest.mark.parametrize("kind", [compose, kubernetes])
def test_alertmanager_in_its_container_reads_its_secrets_and_sends(
    kind: Callable[[dict[str, str], Path], Container], receivers: Receivers, tmp_path: Path
) -> None:
    url = f"localhost:{free_port()}"
    environ = receivers.environ
    here = {"alertmanager_address": url, "alert_group_wait": "0s", "alert_to_emails": "oncall@example.com"}
    given = values({**channels(environ), **receivers.parameters, **here})
    texts = exported(given)
    write(tmp_path, texts)
    write_secrets(tmp_path / "alertmanager" / given["alert_secrets"], given, environ)
    with kind(texts, tmp_path).running(f"http://{url}/-/ready"):
        labels = {"alertname": "MultiAgentsTest", "severity": "critical", "job": "shop"}
        alert = json.dumps([{"labels": labels, "annotations": {"summary": "It is a test."}}]).encode()
        urllib.request.urlopen(
            urllib.request.Request(f"http://{url}/api/v2/alerts", alert, {"Content-Type": "application/json"})
        ).close()
        assert "MultiAgentsTest" in receivers.slack.wait()[0].title
        assert receivers.pagerduty.wait()[0].payload["severity"] == "critical"
        assert "MultiAgentsTest" in receivers.mail.wait()[0].subject
