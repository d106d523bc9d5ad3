"""How spans start: with all of their attributes, whatever sampler, limits and processors the user's provider has."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from tests.contract.observed import Observed
from tests.support.sagas import order_system

Told = list[tuple[str, dict[str, Any]]]


class Noting(Sampler, SpanProcessor):
    """Samples everything, and notes what it is asked with and what a span starts and ends with."""

    def __init__(self, *, drops: bool = False) -> None:
        self.asked: Told = []
        self.started: Told = []
        self.ended: list[ReadableSpan] = []
        self._drops = drops

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        _parent, _trace_id, name, _kind, attributes = args[:5]
        self.asked.append((name, dict(attributes)))
        return SamplingResult(Decision.RECORD_AND_SAMPLE, None if self._drops else attributes)

    def get_description(self) -> str:
        return "Noting"

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.started.append((span.name, dict(span.attributes or {})))

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


async def run_one(provider: TracerProvider) -> list[ReadableSpan]:
    """The spans of one workflow."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Observed().instrument(tracer_provider=provider)
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    return list(exporter.get_finished_spans())


def kind_of(name: str) -> str:
    """``send``, ``process``, ``workflow``, ``step`` or ``worker``."""
    return name.replace(".", " ").partition(" ")[0]


def of_calls(told: Told) -> Told:
    """Without workflows and steps, whose spans start after the sampler was asked."""
    return [(name, attributes) for name, attributes in told if kind_of(name) not in ("workflow", "step")]


@pytest.mark.parametrize("kept_elsewhere", [False, True])
async def test_a_processor_sees_at_the_start_what_the_sampler_was_asked_with(
    kept_elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kept_elsewhere:  # an SDK that does not keep attributes in a dict
        build = BoundedAttributes.__init__

        def build_otherwise(self: Any, *args: Any, **kwargs: Any) -> None:
            build(self, *args, **kwargs)
            self._dict = OrderedDict(self._dict)

        monkeypatch.setattr(BoundedAttributes, "__init__", build_otherwise)
    noting = Noting()
    provider = TracerProvider(sampler=noting)
    provider.add_span_processor(noting)

    spans = await run_one(provider)

    assert of_calls(noting.started) == of_calls(noting.asked)
    assert all(len(attributes) >= 3 for _name, attributes in noting.started)
    assert sorted(name for name, _attributes in noting.started) == sorted(span.name for span in spans)
    assert [span.name for span in noting.ended] == [span.name for span in spans]
    assert {kind_of(name) for name, _attributes in of_calls(noting.asked)} == {"send", "process", "worker"}


async def test_attributes_that_the_sampler_leaves_out_are_not_on_the_span() -> None:
    spans = await run_one(TracerProvider(sampler=Noting(drops=True)))

    told = {(kind_of(span.name), *(span.attributes or {})) for span in spans}
    assert {row for row in told if row[0] not in ("workflow", "step")} == {
        ("send",),
        ("process",),
        ("worker", "multiagents.worker.outcome"),
    }


async def test_the_limits_of_the_provider_hold() -> None:
    few = await run_one(TracerProvider(span_limits=SpanLimits(max_span_attributes=2)))
    assert {len(span.attributes or {}) for span in few} == {2}
    assert all(span.dropped_attributes > 0 for span in few if kind_of(span.name) in ("send", "process", "worker"))


async def test_values_are_cut_at_the_length_that_the_provider_allows() -> None:
    short = await run_one(TracerProvider(span_limits=SpanLimits(max_span_attribute_length=4)))
    values = [value for span in short for value in (span.attributes or {}).values() if isinstance(value, str)]
    assert values
    assert max(map(len, values)) == 4
