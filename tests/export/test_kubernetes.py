"""The Kubernetes manifests: their form, that they hold the very files, and what their Collectors do."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule

from multiagents_otel.tools.deploy.export import exported
from multiagents_otel.tools.deploy.parameters import values
from tests.export.chosen import others
from tests.export.containers import Container
from tests.export.test_compose import PORTS
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.receiver import OtlpReceiver
from tests.support.services import fetch
from tests.support.traffic import Client, Shape, log_record, logs, trace_ids, traces

FAILING = Shape("workflow.order_processing INTERNAL ERROR ValueError\n  step.charge INTERNAL ERROR ValueError")

OPERATOR: dict[str, Any] = {"PrometheusRule": PrometheusRule, "PodMonitor": PodMonitor}
VERSIONS = ("1.27", kubernetes_validate.latest_version())
"""The oldest whose schemas know `internalTrafficPolicy` and all else that is used, and the newest."""


def objects(texts: dict[str, str]) -> list[dict[str, Any]]:
    return [made for path, text in texts.items() if path.startswith("kubernetes/") for made in yaml.safe_load_all(text)]


def one(texts: dict[str, str], kind: str, name: str) -> dict[str, Any]:
    [found] = [made for made in objects(texts) if (made["kind"], made["metadata"]["name"]) == (kind, name)]
    return found


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return exported(values())


@pytest.mark.parametrize("chosen", [{}, others(flags="true"), others(flags="false")], ids=["defaults", "on", "off"])
def test_every_object_has_the_form_that_a_cluster_asks_for(chosen: dict[str, str]) -> None:
    for made in objects(exported(values(chosen))):
        if made["kind"] in OPERATOR:
            told = (
                OPERATOR[made["kind"]].model_validate(made).model_dump(mode="json", exclude_unset=True, by_alias=True)
            )
            assert told == made  # what the model doesn't know, it drops
        else:
            for version in VERSIONS:
                kubernetes_validate.validate(made, version, strict=True)


def test_a_wrong_object_would_be_found(texts: dict[str, str]) -> None:
    broken = one(texts, "DaemonSet", "multiagents-otel-agent")
    broken["spec"]["template"]["spec"]["container"] = broken["spec"]["template"]["spec"].pop("containers")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[0], strict=True)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("multiagents-otel-agent", {"collector.yaml": "collector.yaml", "agent.yaml": "agent.yaml"}),
        ("multiagents-otel-gateway", {each: each for each in ("collector.yaml", "tail-sampling.yaml", "gateway.yaml")}),
        (
            "multiagents-otel-alertmanager",
            {
                "alertmanager.yaml": "alertmanager/alertmanager.yaml",
                "templates--multiagents.tmpl": "alertmanager/templates/multiagents.tmpl",
            },
        ),
    ],
)
def test_a_config_map_holds_the_very_files(texts: dict[str, str], name: str, files: dict[str, str]) -> None:
    assert one(texts, "ConfigMap", name)["data"] == {key: texts[path] for key, path in files.items()}


@pytest.mark.parametrize(("kind", "name"), [("DaemonSet", "agent"), ("StatefulSet", "gateway")])
def test_the_queue_is_checked_before_the_collector_starts(
    texts: dict[str, str], tmp_path: Path, kind: str, name: str
) -> None:
    spec = one(texts, kind, f"multiagents-otel-{name}")["spec"]["template"]["spec"]
    check = spec["initContainers"][-1]
    maps = {volume["name"]: volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume}
    storage = tmp_path / "storage"
    storage.mkdir()
    places = {}
    for mount in check["volumeMounts"]:
        if mount["name"] in maps:
            for key, text in one(texts, "ConfigMap", maps[mount["name"]])["data"].items():
                (tmp_path / key).write_text(text)
                places[f"{mount['mountPath']}/{key}"] = str(tmp_path / key)
        else:
            places[mount["mountPath"]] = str(storage)
    (storage / "exporter_otlp_http__traces").write_text("no database")
    assert check["command"][0] == "python"
    argv = [sys.executable, *(places[argument] for argument in check["command"][1:])]
    subprocess.run(argv, check=True, timeout=60)
    assert [".damaged-" in path.name for path in storage.iterdir()] == [True]
    [collector] = spec["containers"]
    environment = {each["name"]: each["value"] for each in collector["env"]}
    assert places[environment["COLLECTOR_STORAGE"]] == str(storage)


def test_a_changed_file_makes_new_pods(texts: dict[str, str]) -> None:
    def digests(texts: dict[str, str]) -> dict[str, str]:
        pods = [made for made in objects(texts) if made["kind"] in ("DaemonSet", "StatefulSet")]
        return {
            made["metadata"]["name"]: made["spec"]["template"]["metadata"]["annotations"]["multiagents-otel/files"]
            for made in pods
        }

    before, after = digests(texts), digests(exported(values({"healthy_percent": "50"})))
    assert {name for name in before if before[name] != after[name]} == {"multiagents-otel-gateway"}


def test_the_operator_gets_the_rules_of_prometheus(texts: dict[str, str]) -> None:
    written = {path: text for path, text in texts.items() if path.startswith("prometheus/rules/")}
    rules = [made for made in objects(texts) if made["kind"] == "PrometheusRule"]
    assert [rule["spec"] for rule in rules] == [yaml.safe_load(text) for text in written.values()]
    assert {rule["metadata"]["labels"]["release"] for rule in rules} == {"kube-prometheus-stack"}


def test_prometheus_scrapes_in_a_cluster_what_it_scrapes_on_one_machine(texts: dict[str, str]) -> None:
    jobs = {job["job_name"]: job for job in yaml.safe_load(texts["prometheus/prometheus.yaml"])["scrape_configs"]}
    pods = {
        made["metadata"]["name"]: made["spec"]["template"]
        for made in objects(texts)
        if made["kind"] in ("DaemonSet", "StatefulSet")
    }
    scraped = set()
    for monitor in (made for made in objects(texts) if made["kind"] == "PodMonitor"):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert selected(monitor["spec"]["selector"], pods)
            for template in selected(monitor["spec"]["selector"], pods):
                assert endpoint["port"] in {port["name"] for port in template["spec"]["containers"][0]["ports"]}
            [job] = [relabeling["replacement"] for relabeling in endpoint["relabelings"]]
            dropped = [each["regex"] for each in endpoint["metricRelabelings"] if each["action"] == "drop"]
            assert dropped == [each["regex"] for each in jobs[job].get("metric_relabel_configs", ())]
            scraped.add(job)
    assert scraped | {"prometheus"} == jobs.keys()


def selected(selector: dict[str, Any], pods: dict[str, Any]) -> list[Any]:
    """The pods whose labels fit."""
    wanted = [(key, [value]) for key, value in selector.get("matchLabels", {}).items()]
    wanted += [(each["key"], each["values"]) for each in selector.get("matchExpressions", [])]
    return [pod for pod in pods.values() if all(pod["metadata"]["labels"].get(key) in any_ for key, any_ in wanted)]


def test_each_gateway_has_the_name_that_the_agents_know() -> None:
    texts = exported(values({"gateways": "gw-a:4317, gw-b.telemetry.svc:4317, gw-c:4317"}))
    assert one(texts, "StatefulSet", "multiagents-otel-gateway")["spec"]["replicas"] == 3
    for number, name in enumerate(["gw-a", "gw-b", "gw-c"]):
        spec = one(texts, "Service", name)["spec"]
        assert spec["selector"] == {"statefulset.kubernetes.io/pod-name": f"multiagents-otel-gateway-{number}"}
        assert [port["port"] for port in spec["ports"]] == [4317]


def test_every_pod_is_hardened_and_asked_how_it_is(texts: dict[str, str]) -> None:
    for made in objects(texts):
        if made["kind"] in ("DaemonSet", "StatefulSet"):
            pod = made["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"]
            assert not pod["automountServiceAccountToken"]
            for container in pod["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert container["resources"]["limits"]["memory"]
                assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)


class Node(NamedTuple):
    """What runs of a manifest on one address of the loopback."""

    name: str
    kind: str
    address: str


NODES = (
    Node("multiagents-otel-gateway", "StatefulSet", "127.0.0.2"),
    Node("multiagents-otel-gateway", "StatefulSet", "127.0.0.3"),
    Node("multiagents-otel-agent", "DaemonSet", "127.0.0.1"),
)


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {name: free_port() for name in PORTS}


@pytest.fixture(scope="module")
def backend() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as backend:
        yield backend


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each part with what is in its Secret."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder, "authority")
    for name in {node.name for node in NODES}:
        issued = authority.issue(name, ",".join(f"IP:{node.address}" for node in NODES))
        (folder / name).mkdir()
        for key, path in (("tls.crt", issued.cert), ("tls.key", issued.key), ("ca.crt", authority.cert)):
            (folder / name / key).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module", params=["false", "true"], ids=["plain", "tls"])
def agent(
    request: pytest.FixtureRequest,
    ports: dict[str, int],
    backend: OtlpReceiver,
    certificates: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[int]:
    """An agent and two gateways with the arguments, variables and files of their pods; the port of the agent."""
    backend.clear()
    gateways = ", ".join(f"{node.address}:{ports['otlp_grpc_port']}" for node in NODES if "gateway" in node.name)
    chosen = {**{name: str(port) for name, port in ports.items()}, "gateways": gateways, "gateway_tls": request.param}
    texts = exported(values({**chosen, "decision_wait": "2s", "healthy_percent": "0"}))
    secret = {"BACKEND_EXPORTER": "otlp_http", "BACKEND_ENDPOINT": backend.http_endpoint}
    with ExitStack() as running:
        for node in NODES:
            found = container(texts, node, tmp_path_factory.mktemp(node.name), certificates / node.name)
            url = f"http://{node.address}:{ports['health_port']}/"
            running.enter_context(found.running(url, COLLECTOR_HOST=node.address, **secret))
        yield ports["otlp_http_port"]


def container(texts: dict[str, str], node: Node, folder: Path, certificates: Path) -> Container:
    [found] = one(texts, node.kind, node.name)["spec"]["template"]["spec"]["containers"]
    for name, text in one(texts, "ConfigMap", node.name)["data"].items():
        (folder / name).write_text(text)
    places = {"files": folder, "queue": folder / "queue", "certificates": certificates}
    (folder / "queue").mkdir()
    mounts = {mount["mountPath"]: places[mount["name"]] for mount in found["volumeMounts"]}
    env: dict[str, str | None] = {each["name"]: each["value"] for each in found["env"]}
    return Container("collector", found["args"], env, "", mounts)


def test_agent_and_gateways_deliver_with_the_arguments_of_their_pods(agent: int, backend: OtlpReceiver) -> None:
    ids = list(islice(trace_ids(seed=8), 40))
    client = Client(agent)
    assert client.send("logs", logs(log_record(each, each.hex()) for each in ids)) == 200
    assert client.send("traces", traces(span for each in ids for span in FAILING.stamped(each))) == 200
    client.close()
    backend.wait_for(lambda got: len(got.logs) >= 40 and len(got.spans) >= 80)
    assert sorted(record.body for record in backend.logs) == sorted(each.hex() for each in ids)
    assert Counter(span.trace_id for span in backend.spans) == {each.hex(): 2 for each in ids}


def ask(host: str, port: int, trusting: ssl.SSLContext) -> None:
    with (
        socket.create_connection((host, port)) as plain,
        trusting.wrap_socket(plain, server_hostname=host) as secure,
    ):
        secure.sendall(b"POST /v1/traces HTTP/1.1\r\n\r\n")
        secure.recv(1)  # with TLS 1.3 a client is refused when it has already shaken hands


def test_a_gateway_asks_for_a_certificate_if_tls_is_asked_for(
    request: pytest.FixtureRequest, agent: int, ports: dict[str, int], certificates: Path
) -> None:
    trusting = ssl.create_default_context(cafile=certificates / "multiagents-otel-gateway" / "ca.crt")
    host, port = NODES[0].address, ports["otlp_http_port"]
    speaks_tls = request.node.callspec.params["agent"] == "true"
    refusal = "certificate required" if speaks_tls else "record layer failure|wrong version number"
    with pytest.raises(ssl.SSLError, match=f"(?i){refusal}"):
        ask(host, port, trusting)


def test_both_gateways_have_had_a_share(agent: int, ports: dict[str, int]) -> None:
    for node in NODES[:2]:
        told = fetch(f"http://{node.address}:{ports['collector_metrics_port']}/metrics")
        assert re.search(r"^otelcol_receiver_accepted_spans(_total)?\{.*\} [1-9]", told, re.M)
