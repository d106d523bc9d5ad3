"""Options of a Python interpreter that keep it from running any sitecustomize of PYTHONPATH."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_PYTHON: Final = re.compile(r"(?:python|pypy)\d*(?:\.\d+)*t?(?:\.exe)?")
_LONGEST_SHEBANG: Final = 512
_REASONS: Final = {
    "E": "ignores PYTHONPATH",
    "I": "ignores PYTHONPATH",
    "S": "does not run sitecustomize",
}


def obstacle(executable: str, arguments: Sequence[str]) -> str | None:
    """Say why a Python program can't be instrumented from outside; None if nothing is known against it.

    Args:
        executable: the file to run: an interpreter, or a script that names one in its first line.
        arguments: its arguments.
    """
    words = [executable, *arguments] if _is_python(executable) else _shebang(executable)
    if not words or not _is_python(words[0]):
        return None
    letter = _letter(words[1:])
    return None if letter is None else f"{Path(words[0]).name} -{letter} {_REASONS[letter]}"


def _is_python(executable: str) -> bool:
    return _PYTHON.fullmatch(Path(executable).name) is not None


def _shebang(path: str) -> list[str]:
    """Read the interpreter, and its options, of a script's first line."""
    try:
        with Path(path).open("rb") as file:
            line = file.readline(_LONGEST_SHEBANG).decode("utf-8", "replace")
        words = shlex.split(line[2:]) if line.startswith("#!") else []
    except (OSError, ValueError):
        return []
    if words and Path(words[0]).name == "env":
        words = shlex.split(" ".join(words[1:]).removeprefix("-S"))
        while words and "=" in words[0]:
            words.pop(0)
    return words


def _letter(options: Sequence[str]) -> str | None:
    """Find the option among those before the script; ``-c`` and ``-m`` end them."""
    has_value = False
    for word in options:
        if has_value:
            has_value = False
            continue
        if not word.startswith("-") or word in ("-", "--"):
            return None
        if word.startswith("--"):
            has_value = word == "--check-hash-based-pycs"
            continue
        for position, letter in enumerate(word[1:], start=2):
            if letter in _REASONS:
                return letter
            if letter in "cm":
                return None
            if letter in "WX":
                has_value = position == len(word)
                break
    return None
