"""``multiagents-otel show``: whatever is OTLP JSON by its specification is read, with the numbers that it holds."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from multiagents_otel.tools.otlp_file import OtlpFile
from multiagents_otel.tools.otlp_json import read_request
from multiagents_otel.tools.records import Batch, Buckets, Distribution, Kind, Pairs
from tests.cli.otlp_messages import LAYOUTS, SIGNALS, STYLES, Style, messages, to_json
from tests.cli.shown import Run

_SETTINGS = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # to shrink what fails takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
_MESSAGES = st.one_of(*map(messages, SIGNALS)).filter(lambda message: message.ByteSize() > 0)
_REQUESTS = st.lists(_MESSAGES, max_size=3)


@_SETTINGS
@given(message=_MESSAGES, style=STYLES)
def test_the_numbers_of_a_message_are_those_of_its_json(message: Any, style: Style) -> None:
    batch = read_request(to_json(message, style))
    assert _read_spans(batch) == _sent_spans(message)
    assert _read_points(batch) == _sent_points(message)
    assert len(batch.logs) + batch.other_logs == sum(
        len(scope.log_records) for group in getattr(message, "resource_logs", ()) for scope in group.scope_logs
    )


@_SETTINGS
@given(
    requests=_REQUESTS,
    style=STYLES,
    layout=st.sampled_from(sorted(LAYOUTS)),
    packing=st.sampled_from(["", "gzip", "utf-16"]),
)
def test_every_layout_of_a_file_holds_the_same(
    tmp_path: Path, requests: list[Any], style: Style, layout: str, packing: str
) -> None:
    content = LAYOUTS[layout]([to_json(message, style) for message in requests])
    data = content.encode("utf-16" if packing == "utf-16" else "utf-8")
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(data) if packing == "gzip" else data)
    if not requests:
        return
    with OtlpFile(str(path)) as file:
        found = list(file.documents())
        assert [document.error for document in found] == [""] * len(requests)
        again = [file.document_at(document.offset, document.size) for document in found]
    batches = [read_request(document.value) for document in found]
    assert list(map(_read_spans, batches)) == list(map(_sent_spans, requests))
    assert list(map(_read_points, batches)) == list(map(_sent_points, requests))
    assert repr(again) == repr([document.value for document in found])


@_SETTINGS
@given(requests=_REQUESTS)
def test_whatever_is_read_can_be_shown(tmp_path: Path, run: Run, requests: list[Any]) -> None:
    style = Style(*[False] * 7)
    path = tmp_path / "file"
    path.write_text(LAYOUTS["lines"]([to_json(message, style) for message in requests]), encoding="utf-8")
    shown = run("show", str(path), "--all")
    spans = sum(len(_sent_spans(message)) for message in requests)
    points = sum(len(_sent_points(message)) for message in requests)
    assert (shown.status == 0) == bool(spans + points), shown.err
    assert bool(shown.out) == bool(spans + points)
    assert "could not be read" not in shown.err


def _read_spans(batch: Batch) -> str:
    return "\n".join(
        repr(
            (
                span.resource.attributes.items,
                span.trace_id, span.span_id, span.parent_id, span.name, span.start, span.end, span.error,
                span.description, _sorted(span.attributes),
                [(event.name, event.time, _sorted(event.attributes)) for event in span.events],
                [(link.trace_id, link.span_id) for link in span.links],
            )
        )
        for span in batch.spans
    )  # fmt: skip


def _sent_spans(message: Any) -> str:
    return "\n".join(
        repr(
            (
                _attributes(group.resource),
                span.trace_id.hex(), span.span_id.hex(), _parent(span.parent_span_id), span.name,
                span.start_time_unix_nano, span.end_time_unix_nano, span.status.code == 2,
                span.status.message, _attributes(span),
                [(event.name, event.time_unix_nano, _attributes(event)) for event in span.events],
                [(_parent(link.trace_id), _parent(link.span_id)) for link in span.links],
            )
        )
        for group in getattr(message, "resource_spans", ())
        for scope in group.scope_spans
        for span in scope.spans
    )  # fmt: skip


def _read_points(batch: Batch) -> list[str]:
    return [
        repr(
            (
                metric.resource.attributes.items, metric.scope.name, metric.scope.version,
                metric.scope.attributes.items,
                metric.name, metric.unit, metric.kind, metric.delta, point.labels.items, point.start, point.time,
                _numbers(point.value),
            )
        )
        for metric in batch.metrics
        for point in metric.points
    ]  # fmt: skip


def _sent_points(message: Any) -> list[str]:
    return [
        repr(
            (
                _attributes(group.resource), scope.scope.name, scope.scope.version, _attributes(scope.scope),
                metric.name, metric.unit, _kind(metric), getattr(_data(metric), "aggregation_temporality", 0) == 1,
                _attributes(point), point.start_time_unix_nano, point.time_unix_nano, _sent_value(metric, point),
            )
        )
        for group in getattr(message, "resource_metrics", ())
        for scope in group.scope_metrics
        for metric in scope.metrics
        if metric.WhichOneof("data")
        for point in _data(metric).data_points
        if not point.flags & 1 and _sent_value(metric, point) is not None
    ]  # fmt: skip


def _data(metric: Any) -> Any:
    return getattr(metric, metric.WhichOneof("data"))


def _kind(metric: Any) -> Kind:
    kind = metric.WhichOneof("data")
    if kind == "sum":
        return Kind.COUNTER if metric.sum.is_monotonic else Kind.UP_DOWN_COUNTER
    return Kind.GAUGE if kind == "gauge" else Kind.HISTOGRAM


def _numbers(value: float | Distribution) -> object:
    if not isinstance(value, Distribution):
        return value
    buckets = value.buckets
    if isinstance(buckets, Buckets):
        return (value.count, value.total, value.low, value.high, buckets.bounds, buckets.counts)
    return (
        value.count, value.total, value.low, value.high, buckets.scale, buckets.zero, buckets.zero_threshold,
        buckets.positive, buckets.negative,
    )  # fmt: skip


def _sent_value(metric: Any, point: Any) -> object:
    kind = metric.WhichOneof("data")
    if kind in ("sum", "gauge"):
        which = point.WhichOneof("value")
        return getattr(point, which) if which else None
    if kind == "summary":
        return (point.count, point.sum, None, None, (), ())
    common = (point.count, *(getattr(point, name) if point.HasField(name) else None for name in ("sum", "min", "max")))
    if kind == "histogram":
        return (*common, tuple(point.explicit_bounds), tuple(point.bucket_counts))
    return (
        *common, point.scale, point.zero_count, point.zero_threshold,
        _indexed(point.positive), _indexed(point.negative),
    )  # fmt: skip


def _indexed(buckets: Any) -> tuple[tuple[int, int], ...]:
    return tuple((buckets.offset + index, count) for index, count in enumerate(buckets.bucket_counts) if count)


def _parent(value: bytes) -> str:
    return value.hex() if any(value) else ""


def _attributes(owner: Any) -> tuple[tuple[str, object], ...]:
    return _sorted({entry.key: _value(entry.value) for entry in owner.attributes})


def _sorted(attributes: Any) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(attributes.items(), key=lambda item: item[0]))


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return tuple(_value(entry) for entry in value.array_value.values)
    if kind == "kvlist_value":
        pairs: Any = [(entry.key, _value(entry.value)) for entry in value.kvlist_value.values]
        return Pairs(pairs)
    return getattr(value, kind)
