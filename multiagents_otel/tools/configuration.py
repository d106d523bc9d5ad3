"""``multiagents-otel config``: what has to do with configuration files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from multiagents_otel.tools import check_config, export_config

if TYPE_CHECKING:
    from multiagents_otel.tools.command import Command, Subparsers

_ACTIONS: Final[tuple[Command, ...]] = (check_config, export_config)


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add ``config`` with its actions and return its parser."""
    text = "check a configuration file, write the pipeline's files"
    parser = subparsers.add_parser("config", help=text, description=f"{text[0].upper()}{text[1:]}.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action in _ACTIONS:
        action.add_parser(actions).set_defaults(run_action=action.run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the action and return the exit status."""
    status: int = args.run_action(args)
    return status
