"""Rows G1 and G4 of the failure catalogue: what never leaves the process, and what stays readable.

G2 and G3 belong to the LLM instrumentation and to content capture, which this package does not have yet; G3's
places (status text, exception, links, logs, baggage) are searched by G1 all the same, as raw OTLP bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from multiagents.core.exceptions import EventBusException
from opentelemetry import baggage, context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from multiagents_otel import MultiAgentsInstrumentor
from multiagents_otel.processing.redaction import REDACTED, scrub
from tests.bench.scrub import hostile, usual
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_payload, order_system, redis_parts

SECRETS = {
    "password": "password=canary-1",
    "a longer name": "PGPASSWORD=canary-2",
    "JSON": '{"api_key": "canary 3"}',
    "JSON inside JSON": r'{"body": "{\"client_secret\": \"canary 4\"}"}',
    "a dict's repr": "{'refresh_token': 'canary-5'}",
    "a header": "Authorization: Bearer canary-6",
    "a header's basic": "authorization: Basic Y2FuYXJ5Og==",
    "a URL": "cannot reach redis://user:can@ary-8@db.example:6379/0",
    "a URL without a user": "redis://:canary-9@db.example",
    "OpenAI": "key sk-canary10abcdefghijkl refused",
    "GitHub": "ghp_canary11abcdefghijklmnopqr",
    "Slack": "xoxb-canary12-abcdef",
    "AWS": "AKIACANARY13ABCDEFGH",
    "Google": "AIzacanary14abcdefghijklmnopqrstuvwxyzabc",
    "Stripe": "sk_live_canary15abcdefghij",
    "JWT": "eyJcanary16.eyJcanary16abc.canary16",
    "PEM": "-----BEGIN RSA PRIVATE KEY-----\ncanary17\n-----END RSA PRIVATE KEY-----",
    "a card": "card 4242 4242 4242 4242 declined",
    "an unclosed quote": 'secret="canary 19',
}
CANARIES = ("canary", "CANARY", "can@ary", "ary-8", "Y2FuYXJ5", "4242 4242")

READABLE = (
    "author: ann, authority=local, coauthor=bob",
    "secretary: eve; passenger=tom; compass=north; bypass=true",
    "max_tokens=100, token_count: 7, tokenizer=bpe, tokens: 12",
    "basic validation failed: Basic understanding of the basic requirements",
    "the bearer of this ring; Bearer certificates",
    "order 4711 of 2024-05-01T10:00:00 took 1714557600000 ms",
    "9c5b94b1-35ad-49bb-b118-8e8fc24abf80 was declined with 402",
    "see https://shop.example/orders?page=2&sort=asc#top and mailto ann@shop.example",
    "keyboard=qwertz monkey=1 primary_key=id foreign_key=2 session=open",
    "class Session(Base): assname = lessname = 1",
    "risk-assessment-for-the-quarter and task-force-of-many-people",
    "KeyError: 'password_hash'; secret_santa: ann; cookies: accepted",
)


@pytest.mark.parametrize("text", READABLE)
def test_G4_look_alikes_of_secrets_stay_readable(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize("kind", SECRETS)
def test_G1_a_secret_in_a_text_is_replaced_and_the_rest_stays(kind: str) -> None:
    scrubbed = scrub(f"before {SECRETS[kind]}\n after")
    assert not [canary for canary in CANARIES if canary in scrubbed], scrubbed
    assert REDACTED in scrubbed
    assert scrubbed.startswith("before ")


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_G1_a_secret_that_the_cut_goes_through_is_replaced(at: int) -> None:
    scrubbed = scrub("x" * (64 * 1024 - at - 1) + " redis://user:canary-of-some-length@db.example and more")
    assert "can" not in scrubbed
    assert len(scrubbed) <= 64 * 1024


def test_G4_no_text_is_slow_to_scrub() -> None:
    """Quadratic rules took 20 s for some of these; nothing here depends on how fast the machine is."""
    started = time.process_time()
    scrub(usual())
    unit = max(time.process_time() - started, 0.005)
    slow = {}
    for repeated, text in hostile().items():
        started = time.process_time()
        scrub(text)
        if (took := time.process_time() - started) > 40 * unit:
            slow[repeated] = took / unit
    assert not slow


class Chained(Exception):
    """Raised from another exception that also holds secrets; its name can be sent over the wire."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        cause = RuntimeError(message)
        cause.__cause__ = LookupError(message)
        self.__cause__ = cause
        self.add_note(message) if hasattr(self, "add_note") else None


@contextmanager
def exporting(receiver: OtlpReceiver, **options: Any) -> Iterator[None]:
    """Instrumented, with the real exporters of the three signals."""
    endpoint = receiver.http_endpoint
    spans = TracerProvider(shutdown_on_exit=False)
    spans.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{endpoint}/v1/metrics"), 1e9)
    meters = MeterProvider([reader], shutdown_on_exit=False)
    logs = LoggerProvider(shutdown_on_exit=False)
    logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(f"{endpoint}/v1/logs")))
    instrumentor = MultiAgentsInstrumentor()
    instrumentor.instrument(tracer_provider=spans, meter_provider=meters, logger_provider=logs, **options)
    try:
        yield
    finally:
        meters.force_flush()
        instrumentor.uninstrument()
        for provider in (spans, meters, logs):
            provider.shutdown()


@pytest.mark.parametrize("detailed_timing", [True, False])
async def test_G1_no_canary_is_in_the_exported_bytes_of_any_signal(
    detailed_timing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = "\n".join(SECRETS.values())
    payload = order_payload(
        fail_at="charge_payment",
        error=Chained,
        message=hidden,
        note="plain-canary",
        nested={"secret": ["plain-canary"]},
    )
    password = "canary-of-the-server"
    token = context.attach(baggage.set_baggage("user", "plain-canary"))
    try:
        with OtlpReceiver() as receiver, RedisServer(password=password) as redis:
            with exporting(receiver, detailed_timing=detailed_timing):
                bus, store = redis_parts(f"redis://:{password}@127.0.0.1:{redis.port}")
                async with order_system(bus, store, timeout=5) as system:
                    await system.wait_ended(await system.run(payload))
                    await system.wait_ended(await system.run(order_payload(note="plain-canary")))
                    await system.manager.stop()
                    monkeypatch.setattr(bus.redis_client, "publish", _unreachable)
                    with pytest.raises(EventBusException, match="canary"):
                        await bus.publish("user.event", {"payload": {"note": "plain-canary"}})
            spans = {span.name.partition(".")[0] for span in receiver.spans}
            errors = [event for span in receiver.spans for event in span.events]
            sent = receiver.raw_bytes
            signals = {request.signal for request in receiver.requests}
    finally:
        context.detach(token)
    assert signals == {"traces", "metrics", "logs"}
    assert {"workflow", "step", "worker"} <= spans
    assert any("Chained" in event.attributes["exception.type"] for event in errors)
    assert "LookupError" in errors[0].attributes["exception.stacktrace"], "the chain is told, and scrubbed"
    found = {canary: sent[max(0, at - 60) : at + 60] for canary in CANARIES if (at := sent.find(canary.encode())) >= 0}
    assert not found


async def _unreachable(*_args: Any) -> None:
    raise ConnectionError("cannot reach redis://user:canary-20@db.example, token=canary-21")
