"""The frame of the running code, where its entries are left in any order and in other contexts."""

from __future__ import annotations

import contextvars
from itertools import permutations
from typing import Any

import pytest
from opentelemetry import context as context_api

from multiagents_otel.core.bounded import BoundedMap
from multiagents_otel.core.scope import FRAME, NOWHERE, Entry, Frame


def values() -> dict[str, Any]:
    """The fields of the current frame that have a value."""
    frame = FRAME.get()
    return {field: value for field in Frame._fields if (value := getattr(frame, field)) is not None}


@pytest.mark.parametrize("order", permutations(range(3)))
def test_entries_are_left_in_any_order(order: tuple[int, ...]) -> None:
    added: list[tuple[str, str | None]] = [("call", "a call"), ("incoming", "a message"), ("sending", "a publication")]
    entries = []
    for field, value in added:
        frame = getattr(FRAME.get(), f"with_{field}")(value)
        entries.append(Entry(frame).__enter__())
    assert values() == dict(added)
    for index in order:
        assert entries[index].leave()
        added[index] = ("", None)
        assert values() == {field: value for field, value in added if field}


def test_an_inner_value_of_the_same_field_gives_way_to_the_outer_one() -> None:
    with Entry(NOWHERE.with_stage("outer")):
        with Entry(FRAME.get().in_handler("a delivery", "an execution")):
            assert values() == {"delivery": "a delivery", "execution": "an execution"}
        assert values() == {"stage": "outer"}
    assert values() == {}


def test_an_entry_that_is_left_in_another_context_changes_nothing_there() -> None:
    within = context_api.set_value("key", "value")
    entry = contextvars.copy_context().run(Entry, NOWHERE.with_call("a call"), within)
    with Entry(NOWHERE.with_stage("a stage")):
        assert not entry.leave()
        assert values() == {"stage": "a stage"}


def test_a_coroutine_that_the_garbage_collector_closes_restores_nothing() -> None:
    entry = Entry(NOWHERE.with_call("a call"))
    with pytest.raises(GeneratorExit), entry:
        raise GeneratorExit
    assert values() == {"call": "a call"}
    entry.leave()
    assert values() == {}


def test_a_full_map_drops_its_oldest_entry_and_reports_it() -> None:
    dropped: list[tuple[str, int]] = []
    numbers: BoundedMap[str, int] = BoundedMap(2, lambda key, value: dropped.append((key, value)))
    numbers["a"], numbers["b"], numbers["a"] = 1, 2, 3  # one that is there already takes no place
    assert (dict(numbers), dropped) == ({"a": 3, "b": 2}, [])
    assert numbers.setdefault("c", 4) == 4
    assert (dict(numbers), dropped) == ({"b": 2, "c": 4}, [("a", 3)])
