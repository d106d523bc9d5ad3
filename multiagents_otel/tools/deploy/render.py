"""Puts values into a file of the pipeline. The files are valid as they are, with every parameter's default.

Three markers, all of them comments, say what may be replaced:

- a line that ends with ``# parameter: NAME[, NAME]``, or holds ``{{/* parameter: NAME */}}`` where only a Go template
  may hold a comment: each default in it, as a whole word, becomes the value;
- the lines from ``# >>> only with: NAME`` to ``# <<<`` go if the value is ``false`` or empty;
- the lines between ``# >>> generated: NAME`` and ``# <<<`` are made anew.

With all defaults a file comes out as it went in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from multiagents_otel.tools.deploy.generated import GENERATED
from multiagents_otel.tools.deploy.parameter import Values
from multiagents_otel.tools.deploy.parameters import PARAMETERS

__all__ = ["MarkerError", "render"]

_NAMES: Final = r"(?P<names>\w+(?:, *\w+)*)"
_MARKERS: Final = (
    re.compile(rf"\s*# parameter: {_NAMES}$"),
    re.compile(rf"\{{\{{/\* parameter: {_NAMES} \*/\}}\}}"),
)
_OPEN: Final = re.compile(r"(?P<indent>\s*)# >>> (?P<kind>only with|generated): (?P<name>\w+)")
_CLOSE: Final = re.compile(r"\s*# <<<")


class MarkerError(ValueError):
    """A file of the pipeline and the table of parameters don't fit together."""


def render(text: str, values: Values) -> str:
    """Give the file's text with these values. MarkerError: a marker that can't be right, with its line."""
    lines = text.splitlines(keepends=True)
    return "".join(_region(iter(lines), values, ends=False))


def _region(lines: Iterator[str], values: Values, *, ends: bool) -> Iterator[str]:
    for line in lines:
        opened = _OPEN.match(line)
        if opened:
            yield from _opened(line, opened, lines, values)
        elif _CLOSE.match(line):
            if not ends:
                raise MarkerError("a region ends that never began")
            yield line
            return
        else:
            yield _line(line, values)
    if ends:
        raise MarkerError("a region has no end")


def _opened(line: str, opened: re.Match[str], lines: Iterator[str], values: Values) -> Iterator[str]:
    indent, kind, name = opened["indent"], opened["kind"], opened["name"]
    inside = list(_region(lines, values, ends=True))
    if kind == "generated":
        yield line
        for made in GENERATED[name](values):
            yield f"{indent}{made}\n" if made else "\n"
        yield inside[-1]
    elif values[name] not in ("", "false"):
        yield line
        yield from inside


def _line(line: str, values: Values) -> str:
    for marker in _MARKERS:
        found = marker.search(line)
        if found:
            before, after = line[: found.start()], line[found.end() :]
            by_default = _by_default(re.split(", *", found["names"]), before + after)
            return _replaced(before, by_default, values) + found[0] + _replaced(after, by_default, values)
    return line


def _by_default(names: list[str], text: str) -> dict[str, str]:
    """Return the parameter of each default. Every one of the names has to be needed."""
    unknown = [name for name in names if name not in PARAMETERS]
    if unknown:
        raise MarkerError(f"there is no parameter {unknown[0]}: {text.strip()}")
    by_default = {PARAMETERS[name].default: name for name in names}
    if len(by_default) < len(names):
        raise MarkerError(f"two parameters with one default: {text.strip()}")
    absent = set(by_default) - set(_words(by_default).findall(text))
    if absent or "" in by_default:
        raise MarkerError(f"the default of a parameter ({', '.join(names)}) is not in its line: {text.strip()}")
    return by_default


def _replaced(text: str, by_default: dict[str, str], values: Values) -> str:
    def written(found: re.Match[str]) -> str:
        name = by_default[found[0]]
        value, form = values[name], PARAMETERS[name].form
        if text[: found.start()].endswith('"') and text[found.end() :].startswith('"'):
            return re.sub(r'["\\]', r"\\\g<0>", value)  # all else that a parameter may hold is printable
        # In the midst of a longer value the quotes would be part of it.
        return form.plain(value) if form and re.match(r"\s*(?:\]|$)", text[found.end() :]) else value

    return _words(by_default).sub(written, text)


def _words(by_default: dict[str, str]) -> re.Pattern[str]:
    longest_first = sorted(by_default, key=len, reverse=True)
    return re.compile(rf"(?<![\w.])(?:{'|'.join(map(re.escape, longest_first))})(?![\w.])")
