"""``multiagents-otel doctor``: what is wrong in a set-up, and what to do about it."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from multiagents_otel.diagnostics.finding import FAULT, FINE, WARNING, Finding
from multiagents_otel.tools.command import FAILED, OK, USAGE
from multiagents_otel.tools.output import screen_for
from multiagents_otel.tools.quantities import counted
from multiagents_otel.tools.terminal import Screen

if TYPE_CHECKING:
    from multiagents_otel.tools.command import Subparsers

NAME: Final = "doctor"

_STYLES: Final = {FINE: "green", WARNING: "yellow", FAULT: "bold red"}


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add ``doctor`` to the command line."""
    parser = subparsers.add_parser(
        NAME,
        usage="multiagents-otel doctor [-h] [--seconds S] [--json] [--] [PROGRAM [ARGUMENT ...]]",
        help="say what is wrong in a set-up, and what to do",
        description=(
            "Look at this environment: versions, exporters (an empty batch is sent through each), service name, other "
            "instrumentations. With a program, run it and look at its processes too: providers, patches, event "
            "buses, messages that reached nobody."
        ),
        epilog="exit status: 0 nothing is wrong (there may be warnings), 1 there is a fault, 2 wrong usage",
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="end the program after S seconds")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON, for scripts")
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="PROGRAM", help="the program and its arguments")
    return parser


def run(args: argparse.Namespace) -> int:
    """Examine, print what was found, and return 1 if there is a fault."""
    from multiagents_otel.processing.redaction import scrub
    from multiagents_otel.tools.doctor import environment, program

    command: list[str] = args.program[1:] if args.program[:1] == ["--"] else args.program
    if command and shutil.which(command[0]) is None:
        print(f"multiagents-otel doctor: there is no program {command[0]!r}", file=sys.stderr)
        return USAGE
    if args.seconds is not None and not 0 < args.seconds < 86_400:
        print("multiagents-otel doctor: --seconds must be more than 0, and less than a day", file=sys.stderr)
        return USAGE
    found = list(environment.examine())
    if command:
        found += program.examine(command, args.seconds)
    # An endpoint, or a command line, may hold a password, and findings are shown to others.
    found = [finding._replace(what=scrub(finding.what)) for finding in found]
    if args.json:
        print(json.dumps([finding._asdict() for finding in found], indent=2))
    else:
        _print(found, screen_for())
    return FAILED if any(finding.level == FAULT for finding in found) else OK


def _print(found: Iterable[Finding], screen: Screen) -> None:
    glyphs = screen.glyphs
    marks = {FINE: glyphs.ok, WARNING: glyphs.warning, FAULT: glyphs.error}
    counts = dict.fromkeys(marks, 0)
    for finding in found:
        counts[finding.level] += 1
        mark = screen.paint(marks[finding.level], _STYLES[finding.level])
        first, *rest = screen.wrap(f"{finding.topic}: {finding.what}", screen.width - 4)
        print(f"{mark} {first}")
        for line in rest:
            print(f"    {line}")
        for line in screen.wrap(finding.advice, screen.width - 4) if finding.advice else ():
            print(f"    {screen.paint(line, 'dim')}")
    faults, warnings = counts[FAULT], counts[WARNING]
    if not faults and not warnings:
        print("nothing is wrong")
    else:
        print(f"{counted(faults, 'fault')}, {counted(warnings, 'warning')}")
