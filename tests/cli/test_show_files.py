"""``multiagents-otel show``: what files it reads, and what it says of those that it can't."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import sys
from pathlib import Path

import pytest

from multiagents_otel import semconv
from tests.cli.otlp_lines import (
    HAPPY,
    MS,
    ORDERS,
    START,
    TRACE,
    TRANSACTION,
    Call,
    Data,
    attributes,
    histogram,
    log,
    metrics,
    point,
    resource,
    total,
    workflow,
)
from tests.cli.shown import Run, Show, Shown, drawn, numbers


def test_broken_lines_are_counted_and_the_rest_is_shown(show: Show) -> None:
    broken = ['{"resourceSpans": [', '{"level": "info"}', '{"resourceSpans": [{"scopeSpans": 5}]}', "[1]"]
    shown = show([*HAPPY, "", *broken])
    assert shown.status == 0
    assert "✓ order" in shown.out
    assert shown.err == (
        "multiagents-otel show: FILE: 4 of 5 lines could not be read "
        "(first: line 3: not JSON: Expecting value at column 21)\n"
    )


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (("traceId", "xyz"), "traceId is not an id of 16 bytes in hex"),
        (("traceId", "é"), "traceId is not an id of 16 bytes in hex"),
        (("traceId", "abcd"), "traceId is not an id of 16 bytes in hex"),
        (("spanId", ""), "a span without traceId or spanId"),
        (("startTimeUnixNano", "soon"), "startTimeUnixNano is not an integer"),
        (("endTimeUnixNano", 2**70), "endTimeUnixNano is out of range"),
        (("endTimeUnixNano", -1), "endTimeUnixNano is negative"),
        (("name", 7), "name is not a string"),
        (("attributes", {}), "attributes is not a list"),
        (("attributes", ["x"]), "attributes holds something that is not an object"),
        (("attributes", [{"key": "a", "value": {"intValue": "x"}}]), "intValue is not an integer"),
        (("status", {"code": "STATUS_CODE_ODD"}), "code is not an integer"),
    ],
)
def test_a_line_that_is_not_otlp_says_what_is_wrong(show: Show, damage: tuple[str, object], reason: str) -> None:
    entry = {**workflow().data(), damage[0]: damage[1]}
    line: Data = {"resourceSpans": [{"resource": resource(ORDERS), "scopeSpans": [{"spans": [entry]}]}]}
    shown = show([line])
    assert (shown.status, shown.out) == (1, "")
    place = re.escape(reason) + r", in resourceSpans\[0\]\.scopeSpans\[0\]\.spans\[0\](\.attributes\[0\])?"
    assert re.search(rf"1 of 1 line could not be read \(first: line 1: {place}\)", shown.err)


def test_numbers_enums_and_ids_may_be_written_in_other_ways(show: Show) -> None:
    entry: Data = {
        **Call(1, 0, "work", 0, 1, extra=((semconv.RECEIVERS, 1),)).data(),
        "traceId": base64.b64encode(bytes.fromhex(TRACE)).decode(),
        "spanId": "00F067AA0BA902B7",
        "parentSpanId": "0000000000000000",
        "kind": "SPAN_KIND_PRODUCER",
        "startTimeUnixNano": START,
        "endTimeUnixNano": START + 2 * MS,
        "status": {"code": "STATUS_CODE_ERROR"},
        "events": None,
        "attributes": [
            *attributes({"workflow.transaction_id": "t", "a": ["x", 1, 2.5, True]}),
            {"key": "m", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"bytesValue": "AAE="}}]}}},
            {"key": "n", "value": {"doubleValue": "NaN"}},
            {"key": "e", "value": {}},
        ],
        "unknownField": 1,
    }
    shown = show([{"resourceSpans": [{"scopeSpans": [{"spans": [entry]}]}]}, "{}"])
    assert shown.err == ""
    assert "✗ work  error  2.00 ms" in shown.out
    assert f"trace       {TRACE}" in shown.out
    assert "1 process (unknown_service)" in shown.out
    assert "no root" not in shown.out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\x00\x01\x02", "is a binary file, not OTLP JSON"),
        (gzip.compress(b"{}", mtime=0), "there are no traces and no metrics to show"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (gzip.compress(b"{}", mtime=0)[:10], "the gzip data ends before its end is written"),
        (b'{\n  "resourceSpans": []\n}\n', "there are no traces and no metrics to show"),
        (b"hello\nworld\n", "2 of 2 lines could not be read (first: line 1: not JSON"),
        (b'{"resourceSpans": "\xff"}\n', "line 1: not UTF-8"),
        (b"[" * 100_000 + b"\n", "line 1: not JSON"),
        (b'{"resourceSpans": []}\n', "there are no traces and no metrics to show"),
    ],
)
def test_a_file_with_nothing_to_show_is_one_useful_sentence(
    run: Run, tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    shown = run("show", str(path))
    assert (shown.status, shown.out) == (1, "")
    assert sentence in shown.err.replace(str(path), "FILE")
    assert shown.err.count("\n") == 1


def test_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    assert run("show", "absent.jsonl").err == "multiagents-otel show: absent.jsonl: there is no such file\n"
    shown = run("show", str(tmp_path))
    assert (shown.status, "is a directory" in shown.err) == (1, True)


def test_only_log_records_that_are_not_shown_are_nothing(show: Show) -> None:
    shown = show([log("some.other.event")])
    assert (shown.status, shown.out) == (1, "")
    assert "only 1 log record" in shown.err


def test_the_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(HAPPY[0]).encode())))
    shown = run("show", "-")
    assert shown.status == 0
    assert len(drawn(shown.out)) == 6


def test_a_file_that_the_official_exporter_has_written(run: Run) -> None:
    # Written by opentelemetry-exporter-otlp-json-file 0.66b1 with `_work`; it can't be installed beside the OTLP
    # exporters that the package needs, whose common parts it pins at another version.
    _assert_worked(run("show", str(Path(__file__).parent / "data" / "otlp_json_file_exporter.jsonl")))


def test_what_the_protobuf_encoder_makes_in_json(show: Show) -> None:
    from google.protobuf import json_format  # type: ignore[import-untyped,unused-ignore]
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    process = Resource({"service.name": "orders", "service.instance.id": "1"})
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider(resource=process)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader], resource=process)
    _work(tracers, meters)
    data = reader.get_metrics_data()
    assert data is not None
    lines = [
        json_format.MessageToJson(message, indent=None)
        for message in (encode_spans(exporter.get_finished_spans()), encode_metrics(data))
    ]

    def to_hex(match: re.Match[str]) -> str:
        return f'"{match[1]}": "{base64.b64decode(match[2]).hex()}"'

    in_hex = [re.sub(r'"(traceId|spanId|parentSpanId)": "([^"]*)"', to_hex, line) for line in lines]
    assert in_hex != lines
    _assert_worked(show(in_hex))


def _work(tracers: object, meters: object) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

    assert isinstance(tracers, TracerProvider)
    assert isinstance(meters, MeterProvider)
    tracer, meter = tracers.get_tracer("x"), meters.get_meter("x")
    ids = {semconv.WORKFLOW_ID: "order", semconv.TRANSACTION_ID: TRANSACTION}
    with tracer.start_as_current_span("workflow.order", attributes={**ids, semconv.WORKFLOW_STATUS: "completed"}):
        for name in ("a", "b"):
            with pytest.raises(ValueError), tracer.start_as_current_span(f"worker.{name}", attributes=ids):
                raise ValueError("no\nway")
    meter.create_counter("a.counter", "{event}").add(3, {"status": "success"})
    meter.create_histogram("a.time", "s", explicit_bucket_boundaries_advisory=[1, 2]).record(1.5)


def _assert_worked(shown: Shown) -> None:
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.startswith("✓ order  completed  ")
    assert drawn(shown.out) == ["  workflow.order", "  ├─ worker.a", "  └─ worker.b"]
    assert shown.out.count("✗ ValueError: no way") == 2
    assert "2 spans failed, though the workflow did not" in shown.out
    assert numbers(shown.out, "a.counter") == ["a.counter {event}", "status=success 3"]
    assert numbers(shown.out, "a.time") == ["a.time s 1 1.50 s 1.50 s 1.50 s ~1.50 s ~1.50 s 1.50 s"]


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("my file.zst", "zstd -dc 'my file.zst' | multiagents-otel show -"),
        ("a;touch pwned`id`$(id).zst", "zstd -dc 'a;touch pwned`id`$(id).zst' | multiagents-otel show -"),
        ("it's.zst", "zstd -dc 'it'\"'\"'s.zst' | multiagents-otel show -"),
        ("-rf.zst", "zstd -dc ./-rf.zst | multiagents-otel show -"),
    ],
)
def test_a_command_to_copy_quotes_the_path(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"\x28\xb5\x2f\xfd\x00")
    assert run("show", "--", name).err == f"multiagents-otel show: {name}: is compressed; show it with: {command}\n"


def test_the_true_place_of_a_fault_in_indented_json(show: Show) -> None:
    text = json.dumps(HAPPY[0], indent=2).splitlines()
    text[20] += ","
    shown = show([*text, json.dumps(HAPPY[0])])
    assert re.search(r"\(first: line 2[12]: not JSON: .* at column \d+\)", shown.err)
    assert "✓ order" in shown.out


def test_documents_that_are_cut_off_cost_themselves_alone(show: Show) -> None:
    whole = json.dumps(HAPPY[0])
    cuts = [whole[:size] for size in range(1, len(whole), 101)]
    lines = [line for cut in cuts for line in (cut, json.dumps(metrics(total("c", point({"asInt": "1"})))))]
    shown = show([whole, *lines, whole[: len(whole) // 2]])
    assert "✓ order" in shown.out
    assert f": {len(cuts) + 1} of {2 * len(cuts) + 2} lines could not be read (first: line 2: not JSON: " in shown.err
    assert numbers(shown.out, "c ") == ["c {event} 1"]


def test_a_gzip_file_whose_writer_was_killed(run: Run, tmp_path: Path) -> None:
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in HAPPY * 2)
    noise = base64.b64encode(bytes(range(256)) * 99)
    packed = gzip.compress(lines, mtime=0) + gzip.compress(b'{"resourceLogs": []}\n' + noise, mtime=0)
    path = tmp_path / "otlp.jsonl.gz"
    path.write_bytes(packed[:-20])
    shown = run("show", str(path))
    assert "✓ order" in shown.out
    assert "otlp.jsonl.gz: the gzip data ends before its end is written; only what comes before that" in shown.err


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"resourceSpans": {"scopeSpans": []}}, "resourceSpans is not a list"),
        (
            {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "intSum": {}}]}]}]},
            "intSum is of OTLP before 0.9",
        ),
        (metrics(total("c", point({"asInt": str(2**63)}))), "asInt is out of range"),
        (metrics(total("c", point({"asInt": "1_0"}))), "asInt is not an integer"),
        (metrics(total("c", point({"asDouble": "1_0"}))), "asDouble is not a number"),
        (metrics({"name": "c", "sum": {"isMonotonic": "yes", "dataPoints": []}}), "isMonotonic is not a boolean"),
        (
            metrics(histogram("h", point({"count": 1, "bucketCounts": [-1, 2], "explicitBounds": [1]}))),
            "bucketCounts is negative",
        ),
    ],
)
def test_what_no_parser_may_accept_is_refused_with_its_cause(show: Show, entry: Data, reason: str) -> None:
    shown = show([entry])
    assert (shown.status, shown.out) == (1, "")
    assert f"(first: line 1: {reason}" in shown.err


def test_numbers_may_have_exponents_and_base64_another_alphabet(show: Show) -> None:
    labels: Data = {"attributes": [{"key": "b", "value": {"bytesValue": "_-8"}}]}
    shown = show(
        [
            metrics(total("a", {"asInt": "1e3", "timeUnixNano": 1.5e18, **labels})),
            metrics(total("b", {"asDouble": "-1.5E2", "timeUnixNano": "1500000000000000000"}, monotonic=False)),
        ]
    )
    assert shown.err == ""
    assert numbers(shown.out, "a ") == ["a {event}", "b=0xffef 1000"]
    assert numbers(shown.out, "b ") == ["b {event} -150"]
    assert "as of 2017-07-14 02:40:00.000 UTC" in shown.out


@pytest.mark.parametrize(
    ("text", "number"),
    [("9.007199254740993e15", "9007199254740993"), ("-9.223372036854775807E+18", "-9223372036854775807"),
     ("50e-1", "5"), ("0e99", "0"), ("-0.0e-9", "0")],
)  # fmt: skip
def test_integers_with_exponents_are_exact(show: Show, text: str, number: str) -> None:
    shown = show([metrics(total("a", {"asInt": text, "timeUnixNano": 1}, monotonic=False))], "--all")
    assert (shown.err, numbers(shown.out, "a ")) == ("", [f"a {{event}} {number}"])


def test_a_file_of_otlp_with_a_wrong_field_is_not_called_another_kind_of_file(show: Show) -> None:
    assert "not a file of OTLP" not in show([metrics(total("a", {"asInt": "x"}))]).err
    assert "not a file of OTLP JSON" in show([{"name": "x"}]).err


@pytest.mark.parametrize("text", ["5e-1", "1e400", "1e999999999", "1e-999999999", "NaN", "-Infinity", "1e40"])
def test_what_is_no_integer_is_refused(show: Show, text: str) -> None:
    assert "asInt" in show([metrics(total("a", {"asInt": text}))]).err


def test_a_time_that_is_not_recorded_is_not_1970(show: Show) -> None:
    entry: Data = {"traceId": TRACE, "spanId": f"{7:016x}", "parentSpanId": f"{1:016x}", "name": "a span"}
    event = {**workflow().data(), "events": [{"name": "an event"}]}
    lines: list[Data | str] = [
        {"resourceSpans": [{"resource": resource(ORDERS), "scopeSpans": [{"spans": [entry, event]}]}]},
        metrics({"name": "cpu", "gauge": {"dataPoints": [{"asInt": "5"}]}}),
    ]
    shown = show(lines)
    assert shown.err == ""
    assert "1970" not in shown.out
    assert "order  completed  100 ms" in shown.out
    assert "started 2026-01-01 00:00:00.000 UTC" in shown.out
    assert re.search(r"a span +-$", shown.out, re.MULTILINE)
    assert "◇ an event\n" in shown.out
    assert "time not recorded" in shown.out
    alone = show([{"resourceSpans": [{"scopeSpans": [{"spans": [entry]}]}]}])
    assert "start not recorded" in alone.out
    assert "1970" not in alone.out
