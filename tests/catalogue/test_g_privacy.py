"""Rows G1 to G4 of the failure catalogue: what never leaves the process, and what stays readable.

Here with providers of the application's own; ``tests/redaction`` searches what our own pipeline exports.
"""

from __future__ import annotations

import json
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
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from multiagents_otel import MultiAgentsInstrumentor, RedactingSpanExporter
from multiagents_otel.processing.redaction import REDACTED, scrub
from tests.bench.scrub import hostile, usual
from tests.redaction.corpus import CANARIES, READABLE, SECRETS
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_payload, order_system, redis_parts


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


REDACTED_PLACES = {"status", "events.exception.exception.message", "events.exception.exception.stacktrace"}


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
            told = [span.attributes.get("multiagents.redacted") for span in receiver.spans if span.events]
            sent = receiver.raw_bytes
            signals = {request.signal for request in receiver.requests}
    finally:
        context.detach(token)
    assert signals == {"traces", "metrics", "logs"}
    assert {"workflow", "step", "worker"} <= spans
    assert any("Chained" in event.attributes["exception.type"] for event in errors)
    assert "LookupError" in errors[0].attributes["exception.stacktrace"], "the chain is told, and scrubbed"
    assert told
    assert all(set(places or ()) == REDACTED_PLACES for places in told)
    found = {canary: sent[max(0, at - 60) : at + 60] for canary in CANARIES if (at := sent.find(canary.encode())) >= 0}
    assert not found


class Samples(Sampler):
    """Samples everything, and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        self.seen.append((args, kwargs))
        return SamplingResult(Decision.RECORD_AND_SAMPLE, kwargs.get("attributes", args[4] if len(args) > 4 else None))

    def get_description(self) -> str:
        return "Samples"


def test_G2_keys_among_the_parameters_of_a_call_are_replaced_whatever_library_tells_them() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(RedactingSpanExporter(exporter)))
    parameters = {"model": "m", "max_tokens": 100, "api_key": "canary", "extra_headers": {"x-api-key": "canary"}}
    provider.get_tracer("openinference.instrumentation.dspy").start_span(
        "LM.__call__",
        attributes={"llm.invocation_parameters": json.dumps(parameters), "llm.token_count.prompt": 12},
    ).end()
    (span,) = exporter.get_finished_spans()
    assert dict(span.attributes or {}) == {
        "llm.invocation_parameters": json.dumps(
            {**parameters, "api_key": REDACTED, "extra_headers": {"x-api-key": REDACTED}}
        ),
        "llm.token_count.prompt": 12,
        "multiagents.redacted": ("llm.invocation_parameters",),
    }


async def test_G3_neither_samplers_nor_processors_see_a_canary_with_content_captured() -> None:
    sampler, exporter = Samples(), InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    MultiAgentsInstrumentor().instrument(tracer_provider=provider, capture_content=True)
    hidden = "\n".join(SECRETS.values())
    payload = order_payload(
        fail_at="charge_payment", error=Chained, message=hidden, nested={"secret": ["canary"], "texts": [hidden]}
    )
    async with order_system(timeout=5) as system:
        await system.wait_ended(await system.run(payload))
    told = [span.to_json() for span in exporter.get_finished_spans()]
    assert any("multiagents.event.payload" in each for each in told)
    assert not [each for each in [*told, repr(sampler.seen)] if any(canary in each for canary in CANARIES)]
    provider.shutdown()


async def _unreachable(*_args: Any) -> None:
    raise ConnectionError("cannot reach redis://user:canary-20@db.example, token=canary-21")
