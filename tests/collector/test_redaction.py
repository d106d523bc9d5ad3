"""Secrets that reach the Collector from whoever: none leaves it, and what is no secret stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from multiagents_otel import semconv
from tests.collector.sending import attributes, logs, metrics, post, traces, value
from tests.redaction.corpus import CANARIES, NESTED, READABLE, SECRETS
from tests.redaction.test_values import LOOK_ALIKES, NAMES
from tests.support.collectors import Running, collector
from tests.support.receiver import OtlpReceiver

MASK: Final = "****"
RESOURCE: Final = {"service.name": "shop", "service.instance.id": "1", "deploy.password": "plain-canary"}

# What our SDK tells apart by looking around and by check digits, and a Collector can't.
NOT_SEEN: Final = "a card in a row"
NOT_SEEN_IN_BODIES: Final = {"headers", "names and values", "a command line", "a key"}  # each text is looked at alone
MASKED_TOO: Final = ("password=None", "def login(")
LOOK_LIKE_TOKENS: Final = (
    "MSG.orders.created.event.v1.handled.by.shop",
    "task-9c5b94b135ad49bbb1188e8fc24abf80, risk-20240501-000042-charge",
    "http://pypi-server-internal-mirror/simple, npm_config_registry_of_the_shop",
)


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as started:
        yield started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, receiver: OtlpReceiver) -> Iterator[Running]:
    with collector(tmp_path_factory.mktemp("collector"), backend=receiver) as started:
        yield started


@pytest.fixture(autouse=True)
def empty(receiver: OtlpReceiver) -> None:
    receiver.clear()


def found(receiver: OtlpReceiver) -> list[str]:
    leaked = receiver.raw_bytes.decode("utf-8", "replace")
    return [canary for canary in (*CANARIES, "plain-canary") if canary in leaked]


def careless(text: str) -> dict[str, Any]:
    return {"text": text, "list": [text, "x"], "map": {"inside": {"deep": text}, "n": 1}, "db.password": "plain-canary"}


def test_no_secret_of_a_span_leaves(running: Running, receiver: OtlpReceiver) -> None:
    texts = [text for kind, text in SECRETS.items() if kind != NOT_SEEN]
    spans = [
        {
            "name": text,
            "attributes": attributes(careless(text)),
            "status": {"code": "STATUS_CODE_ERROR", "message": text},
            "events": [{"name": text, "attributes": attributes(careless(text))}],
        }
        for text in texts
    ]
    assert post(running, "traces", traces(*spans, resource=RESOURCE).SerializeToString()) == 200
    receiver.wait_for(lambda seen: len(seen.spans) == len(texts))
    assert found(receiver) == []
    for text, span in zip(texts, sorted(receiver.spans, key=lambda span: span.span_id), strict=True):
        places = (span.name, span.status_description, span.attributes["text"], span.events[0].name)
        assert all(MASK in place for place in places), text
        assert span.events[0].attributes.keys() == span.attributes.keys() == careless(text).keys()
        assert span.resource == {**RESOURCE, "deploy.password": MASK}


def test_no_secret_of_a_log_record_leaves(running: Running, receiver: OtlpReceiver) -> None:
    texts = [text for kind, text in SECRETS.items() if kind != NOT_SEEN]
    bodies: list[Any] = [*texts, *(careless(text) for text in texts)]
    records = [
        {"body": value(body), "attributes": attributes(careless(text)), "event_name": text}
        for body, text in zip(bodies, texts * 2, strict=True)
    ]
    assert post(running, "logs", logs(*records, resource=RESOURCE).SerializeToString()) == 200
    receiver.wait_for(lambda seen: len(seen.logs) == len(records))
    assert found(receiver) == []
    plain, structured = receiver.logs[: len(texts)], receiver.logs[len(texts) :]
    for text, record, nested in zip(texts, plain, structured, strict=True):
        places = (record.body, record.event_name, record.attributes["text"], nested.body["map"]["inside"]["deep"])
        assert all(MASK in place for place in places), text
        assert (nested.body["map"]["n"], nested.body["db.password"]) == (1, MASK)


def test_no_secret_of_a_metric_leaves_by_either_door(running: Running, receiver: OtlpReceiver) -> None:
    texts = [text for kind, text in SECRETS.items() if kind != NOT_SEEN]
    points = [
        {"attributes": attributes({"text": text, "n": str(number), "api_key": "plain-canary"})}
        for number, text in enumerate(texts)
    ]
    assert post(running, "metrics", metrics(*points, resource=RESOURCE).SerializeToString()) == 200
    receiver.wait_for(lambda seen: len(seen.metrics) == len(texts))
    assert found(receiver) == []
    scraped = running.metrics()
    assert scraped.count("app_gauge{") == len(texts)
    assert [canary for canary in (*CANARIES, "plain-canary") if canary in scraped] == []


def plain(of: Any) -> Any:
    """A value as OTLP can hold it."""
    if isinstance(of, dict):
        return {plain(key): plain(each) for key, each in of.items()}
    if isinstance(of, list | tuple | set):
        return [plain(each) for each in of]
    if isinstance(of, bytes):
        return of.decode("latin-1")
    return of if isinstance(of, int | str) else str(of)


@pytest.mark.parametrize("kind", NESTED)
def test_no_secret_inside_an_attribute_leaves(running: Running, receiver: OtlpReceiver, kind: str) -> None:
    request = traces({"attributes": attributes({"it": plain(NESTED[kind])})})
    assert post(running, "traces", request.SerializeToString()) == 200
    receiver.wait_for(lambda seen: seen.spans)
    assert found(receiver) == []


@pytest.mark.parametrize("kind", [kind for kind in NESTED if kind not in NOT_SEEN_IN_BODIES])
def test_no_secret_inside_a_body_leaves(running: Running, receiver: OtlpReceiver, kind: str) -> None:
    assert post(running, "logs", logs({"body": value(plain(NESTED[kind]))}).SerializeToString()) == 200
    receiver.wait_for(lambda seen: seen.logs)
    assert found(receiver) == []


def test_names_of_secrets_and_their_look_alikes_are_told_apart(running: Running, receiver: OtlpReceiver) -> None:
    given = dict.fromkeys((*NAMES, *LOOK_ALIKES), "x")
    assert post(running, "traces", traces({"attributes": attributes(given)}).SerializeToString()) == 200
    (span,) = receiver.wait_for(lambda seen: seen.spans)
    assert span.attributes == {**dict.fromkeys(NAMES, MASK), **dict.fromkeys(LOOK_ALIKES, "x")}


def test_what_is_no_secret_stays_as_it_was(running: Running, receiver: OtlpReceiver) -> None:
    texts = [*(text for text in READABLE if not text.startswith(MASKED_TOO)), *LOOK_LIKE_TOKENS]
    spans = [{"name": text, "attributes": attributes({"text": text})} for text in texts]
    assert post(running, "traces", traces(*spans).SerializeToString()) == 200
    receiver.wait_for(lambda seen: len(seen.spans) == len(texts))
    arrived = sorted(receiver.spans, key=lambda span: span.span_id)
    assert [span.attributes["text"] for span in arrived] == texts
    assert [span.name for span in arrived] == texts


def test_ids_numbers_and_the_names_of_the_contract_stay_as_they_were(running: Running, receiver: OtlpReceiver) -> None:
    told: dict[str, Any] = dict.fromkeys(semconv.NO_TEXTS, "4242 4242 4242 4242") | {
        "workflow.transaction_id": "4111-1111-1111-1111",
        "order.id": 4242424242424242,
        "order.number": "4242424242424242",
        "order.total": 12.5,
        "order.paid": True,
        "order.lines": (4242424242424242, 7),
        "gen_ai.usage.input_tokens": 812,
    }
    kept = {name: each for name, each in told.items() if name not in ("status", "component")}
    request = traces({"name": "step.charge", "attributes": attributes(kept)}, scope=semconv.SCOPE_NAME)
    assert post(running, "traces", request.SerializeToString()) == 200
    (span,) = receiver.wait_for(lambda seen: seen.spans)
    assert span.attributes == kept
    assert (span.name, span.trace_id, span.span_id) == ("step.charge", "0" * 31 + "1", "0" * 15 + "1")


def test_what_our_sdk_has_redacted_is_left_as_it_is(running: Running, receiver: OtlpReceiver) -> None:
    text = 'password=***REDACTED***, {"token": "***REDACTED***"}, redis://***REDACTED***@db'
    assert post(running, "logs", logs({"body": value(text)}).SerializeToString()) == 200
    (record,) = receiver.wait_for(lambda seen: seen.logs)
    assert record.body == text
