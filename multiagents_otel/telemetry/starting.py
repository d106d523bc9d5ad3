"""How a span is started: with an identity that was fixed before, and with attributes that need no cleaning.

For both, what the tracer asks while it makes a span is stood in for, on a copy of the tracer that lives
for that one span: nothing that anybody else uses is touched.

The SDK cleans each attribute of each span one by one, which is a quarter of a span's price. The core's are
plain values in a dict already. So the SDK is given none, and they are put where it keeps them before any
span processor sees the span. Whatever is not as the SDK has it (another tracer, a sampler that changes
attributes, limits, another value) goes the usual way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import Link, Span, SpanKind, Tracer

from multiagents_otel.processing.sampling import KEEP
from multiagents_otel.telemetry.identity import Identity

_PLAIN: Final = frozenset({str, int, float, bool})


class _Filling(Sampler, SpanProcessor):
    """Stands for a tracer's sampler and span processor while one span starts, and gives it its attributes."""

    def __init__(self, sampler: Sampler, processor: SpanProcessor, attributes: Mapping[str, Any]) -> None:
        self._sampler = sampler
        self._processor = processor
        self._attributes: Mapping[str, Any] | None = attributes

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        result = self._sampler.should_sample(*args, **kwargs)
        if result.attributes != self._attributes:  # the sampler has a say in them
            self._attributes = None
            return result
        return SamplingResult(result.decision, None, result.trace_state)

    def get_description(self) -> str:
        return self._sampler.get_description()

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        attributes, self._attributes = self._attributes, None
        if attributes is not None:
            kept = getattr(getattr(span, "_attributes", None), "_dict", None)
            if type(kept) is dict:
                kept.update(attributes)
            else:
                span.set_attributes(attributes)
        span._span_processor = self._processor  # from here on the span has nothing to do with this
        self._processor.on_start(span, parent_context=parent_context)

    # Called only by an SDK that keeps a span's processor elsewhere.

    def _on_ending(self, span: SdkSpan) -> None:
        self._processor._on_ending(span)

    def on_end(self, span: ReadableSpan) -> None:
        self._processor.on_end(span)


class Starter:
    """Starts a tracer's spans."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer: Any = tracer
        self._most = 0  # attributes that need no cleaning: none, unless the SDK would keep them as they are
        limits = getattr(tracer, "_span_limits", None)
        if type(tracer) is SdkTracer and getattr(limits, "max_span_attribute_length", 0) is None:
            most = getattr(limits, "max_span_attributes", 0)
            self._most = 1 << 31 if most is None else most

    def start(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        links: Sequence[Link] | None,
        start_ns: int,
        identity: Identity | None = None,
        *,
        kept: bool = False,
    ) -> Span:
        """Start a span: the one that ``identity`` was fixed for if it is given, a sampled one if it is ``kept``.

        Raises:
            Exception: whatever the sampler, the id generator or a span processor raises.
        """
        tracer = self._tracer
        plain = len(attributes) <= self._most and _PLAIN.issuperset(map(type, attributes.values()))
        if plain or kept or identity is not None:
            copied = object.__new__(type(tracer))  # what copy.copy() would do, at a fifth of its price
            copied.__dict__.update(tracer.__dict__)
            tracer = copied
            if identity is not None:
                tracer.id_generator = tracer.sampler = identity
            elif kept:
                tracer.sampler = KEEP
            if plain:
                tracer.sampler = tracer.span_processor = _Filling(tracer.sampler, tracer.span_processor, attributes)
        span: Span = tracer.start_span(name, context, kind, attributes, links, start_ns)
        return span
