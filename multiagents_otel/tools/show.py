"""``multiagents-otel show``: traces and metrics out of files of OTLP JSON, for people to read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from multiagents_otel.tools.command import FAILED, OK
from multiagents_otel.tools.metric_table import metric_table
from multiagents_otel.tools.otlp_file import OtlpFile, UnreadableFileError
from multiagents_otel.tools.output import NARROWEST, add_screen_options, screen_for
from multiagents_otel.tools.quantities import counted
from multiagents_otel.tools.terminal import Screen, safe
from multiagents_otel.tools.trace_index import Trace, TraceIndex, TraceSummary
from multiagents_otel.tools.waterfall import waterfall

if TYPE_CHECKING:
    from multiagents_otel.tools.command import Subparsers

_LIMIT = 20
_MOST_IDS = 10
_AT_ONCE = 200

_DESCRIPTION = """\
Show the traces and metrics that OTLP JSON files hold: a waterfall for each
trace, then a table of metrics.

The files are those that the OTLP JSON file exporter and the Collector's file
exporter (format: json) write, one request a line; pretty-printed, joined or
compressed by gzip they are read too. Traces, metrics and logs may be in one
file or in several."""

_EPILOG = """\
With --transaction or --errors the metrics, which are of the whole file, are
left out. Times are UTC; quantiles marked with ~ are estimated from buckets.

exit status: 0 if there was something to show, 1 if there was not or if a file
could not be read, 2 for wrong usage."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add ``show`` and return its parser."""
    parser = subparsers.add_parser(
        "show",
        help="show the traces and metrics of OTLP JSON files",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="an OTLP JSON file; - is the standard input")
    parser.add_argument("--transaction", metavar="ID", help="only the traces of this workflow transaction (or prefix)")
    parser.add_argument("--errors", action="store_true", help="only the traces that have an error or have stalled")
    parser.add_argument(
        "--limit",
        metavar="N",
        type=_natural,
        default=_LIMIT,
        help="show the N most recent traces (default: %(default)s; 0: all)",
    )
    parser.add_argument("--all", dest="everything", action="store_true", help="show the metrics' series at 0 too")
    parser.add_argument("--no-metrics", action="store_true", help="leave out the metrics")
    parser.add_argument(
        "--metric",
        metavar="GLOB",
        action="append",
        help="only the metrics with such a name, like '*.worker.*' (may be given several times)",
    )
    add_screen_options(parser, _width)
    return parser


def run(args: argparse.Namespace) -> int:
    """Print what was asked for, and return the exit status."""
    status = OK
    with ExitStack() as stack:
        files: list[OtlpFile] = []
        for path in args.files:
            try:
                files.append(stack.enter_context(OtlpFile(path)))
            except UnreadableFileError as error:
                _complain(str(error))
                status = FAILED
        if not files:
            return FAILED
        return max(status, _show(files, args))


def _show(files: Sequence[OtlpFile], args: argparse.Namespace) -> int:
    index = TraceIndex(files)
    status = OK
    for file in files:
        if file.damage:
            _complain(file.damage)
    for damage in index.damages:
        if damage.broken:
            other = damage.broken == damage.lines and not damage.is_otlp
            _complain(f"{damage}: not a file of OTLP JSON" if other else f"{damage}")
            status = FAILED if damage.broken == damage.lines else status
    traces = _listed(index)
    chosen = traces
    if args.transaction is not None:
        chosen = [trace for trace in traces if any(name.startswith(args.transaction) for name in trace.transactions)]
        if not chosen:
            _complain(_unknown_transaction(args.transaction, traces))
            return FAILED
    if args.errors:
        chosen = [trace for trace in chosen if trace.error or trace.stalled_log]
        if not chosen:
            _complain(f"there is no error in {counted(len(traces), 'trace')}")
            return FAILED
    with_metrics = not (args.no_metrics or args.errors or args.transaction is not None)
    if args.metric:
        index.metrics.keep(args.metric)
    instruments = index.metrics.instruments() if with_metrics else []
    if args.metric and with_metrics and not instruments:
        _complain(f"there is no metric {' or '.join(args.metric)}")
        return FAILED
    if not chosen and not instruments:
        if status == OK:
            _complain(_nothing(index))
        return FAILED
    with_metrics, screen = bool(instruments), screen_for(args.width, args.color)
    lines = _output(
        index,
        chosen,
        screen,
        limit=args.limit,
        left_out=len(index.summaries()) - len(traces) if chosen is traces else 0,
        with_metrics=with_metrics,
        everything=args.everything,
    )
    for line in lines:
        print(line)
    return status


def _listed(index: TraceIndex) -> list[TraceSummary]:
    """Return the traces worth a place: not the workflows that are not sampled, of which only a log event tells."""
    traces = index.summaries()
    if not any(trace.sampled_log or trace.kept for trace in traces):
        return traces  # the flags are not recorded, or nothing is sampled: the log events are all there is
    return [trace for trace in traces if trace.has_spans or trace.sampled_log or trace.stalled_log]


def _output(
    index: TraceIndex,
    chosen: Sequence[TraceSummary],
    screen: Screen,
    *,
    limit: int,
    left_out: int,
    with_metrics: bool,
    everything: bool,
) -> Iterator[str]:
    shown = chosen[-limit:] if limit else chosen
    hidden = len(chosen) - len(shown)
    if left_out:
        yield screen.paint(f"{counted(left_out, 'workflow')} left out: not sampled, and nothing failed", "dim")
        yield ""
    if hidden:
        text = f"{hidden} older {'trace is' if hidden == 1 else 'traces are'} not shown (--limit 0 shows all)"
        yield screen.paint(text, "dim")
        yield ""
    for number, trace in enumerate(_loaded(index, shown)):
        if number:
            yield from ("", screen.paint(screen.glyphs.rule * screen.width, "dim"), "")
        yield from waterfall(trace, screen)
    if with_metrics:
        if shown:
            yield from ("", screen.paint(screen.glyphs.rule * screen.width, "dim"), "")
        yield from metric_table(index.metrics, screen, everything=everything)


def _loaded(index: TraceIndex, shown: Sequence[TraceSummary]) -> Iterator[Trace]:
    # A line holds parts of many traces, so they are not loaded one by one; nor all at once, since they may be many.
    for start in range(0, len(shown), _AT_ONCE):
        yield from index.load(shown[start : start + _AT_ONCE])


def _unknown_transaction(wanted: str, traces: Sequence[TraceSummary]) -> str:
    known = list(dict.fromkeys(name for trace in reversed(traces) for name in sorted(trace.transactions)))
    if not known:
        return f"there is no transaction {wanted}: no trace has a transaction id"
    lines = [f"there is no transaction {wanted}; there are:", *(f"  {name}" for name in known[:_MOST_IDS])]
    if len(known) > _MOST_IDS:
        lines.append(f"  and {len(known) - _MOST_IDS} older ones")
    return "\n".join(lines)


def _nothing(index: TraceIndex) -> str:
    records = index.logs + index.other_logs
    if records:
        return f"there are no traces and no metrics to show, only {counted(records, 'log record')}"
    return "there are no traces and no metrics to show"


def _complain(message: str) -> None:
    for number, line in enumerate(message.split("\n")):
        print("" if number else "multiagents-otel show: ", safe(line), sep="", file=sys.stderr)


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"not a number from 0 on: {text}")
    return int(text)


def _width(text: str) -> int:
    width = _natural(text)
    if width < NARROWEST:
        raise argparse.ArgumentTypeError(f"must be at least {NARROWEST}")
    return width
