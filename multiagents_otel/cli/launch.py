"""``multiagents-otel run``: a program with its telemetry on, and no code for it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from typing import TYPE_CHECKING

from multiagents_otel.cli.command import USAGE

if TYPE_CHECKING:
    from multiagents_otel.cli.command import Subparsers

NAME = "run"


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add ``run`` to the command line."""
    parser = subparsers.add_parser(
        NAME,
        usage="multiagents-otel run [-h] [--] PROGRAM [ARGUMENT ...]",
        help="run a program with its telemetry on",
        description=(
            "Run a program instrumented, as opentelemetry-instrument does, with this package's distro and "
            "configurator whatever others are installed. What leaves, and where to, is told by OTEL_* variables."
        ),
        epilog="example: multiagents-otel run python app.py",
    )
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="PROGRAM", help="the program and its arguments")
    return parser


def run(args: argparse.Namespace) -> int:
    """Replace this process by the program; return only if there is none."""
    program: list[str] = args.program
    if program[:1] == ["--"]:
        program = program[1:]
    if not program:
        return _misused("no program is given")
    if shutil.which(program[0]) is None:
        return _misused(f"there is no program {program[0]!r}{_hint(program[0])}")
    os.environ["OTEL_PYTHON_DISTRO"] = os.environ["OTEL_PYTHON_CONFIGURATOR"] = "multiagents"
    from opentelemetry.instrumentation.auto_instrumentation import run as launch

    # It has a command line of its own, whose options would be taken for the environment's: "--" ends them.
    sys.argv = ["opentelemetry-instrument", "--", *program]
    launch()
    raise AssertionError("unreachable: the process is the program now")


def _misused(why: str) -> int:
    print(f"multiagents-otel run: {why}\nusage: multiagents-otel run python app.py", file=sys.stderr)
    return USAGE


def _hint(program: str) -> str:
    if program.endswith(".py"):
        return f": did you mean 'multiagents-otel run python {program}'?"
    return " on the PATH"
