"""``multiagents-otel show``: the traces, seen from outside: files in, text and exit status out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from multiagents_otel import semconv
from tests.cli.otlp_lines import (
    HAPPY,
    OTHER_TRACE,
    TRANSACTION,
    WORKER_A,
    WORKER_B,
    Call,
    Data,
    exception,
    log,
    many,
    metrics,
    point,
    spans,
    total,
    workflow,
    write,
)
from tests.cli.shown import Run, Show, Shown, drawn


def test_a_small_trace_is_a_waterfall(show: Show) -> None:
    assert show(HAPPY) == Shown(
        0,
        """\
✓ order  completed  100 ms
  transaction txn-1
  trace       4bf92f3577b34da6a3ce929d0e0e4736
  started 2026-01-01 00:00:00.000 UTC · 6 spans in 2 processes

                                            0                   50.0 ms              100 ms
  workflow.order                    orders  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━   100 ms
  ├─ step.validate                  orders  ╺━━━━━━━━━━━━━━━━━━━━━━━━━━━                     59.0 ms
  │  └─ send command.validate       orders   ━                                               2.00 ms
  │     └─ process command.validate workers     ╺━━━━━━━━━━━━━━━━━━━━━                       45.0 ms
  │        └─ worker.validate       workers      ╺━━━━━━━━━━━━━━━━━╸                         38.0 ms
  └─ step.ship                      orders                              ╺━━━━━━━━━━━━━━━━━╸  38.0 ms
""",
        "",
    )


def test_a_failure_is_told_in_full_where_it_arose(show: Show) -> None:
    kind, message = "shop.Declined", "card was declined"
    link: Data = {"traceId": OTHER_TRACE, "spanId": "00f067aa0ba902b7"}
    raised = exception(kind, message)
    shown = show(
        [
            spans(
                workflow(status="compensated", failed_step="charge", error=kind, message=message),
                Call(2, 1, "step.charge", 0, 90, error=kind, message=message),
                Call(3, 2, "worker.charge", 10, 80, WORKER_A, kind, message, events=(raised,), links=(link,)),
            )
        ]
    )
    assert shown.out == (
        """\
✗ order  compensated at step charge: shop.Declined  100 ms
  transaction txn-1
  trace       4bf92f3577b34da6a3ce929d0e0e4736
  started 2026-01-01 00:00:00.000 UTC · 3 spans in 2 processes

                              0                     50.0 ms               100 ms
  workflow.order      orders  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━   100 ms ✗ Declined
  └─ step.charge      orders  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━       90.0 ms ✗ Declined
     └─ worker.charge workers      ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━            70.0 ms ✗ Declined
           ✗ shop.Declined: card was declined
           ↗ link to trace 0af7651916cd43dd8448eb211c80319c span 00f067aa0ba902b7
"""
    )


def test_the_error_type_stands_in_the_header_whatever_the_width(show: Show) -> None:
    kind = "warehouse.stock.errors.OutOfStockError"
    lines = [spans(workflow(status="compensated", failed_step="charge", error=kind))]
    wide, narrow = (show(lines, "--width", width).out.splitlines()[:2] for width in ("84", "80"))
    assert wide == [f"✗ order  compensated at step charge: {kind}  100 ms", "  transaction txn-1"]
    assert narrow == ["✗ order  compensated at step charge  100 ms", f"  error       {kind}"]


def test_a_header_does_not_say_stalled_twice(show: Show) -> None:
    lines = [spans(workflow(status="stalled", failed_step="charge", error="stalled"))]
    assert show(lines).out.splitlines()[0] == "✗ order  stalled at step charge  100 ms"


def test_an_error_says_its_kind_on_each_span_and_other_exceptions_are_listed(show: Show) -> None:
    shown = show(
        [
            spans(
                workflow(status="failed", error="KeyError", message="step broke: 'x'"),
                Call(
                    2, 1, "worker.a", 0, 50, error="ValueError", message="bad", events=(exception("OSError", "disk"),)
                ),
            )
        ]
    )
    assert shown.out.count("✗ KeyError") == 2  # its row, its note: no other span has told it
    assert shown.out.count("✗ ValueError") == 2
    assert "✗ ValueError: bad" in shown.out
    assert "exception OSError: disk" in shown.out


def test_lost_stalled_and_doubled_events_are_marked(show: Show) -> None:
    def step(number: int, name: str, receivers: int, error: str = "") -> list[Call]:
        sent = ((semconv.EVENT_TYPE, semconv.COMMAND_EVENT), (semconv.RECEIVERS, receivers))
        return [
            Call(
                number, 1, f"step.{name}", number, number + 9, error=error, extra=((semconv.STEP_NAME, name), sent[1])
            ),
            Call(
                number + 1,
                number,
                f"send command.{name}",
                number,
                number + 1,
                error="" if error == "stalled" else error,
                extra=sent,
            ),
        ]

    shown = show(
        [
            spans(
                workflow(status="stalled", error="stalled"),
                *step(10, "twice", 2),
                *step(20, "lost", 0, "undelivered"),
                *step(30, "slow", 1, "stalled"),
                *step(40, "cluster", 0),
            )
        ]
    )
    header = shown.out.split("\n\n")[0]
    assert "✗ order  stalled" in header
    assert "▲ 1 event lost" in header
    assert "▲ 1 command ran more than once" in header
    assert [line.strip(" │") for line in shown.out.splitlines() if re.match(r"[ │]+▲", line)] == [
        "▲ 1 event lost",
        "▲ 1 command ran more than once",
        "▲ runs twice: 2 receivers",
        "▲ LOST: reached no receiver",
        "▲ STALLED: no result came",
        "▲ no receiver was counted: lost, unless this is a Redis Cluster",
    ]


def test_a_missing_parent_is_a_line_of_its_own_and_a_trace_without_root_says_so(show: Show) -> None:
    shown = show(
        [spans(Call(5, 9, "worker.late", 10, 20), Call(6, 9, "worker.early", 0, 5), Call(7, 6, "inner", 1, 2))]
    )
    assert "no root span" in shown.out
    assert shown.out.splitlines()[-4] == "  missing parent 0000000000000009"
    assert drawn(shown.out) == ["  ├─ worker.early", "  │  └─ inner", "  └─ worker.late"]


def test_parents_in_a_circle_lose_no_span(show: Show) -> None:
    shown = show([spans(Call(1, 2, "a", 0, 3), Call(2, 1, "b", 1, 2), Call(3, 3, "self", 4, 5))])
    assert drawn(shown.out) == ["  └─ a", "     └─ b", "  └─ self"]


def test_duplicates_are_shown_once_and_counted(show: Show) -> None:
    shown = show([*HAPPY, *HAPPY])
    assert len(drawn(shown.out)) == 6
    assert "6 duplicate spans not shown" in shown.out
    other = show([spans(workflow()), spans(workflow(end=50, process=WORKER_A))])
    assert "1 span id used again for another span" in other.out
    assert "duplicate" not in other.out


def test_a_workflow_that_has_only_started_is_not_ended(show: Show) -> None:
    shown = show(
        [log(semconv.LOG_WORKFLOW_STARTED), spans(Call(2, 1, "step.a", 10, 20)), log(semconv.LOG_WORKFLOW_STALLED, 500)]
    )
    assert shown.out.startswith("◌ order  not ended, stalled\n  transaction txn-1\n")
    assert drawn(shown.out) == ["  workflow.order", "  └─ step.a"]
    assert "◌ open" in shown.out
    assert "missing parent" not in shown.out
    assert "  log +0 s      INFO  multiagents.workflow.started\n" in shown.out
    assert "  log +500 ms   INFO  multiagents.workflow.stalled\n" in shown.out


def test_a_workflow_without_any_span_is_shown_by_its_log_event(show: Show) -> None:
    assert show([log(semconv.LOG_WORKFLOW_STARTED)]).out.startswith("◌ order  not ended\n")
    assert show([log(semconv.LOG_WORKFLOW_STARTED, flags=0)]).out.startswith("◌ order  not ended, or not sampled\n")


def test_workflows_that_are_not_sampled_do_not_crowd_out_the_others(show: Show) -> None:
    unsampled = [log(semconv.LOG_WORKFLOW_STARTED, trace=f"{n:032x}", flags=0) for n in range(1, 40)]
    shown = show([*unsampled, log(semconv.LOG_WORKFLOW_STARTED), *HAPPY])
    assert re.findall("^[✓✗◌] .*", shown.out, re.MULTILINE) == ["✓ order  completed  100 ms"]
    assert "not shown" not in shown.out
    assert shown.out.startswith("39 workflows left out: not sampled, and nothing failed\n\n✓ order")
    assert "left out" not in show([*unsampled, *HAPPY], "--transaction", TRANSACTION).out


def test_where_nothing_but_failures_is_sampled_the_others_crowd_out_nothing_either(show: Show) -> None:
    kept = workflow(status="failed", error="E")
    kept = replace(kept, extra=(*kept.extra, (semconv.SAMPLING_KEEP, True)))
    started = [log(semconv.LOG_WORKFLOW_STARTED, trace=f"{n:032x}", flags=0, transaction=f"t{n}") for n in range(1, 40)]
    shown = show([*started, log(semconv.LOG_WORKFLOW_STARTED, flags=0), spans(kept)])
    assert re.findall("^[✓✗◌] .*", shown.out, re.MULTILINE) == ["✗ order  failed: E  100 ms"]
    assert shown.out.startswith("39 workflows left out: not sampled, and nothing failed\n\n✗ order")


def test_a_log_event_without_trace_id_joins_its_transaction(show: Show) -> None:
    shown = show([log(semconv.LOG_WORKFLOW_STARTED, trace="", flags=0), *HAPPY])
    assert shown.out.count("transaction txn-1") == 1
    assert "multiagents.workflow.started" in shown.out
    assert "not ended" not in shown.out
    alone = show([log(semconv.LOG_WORKFLOW_STARTED, trace="", flags=0)])
    assert alone.out.startswith("◌ order  not ended")
    assert "trace   " not in alone.out


def test_a_stalled_workflow_that_ended_after_all_says_so(show: Show) -> None:
    shown = show([spans(workflow(status="stalled", error="stalled")), log(semconv.LOG_WORKFLOW_RECOVERED, 900)])
    assert shown.out.startswith("✗ order  stalled, ended after all later  100 ms\n")
    not_sampled = [
        log(name, flags=0)
        for name in (semconv.LOG_WORKFLOW_STARTED, semconv.LOG_WORKFLOW_STALLED, semconv.LOG_WORKFLOW_RECOVERED)
    ]
    assert show(not_sampled).out.startswith("◌ order  ended after a stall\n")


def test_log_events_are_known_by_name_attribute_and_body_too(show: Show) -> None:
    named = json.dumps(log(semconv.LOG_WORKFLOW_STARTED))
    by_attribute = named.replace('"eventName": ', '"attributes2": ').replace(
        '"attributes": [{"key": "workflow.id"',
        '"attributes": [{"key": "event.name", "value": {"stringValue": "multiagents.workflow.started"}}, '
        '{"key": "workflow.id"',
    )
    by_body = named.replace('"eventName": "multiagents.workflow.started"', '"body": {"stringValue": "%s"}') % (
        semconv.LOG_WORKFLOW_STARTED
    )
    for line in (by_attribute, by_body):
        assert show([line]).out.startswith("◌ order  not ended\n")


def test_processes_of_one_service_are_told_apart(show: Show) -> None:
    shown = show([spans(workflow(), Call(2, 1, "a", 1, 9, WORKER_A), Call(3, 1, "b", 1, 9, WORKER_B))])
    assert "3 spans in 3 processes" in shown.out
    assert re.findall(r"workers/\w+", shown.out) == ["workers/aaaa", "workers/bbbb"]


def test_clocks_that_disagree_give_no_negative_duration(show: Show) -> None:
    shown = show([spans(workflow(), Call(2, 1, "a", 50, 40))])
    assert "0 s" in shown.out.splitlines()[-1]


def test_code_that_nests_deeper_than_the_terminal_is_wide(show: Show) -> None:
    deep = [Call(n, n - 1, f"level.{n}", n / 100, 100) for n in range(2, 3000)]
    shown = show([spans(workflow(), *deep)], "--width", "60")
    assert shown.status == 0
    assert len(drawn(shown.out)) == 2999
    assert max(map(len, shown.out.splitlines())) <= 60
    assert "level.2999" in shown.out


def transactions(text: str) -> list[str]:
    return re.findall(r"^  transaction (\S+)$", text, re.MULTILINE)


def test_a_transaction_is_found_by_its_prefix_and_shown_whole(show: Show) -> None:
    outside = Call(2, 1, "user code", 0, 1, trace=f"{7:032x}", transaction="")
    lines = [*many(12), spans(Call(2, 7, "user code", 0, 1, trace=f"{7:032x}", transaction="other")), spans(outside)]
    assert transactions(show(lines, "--transaction", "txn-007").out) == ["txn-007"]
    assert "user code" in show(lines, "--transaction", "txn-007").out
    assert transactions(show(lines, "--transaction", "txn-01").out) == ["txn-010", "txn-011", "txn-012"]


def test_an_unknown_transaction_lists_the_latest_that_there_are(show: Show) -> None:
    shown = show(
        [spans(workflow(n, trace=f"{n:032x}", transaction=f"txn-{n}", end=n)) for n in (1, 2)], "--transaction=x"
    )
    assert (shown.status, shown.out) == (1, "")
    assert "there is no transaction x; there are:\n" in shown.err
    assert sorted(re.findall(r"^  (txn-\d)$", shown.err, re.MULTILINE)) == ["txn-1", "txn-2"]
    crowd = show(many(13), "--transaction", "x").err
    assert len(re.findall(r"^  txn-\d+$", crowd, re.MULTILINE)) == 10
    assert crowd.endswith("  and 3 older ones\n")


def test_only_traces_with_errors(show: Show) -> None:
    assert transactions(show(many(25), "--errors").out) == ["txn-010", "txn-020"]
    none = show(many(9), "--errors")
    assert (none.status, none.out) == (1, "")
    assert "there is no error in 9 traces" in none.err


def test_the_most_recent_traces_come_last_and_the_rest_is_counted(show: Show) -> None:
    lines = [
        spans(Call(n, 0, f"span.{n}", n, n + 1, trace=f"{n:032x}", transaction=f"txn-{n}"))
        for n in (3, 1, 2, *range(4, 24))
    ]
    shown = show(lines)
    assert transactions(shown.out) == [f"txn-{n}" for n in range(4, 24)]
    assert shown.out.startswith("3 older traces are not shown (--limit 0 shows all)\n")
    assert transactions(show(lines, "--limit", "0").out) == [f"txn-{n}" for n in range(1, 24)]
    assert transactions(show(lines, "--limit", "1").out) == ["txn-23"]


def test_spans_of_a_trace_are_gathered_from_all_lines_and_files(run: Run, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("traces.jsonl", "logs.jsonl", "metrics.jsonl")]
    write(paths[0], [spans(Call(2, 1, "step.a", 1, 9)), *many(30), spans(Call(3, 1, "step.b", 20, 30))])
    write(paths[1], [log(semconv.LOG_WORKFLOW_STARTED)])
    write(paths[2], [metrics(total("a.counter", point({"asInt": "3"})))])
    shown = run("show", *map(str, paths))
    assert shown.status == 0
    chosen = run("show", *map(str, paths), "--transaction", TRANSACTION)
    assert drawn(chosen.out) == ["  workflow.order", "  ├─ step.a", "  └─ step.b"]
    assert "Metrics" in shown.out
    assert "Metrics" not in chosen.out  # they are of the whole file
