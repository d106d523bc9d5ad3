"""The command ``multiagents-otel``.

Importing this package imports neither the framework nor dspy nor redis: the command starts quickly, and works on a
machine where none of them is installed and the telemetry is only looked at.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence

from multiagents_otel.tools import configuration, doctor, launch, report, show
from multiagents_otel.tools.command import OK, USAGE, Command
from multiagents_otel.tools.output import let_anything_be_printed
from multiagents_otel.version import __version__

__all__ = ["main"]

COMMANDS: tuple[Command, ...] = (launch, show, report, configuration, doctor)
"""The subcommands, in the order of the help text. A new one is a module that has the functions of ``Command``."""

_INTERRUPTED = 130  # what a shell reports for SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 is success, 1 means that nothing was found or that a file could not be read, 2 is wrong usage. ``argv`` is
    ``sys.argv[1:]`` unless given. A reader that goes away (``| head``) ends the command quietly, with 0.
    """
    let_anything_be_printed()
    parser = command_line()
    try:
        args = parser.parse_args(argv)
    except SystemExit as end:  # argparse has said what it had to say: --help is 0, a wrong option 2
        return end.code if isinstance(end.code, int) else USAGE
    try:
        run: Callable[[argparse.Namespace], int] = args.run_command
        status = run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        return OK
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line; what it parses has the command's ``run_command``."""
    parser = argparse.ArgumentParser(
        prog="multiagents-otel", description="OpenTelemetry for multiagents-framework: command line tools."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers).set_defaults(run_command=command.run)
    return parser


def _discard_stdout() -> None:
    # The interpreter flushes stdout once more at exit, and would complain there about the closed pipe.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
