"""The whole of it: a process with the pipeline of ``auto_instrument()``, real Redis, real OTLP, canaries everywhere.

Whoever made a span, a log record or a measurement: no canary is in the bytes that have left.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.redaction.corpus import CANARIES, NESTED, SECRETS
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer

PROGRAM = "from tests.redaction.test_everything_exported import program; program()"
HIDDEN = "\n".join(SECRETS.values())
PASSWORD = "canary-of-the-server"


class Declined(Exception):
    """Raised from another exception that holds secrets as well; its name can be sent over the wire."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        cause = RuntimeError(message)
        cause.__cause__ = LookupError(message)
        self.__cause__ = cause


def program() -> None:
    """An application that is careless with its secrets."""
    from multiagents_otel import auto_instrument
    from multiagents_otel.processing.guard import Guard

    Guard.strict = True
    auto_instrument(**json.loads(os.environ["OPTIONS"]))
    asyncio.run(_careless())
    _own_telemetry()


async def _careless() -> None:
    import structlog

    from tests.support.sagas import order_payload, order_system, redis_parts

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    from opentelemetry import baggage, context

    token = context.attach(baggage.set_baggage("session_token", "plain-canary"))
    bus, store = redis_parts(os.environ["REDIS_URL"])
    payload = order_payload(note="plain-canary", nested={"secret": ["plain-canary"]})
    async with order_system(bus, store, timeout=5) as system:
        await system.wait_ended(await system.run(payload))
        failing = order_payload(fail_at="charge_payment", error=Declined, message=HIDDEN, note="plain-canary")
        await system.wait_ended(await system.run(failing))
    context.detach(token)


def _own_telemetry() -> None:
    from opentelemetry import metrics, trace
    from opentelemetry._logs import SeverityNumber, get_logger
    from opentelemetry.trace import Link, Status, StatusCode

    tracer = trace.get_tracer("app")
    for name, text in {**SECRETS, **{kind: str(value) for kind, value in NESTED.items()}}.items():
        link = Link(trace.get_current_span().get_span_context(), {"link": text})
        with tracer.start_as_current_span(text, attributes={"text": text, "list": [text, "x"]}, links=[link]) as span:
            span.add_event(text, {"text": text, "password": "plain-canary"})
            span.set_attribute("db.password", "plain-canary")
            try:
                raise Declined(text)
            except Declined as error:
                span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, text))
        metrics.get_meter("app").create_counter("app.calls").add(1, {"url": text, "api_key": "plain-canary"})
        metrics.get_meter("app").create_histogram("app.times").record(1, {"kind": name, "text": text})
        get_logger("app").emit(
            body=text, severity_number=SeverityNumber.ERROR, attributes={"text": text, "token": "plain-canary"}
        )
    logger: Any = get_logger("app")
    for value in NESTED.values():
        # Values that the log model has no word for are the SDK's to print; what it takes is tried here.
        if isinstance(value, dict) and all(isinstance(key, str) for key in value) and "error" not in value:
            logger.emit(body=_sendable(value), attributes=_sendable(value))


def _sendable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _sendable(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_sendable(inside) for inside in value]
    return value


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer(password=PASSWORD) as server:
        yield server


def run(redis: RedisServer, receiver: OtlpReceiver, env: dict[str, str] | None = None, **options: Any) -> str:
    environment = {
        **receiver.environment("http/protobuf"),
        "REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{redis.port}",
        "OPTIONS": json.dumps(options),
        "OTEL_METRICS_EXEMPLAR_FILTER": "always_on",
        **(env or {}),
    }
    with Process([sys.executable, "-c", PROGRAM, "--password", "plain-canary"], env=environment) as process:
        return process.wait_ok()


def found(sent: bytes) -> list[bytes]:
    """The canaries among what was sent, with what stands around them."""
    wanted = re.compile(b"|".join(re.escape(canary.encode()) for canary in CANARIES))
    return sorted({sent[max(0, at.start() - 60) : at.end() + 20] for at in wanted.finditer(sent)})


@pytest.mark.parametrize("options", [{}, {"capture_content": True, "detailed_timing": False}], ids=str)
def test_no_canary_is_in_the_exported_bytes_of_any_signal(
    redis: RedisServer, receiver: OtlpReceiver, options: dict[str, Any]
) -> None:
    if options.get("capture_content"):
        options = {**options, "redact_keys": "note"}  # "plain-canary" is of no shape that could be known
    run(redis, receiver, {"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "process"}, **options)
    assert {request.signal for request in receiver.requests} == {"traces", "metrics", "logs"}
    assert {"workflow", "step", "worker"} <= {span.name.partition(".")[0] for span in receiver.spans}
    assert found(receiver.raw_bytes) == []
    (own,) = [span for span in receiver.spans if span.attributes.get("text") == "PGPASSWORD=***REDACTED***"]
    assert set(own.attributes["multiagents.redacted"]) >= {
        "name",
        "status",
        "text",
        "list",
        "db.password",
        "links.link",
    }
    failed = next(span for span in receiver.spans if span.name == "worker.charge_payment" and span.events)
    assert failed.events[0].attributes["exception.type"].endswith("Declined")
    assert "LookupError" in failed.events[0].attributes["exception.stacktrace"], "the chain is told, and scrubbed"
    assert set(failed.attributes["multiagents.redacted"]) >= {
        "status",
        "events.exception.exception.message",
        "events.exception.exception.stacktrace",
    }


def test_the_canaries_are_there_where_redaction_is_off(redis: RedisServer, receiver: OtlpReceiver) -> None:
    run(redis, receiver, redaction=False)
    assert [canary for canary in CANARIES if canary.encode() not in receiver.raw_bytes] == []


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as started:
        yield started


CONFIG = """
file_format: "1.0"
tracer_provider: {{processors: [{{batch: {{exporter: {{otlp_http: {{endpoint: "{0}/v1/traces"}}}}}}}}]}}
meter_provider: {{readers: [{{periodic: {{exporter: {{otlp_http: {{endpoint: "{0}/v1/metrics"}}}}}}}}]}}
logger_provider: {{processors: [{{batch: {{exporter: {{otlp_http: {{endpoint: "{0}/v1/logs"}}}}}}}}]}}
"""


@pytest.mark.skipif(
    find_spec("opentelemetry.configuration") is None, reason="opentelemetry-configuration is not installed"
)
def test_a_pipeline_that_a_configuration_file_builds_is_scrubbed_too(
    redis: RedisServer, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    path = tmp_path / "otel.yaml"
    path.write_text(CONFIG.format(receiver.http_endpoint))
    run(redis, receiver, {"OTEL_CONFIG_FILE": str(path)})
    assert {request.signal for request in receiver.requests} == {"traces", "metrics", "logs"}
    assert found(receiver.raw_bytes) == []
