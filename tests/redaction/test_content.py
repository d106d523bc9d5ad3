"""Payloads and results as attributes: only where they are asked for, cut, without secrets, and nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from tests.contract.observed import Observed
from tests.support.sagas import order_payload, order_system, order_workers

PAYLOAD = "multiagents.event.payload"
RESULT = "multiagents.event.result"


@pytest.fixture
def observed() -> Iterator[Observed]:
    made = Observed()
    yield made
    made.close()


async def run(observed: Observed, payload: dict[str, Any], **options: Any) -> None:
    observed.instrument(**options)
    async with order_system(monitors=False) as system:
        await system.wait_ended(await system.run(payload))
        await system.bus.publish("order.noted", {"payload": {"note": "n", "token": "canary"}})
        await system.bus.publish("order.bare", {"note": "n", "token": "canary"})
        await system.bus.drain()


async def test_no_content_is_captured_unless_it_is_asked_for(observed: Observed) -> None:
    await run(observed, order_payload(note="canary"))
    assert not [span for span in observed.spans if {PAYLOAD, RESULT} & (span.attributes or {}).keys()]


@pytest.mark.parametrize("detailed_timing", [True, False])
async def test_a_worker_s_span_has_its_payload_and_its_result_without_secrets(
    observed: Observed, detailed_timing: bool
) -> None:
    payload = order_payload(note="n", login={"password": "canary"}, body='{"api_key": "canary"}')
    await run(observed, payload, capture_content=True, detailed_timing=detailed_timing)
    attributes = observed.one("worker.charge_payment").attributes
    told = json.loads(attributes[PAYLOAD])
    assert (told["note"], told["login"]) == ("n", {"password": "***REDACTED***"})
    assert json.loads(told["body"]) == {"api_key": "***REDACTED***"}
    assert json.loads(attributes[RESULT]) == {"payment_id": "pay-1"}
    assert not [span for span in observed.spans if "canary" in span.to_json()]


async def test_what_no_worker_handles_has_its_content_on_its_send_span(observed: Observed) -> None:
    await run(observed, order_payload(), capture_content=True)
    sent: dict[str, dict[str, Any]] = {
        span.name: dict(span.attributes or {}) for span in observed.spans if span.name.startswith("send ")
    }
    assert json.loads(sent["send order.noted"][PAYLOAD]) == {"note": "n", "token": "***REDACTED***"}
    assert json.loads(sent["send order.bare"][PAYLOAD]) == {"note": "n", "token": "***REDACTED***"}
    assert [name for name, attributes in sent.items() if PAYLOAD in attributes] == [
        "send order.noted",
        "send order.bare",
    ]


async def test_content_is_cut(observed: Observed) -> None:
    payload = order_payload(note="n" * 100_000, lines=[{"sku": n} for n in range(10_000)])
    await run(observed, payload, capture_content=True, max_content_length=500)
    told = observed.one("worker.charge_payment").attributes[PAYLOAD]
    assert len(told) <= 500
    assert "TRUNCATED" in told


async def test_the_worker_gets_and_gives_what_it_would_without_us(observed: Observed) -> None:
    seen: list[tuple[str, Any]] = []
    observed.instrument(capture_content=True)
    payload = order_payload(login={"password": "canary"})
    workers = order_workers(probe=lambda name, given: seen.append((name, given)))
    async with order_system(monitors=False, workers=workers) as system:
        await system.wait_ended(await system.run(payload))
    assert [name for name, _ in seen] == ["validate_order", "charge_payment", "ship_order"]
    assert seen[0][1]["login"] == {"password": "canary"}


async def test_nothing_is_built_for_spans_that_do_not_record(monkeypatch: pytest.MonkeyPatch) -> None:
    from multiagents_otel.processing.redaction import Redactor

    built: list[Any] = []
    monkeypatch.setattr(Redactor, "content", lambda _self, *args: built.append(args) or "")
    unsampled = Observed(sampler=ALWAYS_OFF)
    await run(unsampled, order_payload(), capture_content=True)
    unsampled.close()
    assert built == []
