"""What a parameter of the pipeline's files is: one row of the table of parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["duration", "number", "integer", "text", "flag"]

Values: TypeAlias = Mapping[str, str]
"""A text for each parameter of the table, as it stands in the files."""

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_EXPECTED: Final[dict[Kind, tuple[re.Pattern[str], str]]] = {
    "duration": (re.compile(r"\d+(ms|s|m|h|d)"), "a duration like 500ms, 30s, 10m, 2h or 7d"),
    "number": (re.compile(r"\d+(\.\d+)?"), "a number like 0.1 or 5000"),
    "integer": (re.compile(r"\d+"), "a whole number"),
    # What could end a YAML scalar, a comment or a template has no place in an address or a name.
    "text": (re.compile(r"[^\x00-\x1f\"'#\\{}]*"), "one line without quotes, braces, backslash or #"),
    "flag": (re.compile(r"true|false"), "true or false"),
}


class ParameterError(ValueError):
    """A parameter has an unknown name or an impossible value; the message says which, and what would do."""


def seconds(duration: str) -> float:
    """How long a value of the kind ``duration`` is."""
    number = duration.rstrip("msdh")
    return float(number) * _SECONDS[duration.removeprefix(number)]


class Parameter(NamedTuple):
    """One row of the table."""

    name: str
    kind: Kind
    default: str
    """What stands in the files of ``collector-config/``, letter for letter."""
    help: str
    least: float | None = None
    """The smallest value of a number."""
    most: float | None = None
    """The greatest value of a number."""
    choices: tuple[str, ...] = ()
    """The only values that do, where there are but some."""

    def check(self, value: str) -> str:
        """Give the value back, or raise ``ParameterError``."""
        pattern, expected = _EXPECTED[self.kind]
        if not pattern.fullmatch(value):
            raise ParameterError(f"{self.name}: {value!r} is not {expected}")
        if self.choices and value not in self.choices:
            raise ParameterError(f"{self.name}: {value!r} is none of {', '.join(self.choices)}")
        if self.kind in ("number", "integer") and not (
            (self.least is None or float(value) >= self.least) and (self.most is None or float(value) <= self.most)
        ):
            raise ParameterError(f"{self.name}: {value} is not {self._range()}")
        return value

    def _range(self) -> str:
        if self.least is None:
            return f"at most {self.most:g}"
        return f"at least {self.least:g}" if self.most is None else f"between {self.least:g} and {self.most:g}"
