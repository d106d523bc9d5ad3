"""What a value may be, and how it is written: an argument of Python's, a word of YAML's, the text of a variable.

Each function returns the value, or raises ValueError (hooks: TypeError) for one that can't be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from enum import Enum
from inspect import iscoroutinefunction
from typing import Any, Final

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_OTHER_LEVELS: Final = {"WARN": "WARNING", "FATAL": "CRITICAL"}


def boolean(value: object) -> bool:
    """A bool, or one of the words for it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("true", "1", "yes", "on"):
            return True
        if word in ("false", "0", "no", "off"):
            return False
    raise ValueError


def json_or_text(value: object) -> bool:
    """A bool, or the format's name: what people give ``LOG_FORMAT``."""
    word = value.strip().lower() if isinstance(value, str) else ""
    return {"json": True, "text": False}[word] if word in ("json", "text") else boolean(value)


def seconds(value: object) -> float:
    """Seconds, 0 or more."""
    number = _number(value)
    if number < 0:
        raise ValueError
    return number


def positive(value: object) -> float:
    """A number above 0; a whole one stays an int."""
    number = _number(value)
    if number <= 0:
        raise ValueError
    return int(number) if number.is_integer() else number


def fraction(value: object) -> float:
    """A number above 0, at most 1."""
    number = _number(value)
    if not 0 < number <= 1:
        raise ValueError
    return number


def whole(least: int, most: int | None = None) -> Callable[[object], int]:
    """Whole numbers of a range."""

    def parse(value: object) -> int:
        number = _number(value)
        if not number.is_integer() or number < least or (most is not None and number > most):
            raise ValueError
        return int(number)

    return parse


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError  # noqa: TRY004 - a TypeError is for hooks
    try:
        number = float(value)
    except OverflowError:
        raise ValueError from None
    if number - number != 0:  # infinite, or no number
        raise ValueError
    return number


def globs(value: object) -> tuple[str, ...]:
    """Globs: one text with commas, or several."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Iterable):
        raise ValueError  # noqa: TRY004
    several = tuple(value)
    if not all(isinstance(glob, str) for glob in several):
        raise ValueError
    return tuple(glob.strip() for glob in several if glob.strip())


def one_of(*words: str) -> Callable[[object], str]:
    """One of these words."""

    def parse(value: object) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return parse


def level(value: object) -> str:
    """The name of a log level, in any case; the framework's ``LogLevel`` too."""
    name = value.value if isinstance(value, Enum) else value
    if not isinstance(name, str):
        raise ValueError  # noqa: TRY004
    name = name.strip().upper()
    name = _OTHER_LEVELS.get(name, name)
    if name not in LEVELS:
        raise ValueError
    return name


def path(value: object) -> str:
    """A path, as text."""
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError  # noqa: TRY004
    text = os.fspath(value)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ValueError
    return text


def patterns(value: object) -> tuple[re.Pattern[str], ...]:
    """Regular expressions: one, or several; in a text one a line, since a comma may be a part of one."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = value.splitlines()
    elif isinstance(value, re.Pattern):
        value = (value,)
    if not isinstance(value, Iterable):
        raise ValueError  # noqa: TRY004
    compiled_ones = []
    for pattern in value:
        if isinstance(pattern, str) and not pattern.strip():
            continue
        try:
            compiled = re.compile(pattern)
        except (re.error, TypeError):
            raise ValueError from None
        if not isinstance(compiled.pattern, str):
            raise ValueError  # noqa: TRY004
        compiled_ones.append(compiled)
    return tuple(compiled_ones)


_ASYNC: Final = ": it is async, and nobody would await it: its span ends before it could run"


def hook(value: object) -> Callable[..., Any] | None:
    """A plain function."""
    if value is None:
        return None
    if not callable(value) or iscoroutinefunction(value) or iscoroutinefunction(type(value).__call__):
        raise TypeError(_ASYNC if callable(value) else "")
    return value


def plain(value: object) -> object:
    """A value as YAML and JSON have it."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value.pattern if isinstance(value, re.Pattern) else value
