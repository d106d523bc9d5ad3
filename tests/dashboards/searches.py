"""The TraceQL of the boards' links, on the spans that arrived. There is no Tempo here: what it is asked is checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tests.support.receiver import ReceivedSpan

_CONDITION: Final = re.compile(r'(?P<what>[\w.]+) (?P<how>=~?) (?:"(?P<text>[^"]*)"|(?P<word>\w+))')


def matches(span: ReceivedSpan, query: str) -> bool:
    """Whether a span fulfils a TraceQL query of the boards: conditions that are joined by &&."""
    inside = re.fullmatch(r"\{ (.+) \}", query)
    assert inside, query
    return all(_fulfils(span, condition) for condition in inside[1].split(" && "))


def _fulfils(span: ReceivedSpan, condition: str) -> bool:
    found = _CONDITION.fullmatch(condition)
    assert found, condition
    intrinsic = {"name": span.name, "status": str(span.status).lower()}
    what, wanted = found["what"], found["word"] or found["text"]
    value = intrinsic[what] if what in intrinsic else span.attributes.get(what.removeprefix("span."))
    return value is not None and bool(re.fullmatch(wanted if found["how"] == "=~" else re.escape(wanted), str(value)))


def found(spans: Sequence[ReceivedSpan], query: str) -> set[str]:
    """The ids of the traces that a search finds."""
    return {span.trace_id for span in spans if matches(span, query)}
