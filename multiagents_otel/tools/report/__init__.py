"""``multiagents-otel report``: how an application has fared, out of Prometheus, in the terminal or as a page."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from multiagents_otel.tools.command import FAILED, OK, USAGE
from multiagents_otel.tools.output import NARROWEST, add_screen_options, screen_for
from multiagents_otel.tools.report import period
from multiagents_otel.tools.report.prometheus import TOKEN_VARIABLE, Prometheus, PrometheusError
from multiagents_otel.tools.terminal import safe

if TYPE_CHECKING:
    from multiagents_otel.tools.command import Subparsers

T = TypeVar("T")

_URL: Final = "http://localhost:9090"

_DESCRIPTION = """\
Report on a period: success rates, percentiles, slowest steps, error patterns,
delivery faults, and the trend against the period before. Read from a Prometheus
that scrapes the Collector; it needs no recording rules.

Without -o it is text; with -o it is one HTML page that loads nothing and runs
no script, to be mailed or kept."""

_EPILOG = f"""\
Times are UTC. Percentiles are estimated from buckets, as Prometheus does it.
A workflow that is compensated, failed or stalled is no success; a cancelled one
counts for neither side.

A bearer token is taken from {TOKEN_VARIABLE}; a user and a password may
be in the URL. The proxy variables (HTTPS_PROXY, ...) are heeded.

exit status: 0 if there was something to report, 1 if there was not, or
Prometheus could not be asked, or FILE not be written, 2 for wrong usage."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add ``report`` and return its parser."""
    parser = subparsers.add_parser(
        "report",
        help="report on success, durations, errors and trends, out of Prometheus",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--prometheus", metavar="URL", default=_URL, help="where Prometheus is asked (default: %(default)s)"
    )
    parser.add_argument(
        "--since",
        metavar="DURATION",
        type=_argument(period.seconds),
        default=period.seconds("24h"),
        help="the period's length: 90m, 24h, 7d (default: 24h)",
    )
    parser.add_argument(
        "--until", metavar="TIME", type=_argument(period.moment), help="its end: 2026-11-24T08:00 (default: now)"
    )
    parser.add_argument(
        "--service",
        metavar="NAME",
        action="append",
        default=[],
        help="only this service (service.name; may be given several times)",
    )
    parser.add_argument(
        "--objective",
        metavar="PERCENT",
        type=_argument(_percent),
        default=_percent("99"),
        help="the success rate that is wanted (default: 99)",
    )
    parser.add_argument("-o", dest="output", metavar="FILE", help="write an HTML page there, instead of text")
    parser.add_argument(
        "--header",
        metavar="'NAME: VALUE'",
        type=_argument(_header),
        action="append",
        default=[],
        help="send this with each request (may be given several times)",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_argument(_timeout),
        default=_timeout("30"),
        help="for one query (default: 30)",
    )
    add_screen_options(parser, _argument(_width))
    return parser


def run(args: argparse.Namespace) -> int:
    """Print or write the report, and return the exit status."""
    # What only this command needs is not imported by the others.
    from multiagents_otel.tools.report.gather import gather

    # Rounded up: the newest samples belong to it.
    end = math.ceil(time.time()) if args.until is None else args.until
    try:
        prometheus = Prometheus(args.prometheus, _headers(args.header), args.timeout)
    except ValueError as error:
        _complain(f"--prometheus {args.prometheus}: {error}")
        return USAGE
    try:
        report = gather(prometheus, args.service, period.Period(end - args.since, end), args.objective)
    except PrometheusError as error:
        _complain(str(error))
        return FAILED
    screen = screen_for(args.width, args.color)
    if args.output is None:
        from multiagents_otel.tools.report.text import lines

        for line in lines(report, screen):
            print(line)
        return OK
    from multiagents_otel.tools.report.page import page
    from multiagents_otel.tools.report.tables import headline

    try:
        Path(args.output).write_text(page(report), encoding="utf-8", errors="replace")
    except OSError as error:
        _complain(f"{args.output} can't be written: {error.strerror or error}")
        return FAILED
    for line in (*report.notes, headline(report), f"wrote {args.output}"):
        print(screen.safe(line))
    return OK


def _headers(given: list[tuple[str, str]]) -> dict[str, str]:
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    return ({"Authorization": f"Bearer {token}"} if token else {}) | dict(given)


def _argument(read: Callable[[str], T]) -> Callable[[str], T]:
    """Return ``read`` as argparse wants it: with its ValueError as the message."""

    def argument(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None

    return argument


def _percent(text: str) -> float:
    number = _number(text.removesuffix("%"))
    if not 0 < number <= 100:
        raise ValueError("must be more than 0, and 100 at most")
    return number / 100


def _timeout(text: str) -> float:
    number = _number(text)
    if not 0 < number <= 3600:
        raise ValueError("must be more than 0, and 3600 at most")
    return number


def _width(text: str) -> int:
    number = _number(text)
    if number < NARROWEST or not number.is_integer():
        raise ValueError(f"must be a whole number, {NARROWEST} or more")
    return int(number)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("not a number") from None


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not name or not f"{name}{value}".isprintable() or not f"{name}{value}".isascii() or " " in name:
        # What is wrong is not shown: it may be a secret.
        raise argparse.ArgumentTypeError("not a header such as 'X-Scope-OrgID: team-a'")
    return name, value


def _complain(message: str) -> None:
    print(f"multiagents-otel report: {safe(message)}", file=sys.stderr)
