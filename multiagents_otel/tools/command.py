"""What a subcommand of ``multiagents-otel`` is: a module with these two functions."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
    """What ``ArgumentParser.add_subparsers`` returns (argparse has no public name for it)."""

OK = 0
FAILED = 1
"""Nothing was found, or a file could not be read."""
USAGE = 2


class Command(Protocol):
    """A module that offers one subcommand."""

    def add_parser(self, subparsers: Subparsers) -> argparse.ArgumentParser:
        """Add the subcommand with its arguments, and return its parser."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work, and return the exit status."""
