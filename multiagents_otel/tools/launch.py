"""``multiagents-otel run``: a program with its telemetry on, and no code for it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING

from multiagents_otel import startup
from multiagents_otel.tools.command import OK, USAGE
from multiagents_otel.tools.interpreter import obstacle

if TYPE_CHECKING:
    from multiagents_otel.tools.command import Subparsers

NAME = "run"

_DESCRIPTION = """\
Run a program instrumented, as opentelemetry-instrument does, with this package's
distro and configurator whatever others are installed. Python children of the
program are instrumented too. Its own sitecustomize runs as without the launcher.

OTEL_* variables, or flags before the program, say what is exported and where to:
--traces_exporter console is OTEL_TRACES_EXPORTER=console, and
--multiagents_detailed_timing false is an option of this package's.

The exit status is the program's; 2: it can't be started. python -I, -E and -S keep
telemetry out: the program runs without it, and a message says so."""


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
    executable = shutil.which(program[0])
    if executable is None:
        return _misused(f"there is no program {program[0]!r}{_hint(program[0])}")
    if why := obstacle(executable, program[1:]):
        print(
            f"multiagents-otel run: {why}: {program[0]} runs without telemetry. "
            "Leave the option out, or call multiagents_otel.auto_instrument() in the program.",
            file=sys.stderr,
        )
    os.environ.update(variables)
    os.environ["OTEL_PYTHON_DISTRO"] = os.environ["OTEL_PYTHON_CONFIGURATOR"] = "multiagents"
    os.environ[startup.LAUNCHER] = "1"
    os.environ["PYTHONPATH"] = startup.with_folder(_without_opentelemetrys(os.environ.get("PYTHONPATH")))
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        # The name as it was given, as a shell does: Python finds its environment by it.
        os.execv(executable, program)  # noqa: S606 - the user's own command
    except OSError as error:
        return _misused(f"{program[0]!r} can't be started: {error.strerror}")


def _without_opentelemetrys(path: str | None) -> str:
    """Take opentelemetry-instrument's own sitecustomize out of a PYTHONPATH: it would instrument a second time."""
    spec = find_spec("opentelemetry.instrumentation")
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        path = startup.without_folder(path, os.path.join(folder, "auto_instrumentation"))  # noqa: PTH118
    return path or ""


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
