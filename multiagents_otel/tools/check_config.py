"""``multiagents-otel config check``: what a configuration file would do, and what is wrong in it."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from multiagents_otel.config import NAMES, OptionError, file_of_environment, files
from multiagents_otel.config.sources import DEFAULT, Layer, Setting, misspelt, of_environment, resolve
from multiagents_otel.config.values import plain
from multiagents_otel.tools.command import FAILED, OK
from multiagents_otel.tools.terminal import safe

if TYPE_CHECKING:
    from multiagents_otel.tools.command import Subparsers

_DESCRIPTION = """\
Show every option that would apply with a configuration file in this
environment, with its value and where the value is from, and say what is wrong,
with the line."""

_EPILOG = """\
Without FILE: the file that MULTIAGENTS_OTEL_CONFIG names, or the environment
alone. Arguments of auto_instrument() win over all that is shown here.

exit status: 0 if all is well, 1 if something is wrong or the file can't be
read, 2 for wrong usage."""

_COLLECTORS = ("metrics_collection.export_prometheus", "metrics_collection.export_port")
_RESOURCES = "worker_monitoring.track_resource_usage"
_SYSTEM_METRICS = "opentelemetry.instrumentation.system_metrics"


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add ``config check`` and return its parser."""
    parser = subparsers.add_parser(
        "check",
        help="show what would apply, and whence",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="a YAML or JSON file")
    parser.add_argument("--given", action="store_true", help="leave out what is only a default")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the table, and the errors on stderr; return the exit status."""
    wrong = list(misspelt(NAMES, os.environ))
    named = file_of_environment()
    path = args.file or (named[1] if named else None)
    layers = [*of_environment(NAMES, os.environ)]
    try:
        layers += [Layer(files.read(path), strict=True)] if path else []
    except (OptionError, OSError) as error:
        wrong.append(str(error))
        print("\n".join(map(safe, wrong)), file=sys.stderr)
        return FAILED
    settings, problems = resolve(NAMES, layers)
    wrong += [str(problem.error) if problem.strict else f"{problem.error}: {problem.instead}" for problem in problems]
    print("\n".join(_table(settings, only_given=args.given)))
    if any(settings[path].source != DEFAULT for path in _COLLECTORS):
        print("\nexport_prometheus and export_port are for the Collector: the application itself opens no port.")
    resources = settings[_RESOURCES]
    if resources.value and resources.source != DEFAULT and find_spec(_SYSTEM_METRICS) is None:
        print(f"\n{_RESOURCES} needs a package that is not installed here: pip install 'multiagents-otel[process]'")
    for line in wrong:
        print(safe(line), file=sys.stderr)
    return FAILED if wrong else OK


def _table(settings: dict[str, Setting], only_given: bool) -> list[str]:
    rows = [
        (option.section, option.name, _value(setting.value), setting.source)
        for option in NAMES.options
        for setting in [settings[option.path]]
        if option.env and not (only_given and setting.source == DEFAULT)
    ]
    lines = []
    for section in dict.fromkeys(row[0] for row in rows):
        lines += ["", section]
        lines += [f"  {name:<29} {value:<24} {safe(source)}" for of, name, value, source in rows if of == section]
    return lines[1:]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    value = plain(value)
    return safe(",".join(map(str, value)) if isinstance(value, list) else str(value)) or "-"
