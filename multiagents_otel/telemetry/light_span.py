"""Light spans: the SDK's spans in type and behaviour, at a fraction of their cost.

The SDK builds a lock, a bounded dict, two bounded lists, twenty fields and a copy for each span. A light span has
the few fields that differ between spans; its class, made once for a tracer, has those that all of them share. At the
first read of any other field, the SDK's own constructor builds the rest, and the inherited methods work on it. So
events, links, limits and invalid values are the SDK's to handle, whatever its version. Samplers and processors whose
answer is known, or that do nothing at a span's start, are not called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import RLock
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from multiagents_otel.core.forking import on_fork
from multiagents_otel.core.trace_context import SPAN_KEY, flags_of, is_valid, state_of, trace_id_of
from multiagents_otel.telemetry import sdk_internals

if TYPE_CHECKING:
    from multiagents_otel.telemetry.identity import Identity

_PLAIN: Final = frozenset({str, int, float, bool})
"""Types of the attribute values that the SDK keeps as they are."""
_TEXT: Final = frozenset({str})
_UNLIMITED: Final = 1 << 31
_UNSET: Final = Status(StatusCode.UNSET)
_RANDOM: Final[int] = getattr(TraceFlags, "RANDOM_TRACE_ID", 0)
_SAMPLED: Final[int] = TraceFlags.SAMPLED
_FLAGS: Final = tuple(TraceFlags(flags) for flags in range((_RANDOM | _SAMPLED) + 1))

_new_span: Final = object.__new__
_new_tuple: Final = tuple.__new__


_OWN: Final = frozenset({
    "_context", "_end_time", "_instrumentation_info", "_instrumentation_scope", "_kind", "_lock", "_name", "_parent",
    "_resource", "_span_processor", "_start_time", "_status",
})  # fmt: skip
"""Fields of the SDK's spans that a light span or its class has from the start."""


def _is_plain(attributes: Mapping[str, Any]) -> bool:
    """Whether the SDK keeps attributes as they are."""
    return (
        _PLAIN.issuperset(map(type, attributes.values()))
        and _TEXT.issuperset(map(type, attributes))
        and "" not in attributes
    )


class _Complete(Span):
    """A span that the SDK's constructor has built; it gives its fields to a light span."""


class _Field:
    """Another field of the SDK's spans, which the first read builds; the span's own value hides this from then on."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, span: LightSpan | None, owner: type) -> Any:
        if span is None:
            raise AttributeError(f"type object {owner.__name__!r} has no attribute {self._name!r}")
        span._complete()
        return span.__dict__[self._name]


class LightSpan(Span):
    """A span of one tracer; :class:`LightSpans` makes the class and the spans.

    ``_plain`` is the dict of attributes while the span is light, and None once the SDK's fields exist.
    """

    _maker: LightSpans
    _readable_fields: dict[str, Any]
    _tracer: Any
    _room: int
    _span_processor: Any
    _resource: Any
    _instrumentation_info: Any
    _instrumentation_scope: Any
    _end_time: Any = None
    _status: Any = _UNSET
    _plain: dict[str, Any] | None
    _start_links: Sequence[Link] = ()
    _lock: Any = RLock()

    def __reduce_ex__(self, protocol: Any) -> Any:
        self._complete()
        return super().__reduce_ex__(protocol)

    def _complete(self) -> None:
        with self._lock:
            plain = self._plain
            if plain is None:
                return
            complete = _complete_span(self, self._tracer, plain, self._start_links)
            if self._end_time is not None:
                complete.start(self._start_time)
                complete.end(self._end_time)
            self.__dict__.update({name: value for name, value in vars(complete).items() if name not in _OWN})
            self._lock = RLock()  # a field of its own, as the SDK has: it keeps a span from being pickled
            self._plain = None

    def _put(self, attributes: Mapping[str, Any]) -> bool:
        if type(attributes) is not dict or not _is_plain(attributes):
            return False
        with self._lock:
            plain = self._plain
            if plain is None or self._end_time is not None or len(plain) + len(attributes) > self._room:
                return False
            for key, value in attributes.items():
                plain.pop(key, None)  # the SDK moves an attribute that is set again to the end
                plain[key] = value
        return True

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if not self._put(attributes):
            super().set_attributes(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        if type(key) is not str or not self._put({key: value}):
            super().set_attribute(key, value)

    def _readable_span(self) -> ReadableSpan:
        plain = self._plain
        if plain is None or self._end_time is None or self._start_links:
            return super()._readable_span()
        fields = self._readable_fields.copy()
        fields["_name"] = self._name
        fields["_context"] = self._context
        fields["_parent"] = self._parent
        fields["_attributes"] = plain
        fields["_kind"] = self._kind
        fields["_status"] = self._status
        fields["_start_time"] = self._start_time
        fields["_end_time"] = self._end_time
        readable = _new_span(ReadableSpan)
        readable.__dict__ = fields
        return readable

    def end(self, end_time: int | None = None) -> None:
        with self._lock:
            light = self._plain is not None and self._end_time is None
            if light:
                self._end_time = end_time if end_time is not None else time_ns()
        if not light:
            super().end(end_time)
            return
        if self._maker.calls_on_ending:
            self._span_processor._on_ending(self)
        self._span_processor.on_end(self._readable_span())


def _complete_span(span: ReadableSpan, tracer: Any, attributes: Mapping[str, Any], links: Sequence[Link]) -> _Complete:
    """Build a span as ``Tracer.start_span`` does; its processor does nothing."""
    return _Complete(
        name=span.name,
        context=cast(SpanContext, span.context),
        parent=span.parent,
        sampler=tracer.sampler,
        resource=span.resource,
        attributes=attributes,
        links=links,
        kind=span.kind,
        span_processor=SpanProcessor(),
        instrumentation_info=span._instrumentation_info,
        limits=tracer._span_limits,
        instrumentation_scope=span.instrumentation_scope,
    )


def _forked() -> None:
    LightSpan._lock = RLock()  # a thread of the parent's may have held it


class LightSpans:
    """The light spans of one tracer.

    Attributes:
        calls_on_ending: a span processor may do something in ``_on_ending``.
    """

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer
        self._is_enabled = sdk_internals.tracer_is_enabled(tracer)
        limits = tracer._span_limits
        most = limits.max_span_attributes if limits.max_span_attributes is not None else _UNLIMITED
        self._room = most if limits.max_span_attribute_length is None else 0
        self._sampler: Any = None
        self._follows_sampled = False
        self._class = self._make_class()
        on_fork(in_child=_forked)

    def _make_class(self) -> type[LightSpan]:
        tracer = self._tracer
        any_span = _complete_span(ReadableSpan("", resource=tracer.resource), tracer, {}, ())
        readable = ReadableSpan(
            "",
            resource=tracer.resource,
            instrumentation_info=tracer.instrumentation_info,
            instrumentation_scope=tracer._instrumentation_scope,
        )
        shared = {
            **{name: _Field(name) for name in vars(any_span) if name not in _OWN},
            "__module__": Span.__module__,
            "__qualname__": "_Span",
            "_maker": self,
            "_readable_fields": vars(readable),
            "_tracer": tracer,
            "_room": self._room,
            "_span_processor": tracer.span_processor,
            "_resource": tracer.resource,
            "_instrumentation_info": tracer.instrumentation_info,
            "_instrumentation_scope": tracer._instrumentation_scope,
        }
        self._multi = tracer.span_processor if sdk_internals.is_multi_processor(tracer.span_processor) else None
        self._processors: Any = None  # those that were looked at
        self._calls_on_start, self.calls_on_ending = True, sdk_internals.calls_on_ending()
        metaclass: Any = type(LightSpan)
        made: type[LightSpan] = metaclass("_Span", (LightSpan,), shared)  # the name that the SDK's spans show
        return made

    def start(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: dict[str, Any],
        links: Sequence[Link] | None,
        start_ns: int,
        identity: Identity | None = None,
        sampler: Sampler | None = None,
    ) -> trace.Span | None:
        """Start a span as ``Tracer.start_span`` does; None where only that can.

        Args:
            name: the span's.
            context: has the parent.
            kind: the span's.
            attributes: a dict that the caller gives away.
            links: the span's.
            start_ns: the start, in ns since the epoch.
            identity: ids and decision, fixed before; neither sampler nor id generator is asked.
            sampler: asked in place of the tracer's.
        """
        tracer = self._tracer
        if self._is_enabled is not None and not self._is_enabled():
            return None
        current = context.get(SPAN_KEY)
        parent: SpanContext | None = current.get_span_context() if isinstance(current, trace.Span) else None
        if parent is not None:
            if type(parent) is not SpanContext:
                return None
            if not is_valid(parent):
                parent = None
        if identity is not None:
            span_context, decision = identity.span_context, identity.decision
            expected = _SAMPLED if decision is Decision.RECORD_AND_SAMPLE else 0
            if parent is None:
                expected |= flags_of(span_context) & _RANDOM
            elif trace_id_of(parent) == trace_id_of(span_context):
                expected |= flags_of(parent) & _RANDOM
            else:
                return None
            if flags_of(span_context) != expected or span_context.is_remote:
                return None
            recording = decision is not Decision.DROP
            plain = {**attributes, **identity.attributes} if identity.attributes else attributes
        else:
            ids = tracer.id_generator
            if parent is not None:
                trace_id, parent_flags = trace_id_of(parent), flags_of(parent)
            else:
                trace_id, parent_flags = ids.generate_trace_id(), 0
            if sampler is None:
                sampler = tracer.sampler
                if sampler is not self._sampler:
                    self._sampler, self._follows_sampled = sampler, sdk_internals.follows_sampled_parents(sampler)
                follows = self._follows_sampled and parent_flags & _SAMPLED
            else:
                follows = 0
            if follows and parent is not None:
                recording, sampled, state, plain = True, _SAMPLED, state_of(parent), attributes
            else:
                result = sampler.should_sample(context, trace_id, name, kind, attributes, links or ())
                recording, sampled = result.decision.is_recording(), _SAMPLED if result.decision.is_sampled() else 0
                state, plain = result.trace_state, dict(result.attributes or {}) if recording else {}
            random = 0
            if _RANDOM and (parent_flags & _RANDOM if parent is not None else ids.is_trace_id_random()):
                random = _RANDOM
            flags, span_id = _FLAGS[sampled | random], ids.generate_span_id()
            if type(state) is trace.TraceState and 0 < span_id < 1 << 64 and 0 < trace_id < 1 << 128:
                span_context = _new_tuple(SpanContext, (trace_id, span_id, False, flags, state, True))
            else:
                span_context = SpanContext(trace_id, span_id, False, flags, state)
        if not recording:
            return NonRecordingSpan(span_context)
        shared = self._class
        if shared._resource is not tracer.resource or shared._span_processor is not tracer.span_processor:
            shared = self._class = self._make_class()  # a fork has changed the resource
        span = _new_span(shared)
        span._name = name
        span._context = span_context
        span._parent = parent
        span._kind = kind
        span._start_time = start_ns
        if links:
            span._start_links = links
        span._plain = plain
        if len(plain) > self._room or not _is_plain(plain):
            span._complete()
        if self._multi is not None and self._multi._span_processors is not self._processors:
            self._look_at(self._multi._span_processors)
        if self._calls_on_start:
            shared._span_processor.on_start(span, parent_context=context)
        return span

    def _look_at(self, processors: Sequence[SpanProcessor]) -> None:
        """See which methods of the provider's processors do something."""
        self._processors = processors
        self._calls_on_start = not all(map(sdk_internals.ignores_starts, processors))
        self.calls_on_ending = sdk_internals.calls_on_ending() and not all(
            map(sdk_internals.ignores_endings, processors)
        )


# --- whether the SDK behaves as light spans do ----------------------------------------------------


def light_spans(tracer: Any) -> LightSpans | None:
    """Make the light spans of a tracer; None where the tracer is not the SDK's own, or the SDK has changed."""
    if not sdk_internals.is_sdk_tracer(tracer) or sdk_internals.measures_itself(tracer):
        return None
    enabled = sdk_internals.tracer_is_enabled(tracer)

    def is_disabled() -> bool:
        return enabled is not None and not enabled()

    known = sdk_internals.is_known(
        "spans",
        sdk_internals.SPAN_INTERNALS,
        tracer,
        lambda: None if is_disabled() else differs(tracer),
        "spans are made by Tracer.start_span",
    )
    return LightSpans(tracer) if known and not is_disabled() else None


class _Probe(SpanProcessor, Sampler, IdGenerator):
    """Stands for all that a tracer calls, and notes the calls."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.ended: list[Any] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name in ("calls", "ended"):
            return object.__getattribute__(self, name)
        self.calls.append(name)
        return object.__getattribute__(self, name)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)

    def should_sample(self, *args: Any, **kwargs: Any) -> Any:
        return ALWAYS_ON.should_sample(*args, **kwargs)

    def get_description(self) -> str:
        return ""

    def generate_span_id(self) -> int:
        return 2

    def generate_trace_id(self) -> int:
        return 1


def differs(tracer: Any) -> str | None:
    """Name the first difference between light spans and the tracer's own, in calls and in what is exported."""
    parent = SpanContext(1, 3, True, TraceFlags(0xFF), trace.TraceState([("key", "value")]))
    contexts = (Context(), trace.set_span_in_context(NonRecordingSpan(parent), Context()))
    for context in contexts:
        for use in (_end, _change_and_end):
            pairs = []
            for light in (False, True):
                probe, copy = _Probe(), object.__new__(type(tracer))
                vars(copy).update(vars(tracer))
                copy.span_processor = copy.sampler = copy.id_generator = probe
                copy._span_limits = SpanLimits(max_attributes=64, max_events=64, max_links=64)
                start: Any = LightSpans(copy).start if light else copy.start_span
                span = start("name", context, SpanKind.CONSUMER, {"key": "value", "n": 1}, (), 1_000)
                shown = [repr(span), span.is_recording()]
                use(span)
                pairs.append((probe.calls, [*shown, span.is_recording(), *map(_shown, (span, *probe.ended))]))
            (calls, shown), (light_calls, light_shown) = pairs
            if calls != light_calls:
                return f"Tracer.start_span or Span.end calls {calls}"
            if shown != light_shown:
                return "spans with other contents"
    return None


def _end(span: Any) -> None:
    span.end(3_000)


def _change_and_end(span: Any) -> None:
    span.set_attributes({"n": 2, "more": True})
    span.set_attribute("list", ["a"])
    span.add_event("event", {"key": "value"}, 2_000)
    span.add_link(SpanContext(5, 6, False), {"key": "value"})
    span.update_name("other")
    span.set_status(StatusCode.ERROR, "broken")
    span.end(3_000)


def _shown(span: ReadableSpan) -> Any:
    dropped = (span.dropped_attributes, span.dropped_events, span.dropped_links)
    return span.to_json(), span.context, span.parent, dropped, span.instrumentation_scope, span.resource
