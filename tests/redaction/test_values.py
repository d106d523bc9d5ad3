"""What is scrubbed from nested values, what is not, and that neither hurts."""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from multiagents_otel import sanitize_context_for_logging
from multiagents_otel.processing.redaction import REDACTED, TRUNCATED, Redactor, scrub, scrub_value
from tests.redaction.corpus import CANARIES, NESTED, READABLE, SECRETS

REDACTOR = Redactor()


@pytest.mark.parametrize("kind", SECRETS)
def test_what_is_scrubbed_stays_the_same_when_it_is_scrubbed_again(kind: str) -> None:
    once = scrub(SECRETS[kind])
    assert scrub(once) == once
    assert scrub_value({"text": once}) == {"text": once}


@pytest.mark.parametrize(
    "text",
    [
        f'{{"token": "{REDACTED}", "note": "...TRUNCATED',
        f"{{'token': '{REDACTED}'}}",
        f'"{{\\"token\\": \\"{REDACTED}\\", ...TRUNCATED',
    ],
)
def test_a_quoted_secret_that_was_scrubbed_keeps_its_quotes_when_it_is_scrubbed_again(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize("text", READABLE)
def test_a_look_alike_stays_readable_inside_a_value(text: str) -> None:
    assert scrub_value({"message": [text], "json": json.dumps({"text": text})}) == {
        "message": [text],
        "json": json.dumps({"text": text}),
    }


@pytest.mark.parametrize("kind", NESTED)
def test_a_secret_in_a_nested_value_is_replaced_and_the_value_given_is_not_changed(kind: str) -> None:
    before = repr(NESTED[kind])
    scrubbed = repr(scrub_value(NESTED[kind]))
    assert not [canary for canary in CANARIES if canary in scrubbed], scrubbed
    assert REDACTED in scrubbed
    assert repr(NESTED[kind]) == before


def _words(text: str) -> list[str]:
    return text.split()


NAMES = _words("""
    password token api_key credit_card ssn user_password userPassword PGPASSWORD password_hash X-Api-Key apiKey APIKEY
    csrftoken accessToken access_token refresh-token id_token auth_token_2 db.password Authorization Proxy-Authorization
    http.request.header.authorization http.request.header.cookie set-cookie cookie client_secret clientSecret secret
    AWS_SECRET_ACCESS_KEY aws_session_token private_key PRIVATE_KEY SSHKey card_number cardNumber creditCardNumber cvv
    customerSSN user_ssn ssn_last4 pwd db_pass passwd passphrase credentials google_credentials connection_string jwt
    otp X-CSRF-Token X-Amz-Security-Token usertoken bot.token accountKey encryption_key access_tokens
""")
LOOK_ALIKES = _words("""
    author authority coauthor secretary secret_santa max_tokens maxTokens token_count tokenCount tokenizer tokens
    total_tokens gen_ai.usage.input_tokens token_type tokenize passenger compass bypass passed pass_rate keyboard monkey
    primary_key key keys cache_key partition_key idempotency_key public_key session_id session.id order_id cookies
    class_name className lessname card_type discard dashboard authorized authorization_status access_level accredited
    connection security optimum topology postcard user.id error.type author_id messaging.destination.name
""")


@pytest.mark.parametrize("name", NAMES)
def test_the_value_behind_a_name_of_a_secret_is_replaced_whatever_it_is(name: str) -> None:
    for value in ("x", 7, None, ["x"], {"a": "x"}, b"x"):
        assert scrub_value({name: value}) == {name: REDACTED}
    assert scrub_value("x", name) == REDACTED


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_the_value_behind_a_look_alike_stays(name: str) -> None:
    for value in ("x", 7, None, ["x"], {"a": "x"}):
        assert scrub_value({name: value}) == {name: value}


def _as_the_guide_has_it(context: dict[str, Any]) -> dict[str, Any]:
    sensitive = {"password", "token", "api_key", "credit_card", "ssn"}
    return {
        key: "***REDACTED***"
        if any(word in key.lower() for word in sensitive)
        else _as_the_guide_has_it(value)
        if isinstance(value, dict)
        else value
        for key, value in context.items()
    }


def test_a_context_is_sanitized_as_in_the_guide() -> None:
    context = {
        "user_id": "u-1",
        "Password": "x",
        "auth_token": "x",
        "order": {"id": 4711, "api_key": 1, "payment": {"credit_card": "x", "amount": Decimal("12.50")}},
        "customer_ssn": None,
        "items": ["a", 2, None],
        "when": datetime(2024, 5, 1, tzinfo=timezone.utc),
    }
    before = copy.deepcopy(context)
    assert sanitize_context_for_logging(context) == _as_the_guide_has_it(context)
    assert context == before


class Point(NamedTuple):
    x: Any
    y: Any


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 10**15


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


PLAIN: tuple[Any, ...] = (
    None, True, 7, -1, 3.5, float("inf"), 10**30, "", b"", (), [], {}, set(), Colour.RED, Level.HIGH, Decimal("1.5"),
    UUID(int=7), datetime(2024, 5, 1), [1, "a", {"b": (2, 3)}], frozenset({1}), 1714557600000000000,
)  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_a_value_without_a_secret_comes_back_as_it_was(value: Any) -> None:
    scrubbed = scrub_value(value)
    assert scrubbed == value
    assert type(scrubbed) is type(value)


def test_containers_of_other_kinds_come_back_as_plain_ones() -> None:
    assert scrub_value(OrderedDict(a=1)) == {"a": 1}
    assert scrub_value(MappingProxyType({"password": 1})) == {"password": REDACTED}
    assert scrub_value(Point(1, "token=x")) == (1, f"token={REDACTED}")


def test_an_object_that_cannot_be_printed_does_no_harm() -> None:
    assert scrub_value({"thing": Unprintable()}) == {"thing": "<Unprintable>"}


def test_what_holds_itself_ends() -> None:
    ring: dict[str, Any] = {"password": "x"}
    ring["self"] = [ring]
    assert scrub_value(ring) == {"password": REDACTED, "self": [TRUNCATED]}


def test_of_what_is_huge_no_more_is_touched_than_is_told() -> None:
    seen = 0

    class Huge(dict[str, str]):
        def __len__(self) -> int:
            return 10**9

        def items(self) -> Any:
            nonlocal seen
            while True:
                seen += 1
                yield f"password{seen}", "canary"

    told = scrub_value(Huge())
    assert seen <= 10_000
    assert told[TRUNCATED] == 10**9 - (len(told) - 1)
    assert "canary" not in repr(told)


def test_what_is_too_deep_is_not_looked_at_and_does_not_leave() -> None:
    deep: Any = "password=canary"
    for _ in range(5_000):
        deep = [deep]
    told = repr(scrub_value(deep))
    assert TRUNCATED in told
    assert "canary" not in told


@pytest.mark.parametrize(
    "value",
    [list(range(1_000_000)), ["x" * 1_000] * 100_000, {f"key{n}": n for n in range(100_000)}],
    ids=["many items", "many texts", "many keys"],
)
def test_what_is_too_much_is_cut(value: Any) -> None:
    assert len(repr(scrub_value(value))) < 600_000


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    every = bytes(range(256))
    assert scrub_value(every) == every


def test_a_lone_surrogate_leaves_no_text() -> None:
    for text in ("\ud800", '{"a": "\ud800"}', '{"a": "\\ud800", "password": "x"}'):
        str(scrub_value(text)).encode()


def test_two_texts_beside_each_other_are_no_name_and_value() -> None:
    value = [("the token is missing", "try again"), ["secret of success", "hard work"], ("max_tokens", "5")]
    assert scrub_value(value) == value


def test_json_keeps_its_looks_where_it_holds_no_secret() -> None:
    text = '{"a":1,   "b":[true,null]}'
    assert scrub_value(text) == text
    assert json.loads(scrub_value('{"a":1, "token":"x"}')) == {"a": 1, "token": REDACTED}
