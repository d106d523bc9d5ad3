"""What standard output can show: its width, colour, characters."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from typing import Final

from multiagents_otel.tools.terminal import ASCII, UNICODE, Glyphs, Screen

NARROWEST: Final = 60
_WIDTH_OF_NO_TERMINAL: Final = 100


def add_screen_options(parser: argparse.ArgumentParser, width: Callable[[str], int]) -> None:
    """Add ``--width``, which ``width`` reads, and ``--color``: what :func:`screen_for` takes."""
    parser.add_argument(
        "--width", metavar="N", type=width, help=f"columns to fill, at least {NARROWEST} (default: the terminal's)"
    )
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="auto (the default): if the output is a terminal and NO_COLOR is not set",
    )


def screen_for(width: int | None = None, color: str = "auto") -> Screen:
    """The screen for standard output; ``width`` and ``color`` (auto, always, never) as the user gave them."""
    return Screen(width or max(NARROWEST, _terminal_width()), color=_wants_color(color), glyphs=_glyphs())


def _terminal_width() -> int:
    if os.environ.get("COLUMNS", "").isdecimal():
        return int(os.environ["COLUMNS"]) or _WIDTH_OF_NO_TERMINAL
    # The standard error is asked too: with `| less -R` it is still the terminal.
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                return os.get_terminal_size(stream.fileno()).columns or _WIDTH_OF_NO_TERMINAL
        except (OSError, ValueError):
            continue
    return _WIDTH_OF_NO_TERMINAL


def _wants_color(choice: str) -> bool:
    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return choice == "always"


def _glyphs() -> Glyphs:
    try:
        UNICODE.full.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def let_anything_be_printed() -> None:
    """Never fail on a character that standard output cannot encode."""
    # An emoji in a name must not end the command where the output is Latin-1.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
