"""What the user says of secrets: own names and patterns, what stays, and a callback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from multiagents_otel import MultiAgentsInstrumentor, OptionError
from multiagents_otel.config import Options
from multiagents_otel.processing import redaction
from multiagents_otel.processing.redaction import REDACTED, Redactor


@pytest.fixture(autouse=True)
def default_afterwards() -> Iterator[None]:
    """The redactor of a test's options stays in force after it."""
    yield
    redaction.use(Redactor())


def test_own_names_are_words_in_names_or_globs_of_whole_ones() -> None:
    redactor = Redactor(keys=["IBAN", "internal_*"])
    value = {"customerIban": "x", "i-b-a-n": "x", "internal_id": 7, "not_internal_id": 7, "urbanity": "x"}
    assert redactor.value(value) == {**value, "customerIban": REDACTED, "i-b-a-n": REDACTED, "internal_id": REDACTED}
    assert redactor.text("iban: x, internal_id=7, other=8") == f"iban: {REDACTED}, internal_id={REDACTED}, other=8"


def test_own_patterns_are_secrets_too() -> None:
    redactor = Redactor(patterns=[r"EMP-\d+"])
    assert redactor.value({"note": "EMP-12 and EMP-x, password=y"}) == {
        "note": f"{REDACTED} and EMP-x, password={REDACTED}"
    }


def test_a_pattern_that_matches_nothing_at_all_redacts_nothing() -> None:
    assert Redactor(patterns=["x*"]).text("a xx b") == f"a {REDACTED} b"


def test_a_place_can_be_allowed_as_well() -> None:
    redactor = Redactor(allow=["status", "events.*"])
    assert redactor.text_at("status", "token=x") == "token=x"
    assert redactor.text_at("events.name", "token=x") == "token=x"
    assert redactor.text_at("name", "token=x") == f"token={REDACTED}"


def test_what_is_allowed_stays_by_its_name_or_by_its_path() -> None:
    redactor = Redactor(allow=["page_token", "order.*.token"])
    value = {"page_token": "a", "order": {"7": {"token": "b"}}, "token": "c"}
    assert redactor.value(value) == {**value, "token": REDACTED}
    assert redactor.text("page_token=a, token=c") == f"page_token=a, token={REDACTED}"


def test_a_path_that_is_allowed_may_begin_inside_an_attribute() -> None:
    redactor = Redactor(allow=["order.token"])
    payload = {"order": {"token": "b"}, "reorder": {"token": "c"}, "token": "d"}
    scrubbed = {**payload, "reorder": {"token": REDACTED}, "token": REDACTED}
    assert redactor.value(payload, "multiagents.event.payload") == scrubbed
    text = '{"order": {"token": "b"}}'
    assert redactor.value(text, "multiagents.event.payload") == text
    assert redactor.value(payload) == scrubbed


def test_the_callback_sees_each_text_and_number_with_its_path_and_takes_more_away() -> None:
    seen = []

    def callback(path: str, value: Any) -> Any:
        seen.append((path, value))
        return {"mail": None, "note": "password=x", "n": 8}.get(path.rpartition(".")[2], value)

    value = {"user": {"mail": "ann@shop.example", "name": "ann"}, "note": "n", "n": 7, "list": ["a"], "token": "x"}
    assert Redactor(callback=callback).value(value) == {
        "user": {"mail": REDACTED, "name": "ann"},
        "note": f"password={REDACTED}",
        "n": 8,
        "list": ["a"],
        "token": REDACTED,
    }
    assert seen == [("user.mail", "ann@shop.example"), ("user.name", "ann"), ("note", "n"), ("n", 7), ("list", "a")]


@pytest.mark.faults
def test_a_callback_that_fails_gives_nothing_away() -> None:
    def fails(path: str, value: Any) -> Any:
        raise RuntimeError(value)

    assert Redactor(callback=fails).value({"a": "text", "b": [1, True]}) == {"a": REDACTED, "b": [REDACTED, True]}


class Untold:
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.faults
@pytest.mark.parametrize(
    "odd", [Untold(), 10**5_000, [], b"x", float("nan")], ids=["untold", "huge", "list", "b", "nan"]
)
def test_whatever_a_callback_returns_or_raises_becomes_something_that_can_be_exported(odd: Any) -> None:
    told = Redactor(callback=lambda _path, _value: odd).value({"a": "text", "b": 1})
    assert all(type(value) in (str, float) for value in told.values())


@pytest.mark.faults
@pytest.mark.parametrize("raises", [asyncio.CancelledError, GeneratorExit, type("Own", (BaseException,), {})])
def test_a_callback_that_raises_no_exception_redacts(raises: type[BaseException]) -> None:
    def callback(path: str, value: Any) -> Any:
        raise raises

    assert Redactor(callback=callback).value({"a": "text"}) == {"a": REDACTED}


@pytest.mark.faults
@pytest.mark.parametrize("raises", [KeyboardInterrupt, SystemExit])
def test_an_end_of_the_application_passes_a_callback_in_the_main_thread_only(raises: type[BaseException]) -> None:
    def callback(path: str, value: Any) -> Any:
        raise raises

    redactor = Redactor(callback=callback)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(redactor.value, {"a": "text"}).result() == {"a": REDACTED}
    with pytest.raises(raises):  # a signal handler raises there
        redactor.value({"a": "text"})


def test_redaction_can_be_turned_off() -> None:
    value = {"password": "x", "note": "token=x", "card": 4242424242424242}
    off = Redactor(enabled=False, callback=lambda path, value: None)
    assert off.value(value) == value
    assert off.text_at("status", "token=x") == "token=x"
    assert off.content(value, "payload", 1_000) == ('{"password": "x", "note": "token=x", "card": 4242424242424242}')


def test_the_options_make_the_redactor_in_force() -> None:
    MultiAgentsInstrumentor().instrument(redact_keys="iban, internal_*", redact_patterns="A,B", redact_allow="token")
    assert redaction.scrub_value({"iban": 1, "internal_x": 1, "token": "t", "n": "A,B A B"}) == {
        "iban": REDACTED,
        "internal_x": REDACTED,
        "token": "t",
        "n": f"{REDACTED} A B",
    }


def test_patterns_of_the_environment_are_one_a_line() -> None:
    options = Options({}, {"MULTIAGENTS_OTEL_REDACT_PATTERNS": "A{1,2}\n\nB+"})
    assert [pattern.pattern for pattern in options.redact_patterns] == ["A{1,2}", "B+"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"redact_patterns": "("},
        {"redact_patterns": [3]},
        {"redact_patterns": [b"a"]},
        {"redact_keys": 3},
        {"max_content_length": 0},
        {"max_content_length": "many"},
        {"redaction": "perhaps"},
    ],
    ids=str,
)
def test_a_wrong_option_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Options(wrong, {})
