"""Who may send, and to whom the Collector sends: certificates and tokens, right ones and wrong ones."""

from __future__ import annotations

import ssl
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc  # type: ignore[import-untyped,unused-ignore]
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from tests.collector.sending import call, post, traces
from tests.support.certificates import Authority, Certificate
from tests.support.collectors import Running, collector
from tests.support.receiver import OtlpReceiver
from tests.support.services import wait_until

TOKEN, OTHER, WRONG = "shop-token-1", "shop-token-2", "shop-token-3"
BOTH_TOKENS = "yaml:service::extensions: [health_check, file_storage, bearertokenauth, bearertokenauth/backend]"
REFUSED = ("UNAVAILABLE", "refused")
"""No connection comes about."""


@dataclass(frozen=True)
class Keys:
    """An authority that all trust, what it has signed, and one that nobody knows."""

    folder: Path
    authority: Authority
    server: Certificate
    client: Certificate
    stranger: Authority

    @property
    def env(self) -> dict[str, str]:
        """For a Collector that is sent to, and for one that sends to it."""
        return {
            "COLLECTOR_CERT_FILE": str(self.server.cert),
            "COLLECTOR_KEY_FILE": str(self.server.key),
            "COLLECTOR_CLIENT_CA_FILE": str(self.authority.cert),
            "COLLECTOR_TOKENS_FILE": str(self.tokens(TOKEN, OTHER)),
            "BACKEND_CA_FILE": str(self.authority.cert),
            "BACKEND_CERT_FILE": str(self.client.cert),
            "BACKEND_KEY_FILE": str(self.client.key),
        }

    def tokens(self, *tokens: str, name: str = "tokens") -> Path:
        path = self.folder / name
        path.write_text("".join(f"{token}\n" for token in tokens))
        return path


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    return Keys(tmp_path, authority, authority.issue("collector"), authority.issue("client"), stranger)


@pytest.fixture
def backend() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as started:
        yield started


@dataclass(frozen=True)
class Client:
    """Sends one span by each protocol, with what it trusts and what it shows."""

    running: Running
    trusts: Path | None = None
    shows: Certificate | None = None
    token: str | None = None

    def send(self, name: str) -> tuple[str, str]:
        """How gRPC and HTTP have answered; "refused" if there was no connection."""
        body = traces({"name": name}).SerializeToString()
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return self._by_grpc(body, headers), self._by_http(body, headers)

    def _by_grpc(self, body: bytes, headers: dict[str, str]) -> str:
        credentials = self.trusts and grpc.ssl_channel_credentials(
            self.trusts.read_bytes(),
            self.shows.key.read_bytes() if self.shows else None,
            self.shows.cert.read_bytes() if self.shows else None,
        )
        return call(self.running.grpc.removeprefix("http://"), body, credentials=credentials, headers=headers)

    def _by_http(self, body: bytes, headers: dict[str, str]) -> str:
        base, context = self.running.http, None
        if self.trusts:
            base, context = base.replace("http:", "https:"), ssl.create_default_context(cafile=str(self.trusts))
            if self.shows:
                context.load_cert_chain(self.shows.cert, self.shows.key)
        try:
            return str(post(self.running, "traces", body, headers, base=base, context=context))
        except (urllib.error.URLError, ConnectionError, ssl.SSLError):
            return "refused"


def arrived(backend: OtlpReceiver, *names: str) -> None:
    """Nothing but two spans of each of these names has: one by each protocol."""
    backend.wait_for(lambda seen: len(seen.spans) >= 2 * len(names))
    assert sorted(span.name for span in backend.spans) == sorted(names * 2)


def test_tls_is_spoken_with_those_who_trust_its_authority(keys: Keys, tmp_path: Path, backend: OtlpReceiver) -> None:
    files = ("collector.yaml", "security/tls.yaml")
    with collector(tmp_path, *files, backend=backend, env=keys.env) as running:
        assert Client(running, keys.stranger.cert).send("wrong authority") == REFUSED
        assert Client(running).send("plain text") == ("UNAVAILABLE", "400")
        assert Client(running, keys.authority.cert).send("right") == ("OK", "200")
        arrived(backend, "right")


def test_mutual_tls_wants_a_certificate_of_the_right_authority(
    keys: Keys, tmp_path: Path, backend: OtlpReceiver
) -> None:
    files = ("collector.yaml", "security/mutual-tls.yaml")
    with collector(tmp_path, *files, backend=backend, env=keys.env) as running:
        assert Client(running, keys.authority.cert).send("no certificate") == REFUSED
        assert Client(running, keys.authority.cert, keys.stranger.issue("client")).send("a stranger's") == REFUSED
        assert Client(running, keys.stranger.cert, keys.client).send("wrong authority") == REFUSED
        assert Client(running).send("plain text") == ("UNAVAILABLE", "400")
        assert Client(running, keys.authority.cert, keys.client).send("right") == ("OK", "200")
        arrived(backend, "right")


def test_a_token_of_the_file_is_wanted_and_changes_without_a_restart(
    keys: Keys, tmp_path: Path, backend: OtlpReceiver
) -> None:
    files = ("collector.yaml", "security/tls.yaml", "security/token.yaml")
    with collector(tmp_path, *files, backend=backend, env=keys.env) as running:

        def send(token: str | None) -> tuple[str, str]:
            return Client(running, keys.authority.cert, token=token).send(str(token))

        assert send(None) == send(WRONG) == send("") == ("UNAUTHENTICATED", "401")
        assert send(TOKEN) == send(OTHER) == ("OK", "200")
        arrived(backend, TOKEN, OTHER)
        keys.tokens(OTHER, WRONG)
        wait_until(lambda: send(TOKEN) == ("UNAUTHENTICATED", "401"), "a token that was taken out is refused")
        backend.clear()
        assert send(OTHER) == send(WRONG) == ("OK", "200")
        arrived(backend, OTHER, WRONG)
        keys.tokens(TOKEN, name="renewed").replace(keys.folder / "tokens")
        wait_until(lambda: send(OTHER) == ("UNAUTHENTICATED", "401"), "a file that has been replaced is read")
        assert send(TOKEN) == ("OK", "200")


def test_a_certificate_and_a_token_can_both_be_wanted(keys: Keys, tmp_path: Path, backend: OtlpReceiver) -> None:
    files = ("collector.yaml", "security/mutual-tls.yaml", "security/token.yaml")
    with collector(tmp_path, *files, backend=backend, env=keys.env) as running:
        assert Client(running, keys.authority.cert, keys.client, WRONG).send("x") == ("UNAUTHENTICATED", "401")
        assert Client(running, keys.authority.cert, None, TOKEN).send("x") == REFUSED
        assert Client(running, keys.authority.cert, keys.client, TOKEN).send("right") == ("OK", "200")
        arrived(backend, "right")


@pytest.mark.parametrize("exporter", [GrpcSpans, HttpSpans])
def test_an_application_is_let_in_by_the_standard_environment_variables(
    keys: Keys, tmp_path: Path, backend: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, exporter: type[SpanExporter]
) -> None:
    files = ("collector.yaml", "security/mutual-tls.yaml", "security/token.yaml")
    with collector(tmp_path, *files, backend=backend, env=keys.env) as running:
        address = running.grpc if exporter is GrpcSpans else running.http
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address.replace("http:", "https:"))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(keys.authority.cert))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", str(keys.client.cert))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(keys.client.key))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer {TOKEN}")
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)  # stronger than what the exporter is told
        monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter()))
        provider.get_tracer("app").start_span("right").end()
        provider.shutdown()
        assert [span.name for span in backend.wait_for(lambda seen: seen.spans)] == ["right"]


def test_a_renewed_certificate_is_served_without_a_restart(keys: Keys, tmp_path: Path) -> None:
    def serial(running: Running) -> str:
        return ssl.get_server_certificate(("127.0.0.1", running.ports["otlp_http_port"]))

    files = ("collector.yaml", "security/tls.yaml")
    with collector(tmp_path, *files, env=keys.env, certificate_reload="1s") as running:
        before = serial(running)
        keys.authority.issue("collector")
        wait_until(lambda: serial(running) != before, "the new certificate")
        assert Client(running, keys.authority.cert).send("x") == ("OK", "200")


@pytest.mark.parametrize("exporter", ["otlp_http", "otlp_grpc"])
def test_a_collector_reaches_a_gateway_that_wants_a_certificate_and_a_token(
    keys: Keys, tmp_path: Path, backend: OtlpReceiver, exporter: str
) -> None:
    wanted = ("collector.yaml", "security/mutual-tls.yaml", "security/token.yaml")
    shown = ("collector.yaml", "security/backend-tls.yaml", "security/backend-token.yaml")
    with collector(tmp_path / "gateway", *wanted, backend=backend, env=keys.env) as gateway:
        address = gateway.http if exporter == "otlp_http" else gateway.grpc
        env = {
            **keys.env,
            "BACKEND_EXPORTER": exporter,
            "BACKEND_ENDPOINT": address.replace("http:", "https:"),
            "BACKEND_TOKEN_FILE": str(keys.tokens(WRONG, name="backend-token")),
        }
        with collector(tmp_path / "agent", *shown, env=env) as agent:
            assert Client(agent).send("lost") == ("OK", "200")
            wait_until(lambda: agent.counted("otelcol_exporter_send_failed_spans") == 2, "a wrong token is counted")
            keys.tokens(TOKEN, name="backend-token")
            wait_until(lambda: Client(agent).send("kept") and backend.spans, "the right token is taken up")
            assert {span.name for span in backend.spans} == {"kept"}
        with collector(tmp_path / "stranger", *shown, env={**env, "BACKEND_CA_FILE": str(keys.stranger.cert)}) as agent:
            assert Client(agent).send("waits") == ("OK", "200")
            wait_until(lambda: "certificate signed by unknown authority" in agent.service.process.output, "a refusal")
            assert {span.name for span in backend.spans} == {"kept"}


def test_tokens_can_be_wanted_and_shown_by_one_collector(keys: Keys, tmp_path: Path, backend: OtlpReceiver) -> None:
    files = ("collector.yaml", "security/token.yaml", "security/backend-token.yaml")
    env = {**keys.env, "BACKEND_TOKEN_FILE": str(keys.tokens(OTHER, name="backend-token"))}
    more = (BOTH_TOKENS.removeprefix("yaml:"),)
    with collector(tmp_path, *files, backend=backend, env=env, more=more) as running:
        assert Client(running, token=WRONG).send("x") == ("UNAUTHENTICATED", "401")
        assert Client(running, token=TOKEN).send("right") == ("OK", "200")
        arrived(backend, "right")
        assert {request.headers["authorization"] for request in backend.requests} == {f"Bearer {OTHER}"}
