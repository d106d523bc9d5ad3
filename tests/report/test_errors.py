"""What the command says when there is nothing to report, or nobody to ask."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shown import Run
from tests.report.answering import answering
from tests.report.conftest import END, HOUR, Told, prometheus_with
from tests.report.history import History
from tests.support.ports import free_port
from tests.support.services import Prometheus

EMPTY = json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}})
PREFIX = "multiagents-otel report: "


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """With one service, until two days before the end."""
    history = History((END - 50 * HOUR, END))
    process = history.process("shop", "a", END - 50 * HOUR, END - 48 * HOUR)
    process.workflow(END - 49 * HOUR, "order", "completed", 0.3, {"charge": 0.2})
    with prometheus_with(history, tmp_path_factory.mktemp("errors")) as running:
        yield running


def complaint(run: Run, *options: str) -> str:
    """What is said, where the command fails and prints nothing."""
    shown = run("report", *options)
    assert (shown.status, shown.out) == (1, "")
    assert shown.err.startswith(PREFIX)
    assert shown.err.count("\n") == 1
    return shown.err.removeprefix(PREFIX).strip()


def test_nobody_listens(run: Run) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert complaint(run, "--prometheus", url) == (
        f"nothing listens at {url}: is Prometheus running there? (--prometheus URL)"
    )


def test_no_such_host(run: Run) -> None:
    said = complaint(run, "--prometheus", "http://prometheus.invalid:9090")
    assert said.startswith("there is no host prometheus.invalid: ")


@pytest.mark.parametrize(
    "body",
    [
        "<html>It works!</html>",
        "{}",
        "[]",
        '{"data": 1}',
        '{"data": {"result": 5}}',
        '{"data": {"result": [1]}}',
        '{"data": {"result": [{"metric": {}, "value": [0, "many"], "values": [[1e300, "1"]]}]}}',
        "[" * 100_000,
        "\x00",
    ],
)
def test_something_else_answers(run: Run, body: str) -> None:
    with answering(200, body) as server:
        assert complaint(run, "--prometheus", server.url) == (
            f"what answers at {server.url} is not Prometheus's API. If Prometheus stands behind a path, give that too: "
            "http://host:9090/prometheus"
        )


def test_the_api_is_not_found(run: Run) -> None:
    with answering(404, "404 page not found") as server:
        said = complaint(run, "--prometheus", server.url)
    assert said.startswith(f"what answers at {server.url} is not Prometheus's API.")
    assert said.endswith("http://host:9090/prometheus (it answers 404 Not Found)")


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_are_wanted(run: Run, status: int) -> None:
    with answering(status, "") as server:
        said = complaint(run, "--prometheus", server.url)
    assert said.startswith(f"{server.url} answers {status} ")
    assert "Set PROMETHEUS_BEARER_TOKEN, or give --header 'Authorization: ...'" in said


def test_a_query_is_refused(run: Run) -> None:
    refused = {"status": "error", "errorType": "bad_data", "error": "too much\x1b[31m to ask"}
    with answering(422, json.dumps(refused)) as server:
        assert complaint(run, "--prometheus", server.url) == (
            f"{server.url} refuses a query (422, bad_data): too much\\x1b[31m to ask"
        )


def test_prometheus_gives_up_on_a_query(run: Run) -> None:
    with answering(503, json.dumps({"status": "error", "errorType": "timeout", "error": "query timed out"})) as server:
        assert complaint(run, "--prometheus", server.url, "--timeout", "7") == (
            f"{server.url} has not answered a query within 7 s: "
            "ask for less (--since, --service) or wait longer (--timeout)"
        )


def test_no_answer_comes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiagents_otel.tools.report.prometheus.GRACE", 0.0)
    with answering(200, "", late=True) as server:
        said = complaint(run, "--prometheus", server.url, "--timeout", "0.3")
        assert said.startswith(f"{server.url} has not answered a query within 0.3 s: ")
        assert server.queries[0]["timeout"] == ["0.3s"], "Prometheus is told, so that it need not go on"


@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_that_never_ends(run: Run, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr("multiagents_otel.tools.report.prometheus.GRACE", 0.0)
    with answering(status, "", drips=True) as server:
        said = complaint(run, "--prometheus", server.url, "--timeout", "0.3")
    assert said.startswith(server.url if status == 200 else f"what answers at {server.url} is not Prometheus's API.")
    assert status != 200 or said.startswith(f"{server.url} has not answered a query within 0.3 s: ")


def test_the_certificate_is_not_trusted(run: Run, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *subject, "-days", "2"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with answering(200, EMPTY, tls=context) as server:
        said = complaint(run, "--prometheus", server.url)
    assert said == (
        f"{server.url} has a certificate that is not trusted here (self-signed certificate): "
        "SSL_CERT_FILE may name a file with its authority's"
    )


def test_there_never_was_anything(run: Run) -> None:
    with answering(200, EMPTY) as server:
        said = complaint(run, "--prometheus", server.url, "--until", "2026-11-24T12:00", "--since", "1h")
        assert said == (
            f"{server.url} has no multiagents series from 2026-11-24 11:00 to 2026-11-24 12:00 UTC. Applications send "
            "their metrics to the Collector (OTEL_EXPORTER_OTLP_ENDPOINT), and Prometheus scrapes the Collector "
            f"(port 9464): `multiagents-otel doctor` looks at the first part, {server.url}/targets shows the second"
        )


def test_there_was_something_earlier(run: Run, prometheus: Prometheus) -> None:
    said = complaint(run, "--prometheus", prometheus.url, "--until", "2026-11-24T12:00")
    assert said.startswith(
        f"{prometheus.url} has no multiagents series from 2026-11-23 12:00 to 2026-11-24 12:00 UTC; "
        "the last ones are from about 2026-11-22 "
    )


def test_there_is_no_such_service(run: Run, prometheus: Prometheus) -> None:
    options = ("--prometheus", prometheus.url, "--until", "2026-11-24T12:00", "--since", "3d")
    assert complaint(run, *options, "--service", 'sh.p"\\', "--service", "x") == (
        f'no service sh.p"\\ or x in {prometheus.url} from 2026-11-22 10:00 to 2026-11-24 12:00 UTC; there are: shop'
    )


def test_the_page_can_not_be_written(run: Run, prometheus: Prometheus, tmp_path: Path) -> None:
    options = ("--prometheus", prometheus.url, "--until", "2026-11-24T12:00", "--since", "3d", "-o")
    missing = tmp_path / "missing" / "report.html"
    assert complaint(run, *options, str(missing)) == f"{missing} can't be written: No such file or directory"
    assert complaint(run, *options, str(tmp_path)) == f"{tmp_path} can't be written: Is a directory"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--since", "yesterday"), "argument --since: 'yesterday': not a duration such as 90m, 24h, 7d or 1d12h"),
        (("--since", ""), "argument --since: '': not a duration such as 90m, 24h, 7d or 1d12h"),
        (("--since", "24"), "argument --since: '24': not a duration such as 90m, 24h, 7d or 1d12h"),
        (("--since", "59s"), "argument --since: '59s': must be from 1m to 366d"),
        (("--since", "99w"), "argument --since: '99w': must be from 1m to 366d"),
        (
            ("--until", "noon"),
            "argument --until: 'noon': not a time such as 2026-11-24T08:00 (UTC) or 2026-11-24T09:00+01:00",
        ),
        (("--until", "0001-01-01"), "argument --until: '0001-01-01': must be from 1970 to 9998"),
        (("--until", "9999-12-31"), "argument --until: '9999-12-31': must be from 1970 to 9998"),
        (("--objective", "101"), "argument --objective: '101': must be more than 0, and 100 at most"),
        (("--objective", "nan"), "argument --objective: 'nan': must be more than 0, and 100 at most"),
        (("--timeout", "soon"), "argument --timeout: 'soon': not a number"),
        (("--width", "59"), "argument --width: '59': must be a whole number, 60 or more"),
        (("--width", "inf"), "argument --width: 'inf': must be a whole number, 60 or more"),
        (("--header", "Authorization secret"), "argument --header: not a header such as 'X-Scope-OrgID: team-a'"),
        (("--header", "A: b\r\nC: d"), "argument --header: not a header such as 'X-Scope-OrgID: team-a'"),
        (("--prometheus", "localhost:9090"), "--prometheus localhost:9090: not a URL such as http://localhost:9090"),
        (
            ("--prometheus", "file:///etc/passwd"),
            "--prometheus file:///etc/passwd: not a URL such as http://localhost:9090",
        ),
        (("--prometheus", "http://[::1"), "--prometheus http://[::1: not a URL such as http://localhost:9090"),
        (("--prometheus", "http://h:99999"), "--prometheus http://h:99999: not a URL such as http://localhost:9090"),
        (("--prometheus", "http://h\n:1"), "--prometheus http://h\\n:1: not a URL such as http://localhost:9090"),
    ],
)
def test_wrong_usage_is_told(run: Run, options: tuple[str, ...], said: str) -> None:
    shown = run("report", *options)
    assert (shown.status, shown.out) == (2, "")
    assert shown.err.splitlines()[-1].endswith(said)


def test_the_token_and_the_headers_go_with_each_request(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_BEARER_TOKEN", "t0ken\n")
    with answering(200, EMPTY) as server:
        complaint(run, "--prometheus", server.url, "--header", "X-Scope-OrgID: team-a")
        assert len(server.headers) > 1
        assert {(each["authorization"], each["x-scope-orgid"]) for each in server.headers} == {
            ("Bearer t0ken", "team-a")
        }


def test_a_user_and_a_password_may_be_in_the_url_and_are_never_shown(run: Run) -> None:
    with answering(401, "") as server:
        said = complaint(run, "--prometheus", server.url.replace("//", "//me:p%40ss@") + "/")
        assert said.startswith(f"{server.url} answers 401 ")
        assert server.headers[0]["authorization"] == "Basic bWU6cEBzcw=="


def test_credentials_do_not_follow_a_redirect(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_BEARER_TOKEN", "t0ken")
    with answering(200, EMPTY) as other, answering(302, "", f"{other.url}/api/v1/query") as first:
        complaint(run, "--prometheus", first.url)
        assert first.headers[0]["authorization"] == "Bearer t0ken"
        assert "authorization" not in other.headers[0]


def test_loopback_is_asked_without_a_proxy(run: Run, prometheus: Prometheus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    shown = run("report", "--prometheus", prometheus.url, "--until", "2026-11-22T12:00", "--since", "2h")
    assert (shown.status, shown.err) == (0, "")


def test_what_prometheus_warns_of_is_told(run: Run) -> None:
    """A cluster in front of several, one of which did not answer."""
    sample = {
        "metric": {"job": "shop", "__name__": "up", "le": "+Inf"},
        "value": [END, "1"],
        "values": [[END - 7200, "1"]],
    }
    answer = {"status": "success", "warnings": ["one store did not answer"], "data": {"result": [sample]}}
    with answering(200, json.dumps(answer)) as server:
        shown = run("report", "--prometheus", server.url, "--until", "2026-11-24T12:00", "--since", "1h")
    assert (shown.status, shown.err) == (0, "")
    assert "one store did not answer" in shown.out.splitlines()


def test_a_path_before_the_api_is_kept(run: Run, told: Told) -> None:
    with answering(200, EMPTY) as server:
        said = complaint(run, "--prometheus", f"{server.url}/team a/prometheus/")
    assert said.startswith(f"{server.url}/team%20a/prometheus has no multiagents series")
