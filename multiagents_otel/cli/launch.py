"""``multiagents-otel run``: a program with its telemetry on, and no code for it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from multiagents_otel.cli.command import OK, USAGE

if TYPE_CHECKING:
    from multiagents_otel.cli.command import Subparsers

NAME = "run"

_DESCRIPTION = """\
Run a program instrumented, as opentelemetry-instrument does, with this package's
distro and configurator whatever others are installed.

What leaves, and where to, is told by OTEL_* variables, or by flags before the
program: --traces_exporter console is OTEL_TRACES_EXPORTER=console, and
--multiagents_detailed_timing false is an option of this package's."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add ``run`` to the command line."""
    parser = subparsers.add_parser(
        NAME,
        usage="multiagents-otel run [-h] [--FLAG VALUE ...] [--] PROGRAM [ARGUMENT ...]",
        help="run a program with its telemetry on",
        description=_DESCRIPTION,
        epilog="example: multiagents-otel run python app.py",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # Nothing is an option to argparse: flags before the program are read here, those after it are the program's.
        prefix_chars="\0",
        add_help=False,
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="PROGRAM", help="the program and its arguments")
    parser.set_defaults(print_help=parser.print_help)
    return parser


def run(args: argparse.Namespace) -> int:
    """Replace this process by the program; return only if there is none."""
    if args.words[:1] in (["-h"], ["--help"]):
        args.print_help()
        return OK
    try:
        variables, program = _read(args.words)
    except ValueError as wrong:
        return _misused(str(wrong))
    if not program:
        return _misused("no program is given")
    if shutil.which(program[0]) is None:
        return _misused(f"there is no program {program[0]!r}{_hint(program[0])}")
    os.environ.update(variables)
    os.environ["OTEL_PYTHON_DISTRO"] = os.environ["OTEL_PYTHON_CONFIGURATOR"] = "multiagents"
    from opentelemetry.instrumentation.auto_instrumentation import run as launch

    # It has a command line of its own, whose options would be taken for the environment's: "--" ends them.
    sys.argv = ["opentelemetry-instrument", "--", *program]
    launch()
    raise AssertionError("unreachable: the process is the program now")


def _read(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The variables that flags before the program stand for, and the program with its arguments."""
    variables: dict[str, str] = {}
    rest = list(words)
    known = _flags() if rest[:1] and rest[0].startswith("-") else {}
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        flag, given, value = word.partition("=")
        variable = known.get(flag.replace("-", "_"))
        if variable is None:
            close = get_close_matches(flag.replace("-", "_"), known, n=1)
            named = f": did you mean --{close[0].strip('_')}?" if close else " (flags of the program come after it)"
            raise ValueError(f"there is no flag {flag!r}{named}")
        if not given and not rest:
            raise ValueError(f"{flag} needs a value")
        variables[variable] = value if given else rest.pop(0)
    return variables, rest


def _flags() -> Mapping[str, str]:
    """The variables by the flags that opentelemetry-instrument has for them, dashes as underscores."""
    names = {
        name
        for entry in entry_points(group="opentelemetry_environment_variables")
        for name in dir(entry.load())
        if name.startswith("OTEL_")
    }
    return {"__" + name.removeprefix("OTEL_").removeprefix("PYTHON_").lower(): name for name in sorted(names)}


def _misused(why: str) -> int:
    print(f"multiagents-otel run: {why}\nusage: multiagents-otel run python app.py", file=sys.stderr)
    return USAGE


def _hint(program: str) -> str:
    if program.endswith(".py"):
        return f": did you mean 'multiagents-otel run python {program}'?"
    return " on the PATH"
