"""Start of spans: with an identity that is fixed in advance, sampled whatever the sampler says, or as it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Tracer

from multiagents_otel.processing.sampling import KEEP
from multiagents_otel.telemetry.identity import Identity
from multiagents_otel.telemetry.light_span import light_spans


class Starter:
    """Starts a tracer's spans: light ones where the SDK is known, else by the tracer itself."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer: Any = tracer
        self._light = light_spans(tracer)

    def start(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: dict[str, Any],
        links: Sequence[Link] | None,
        start_ns: int,
        identity: Identity | None = None,
        *,
        kept: bool = False,
    ) -> Span:
        """Start a span: the one that ``identity`` was fixed for if it is given, a sampled one if it is ``kept``.

        The caller gives the attributes away.

        Raises:
            Exception: whatever the sampler, the id generator or a span processor raises.
        """
        if self._light is not None:
            sampler = KEEP if kept and identity is None else None
            span = self._light.start(name, context, kind, attributes, links, start_ns, identity, sampler)
            if span is not None:
                return span
        tracer = self._tracer
        if identity is not None or kept:
            # On a copy for this one span: whatever else uses the tracer does not see it.
            tracer = object.__new__(type(tracer))
            vars(tracer).update(vars(self._tracer))
            tracer.sampler = identity or KEEP
            if identity is not None:
                tracer.id_generator = identity
        started: Span = tracer.start_span(name, context, kind, attributes, links, start_ns)
        return started
