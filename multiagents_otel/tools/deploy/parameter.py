"""What a parameter of the pipeline's files is: one row of the table of parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from multiagents_otel.tools.deploy.forms import Form

Kind: TypeAlias = Literal["duration", "collector duration", "number", "integer", "text", "flag"]

Values: TypeAlias = Mapping[str, str]
"""A text for each parameter of the table, as it stands in the files."""

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_EXPECTED: Final[dict[Kind, tuple[re.Pattern[str], str]]] = {
    "duration": (re.compile(r"[0-9]+(ms|s|m|h|d)"), "a duration like 500ms, 30s, 10m, 2h or 7d"),
    "collector duration": (
        re.compile(r"[0-9]+(ms|s|m|h)"),
        "a duration like 500ms, 30s, 10m or 2h; a Collector has no d",
    ),
    "number": (re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?"), "a number like 0.1 or 5000"),
    "integer": (re.compile(r"0|[1-9][0-9]*"), "a whole number"),
    "text": (re.compile(r".*"), "one line of printable characters"),
    "flag": (re.compile(r"true|false"), "true or false"),
}
_LONGEST: Final = 100 * 365 * 86400
"""In seconds. The programs count nanoseconds in 64 bits: 292 years."""
_GREATEST: Final = 10**15
"""What a float and the programs' integers hold exactly."""


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
    """The smallest value of a number, or of a duration in seconds; without it a duration is longer than 0s."""
    most: float | None = None
    """The greatest value of a number, or of a duration in seconds."""
    choices: tuple[str, ...] = ()
    """The only values that do, where there are but some."""
    form: Form | None = None
    """What a text has to be."""

    def check(self, value: str) -> str:
        """Return the value as the files spell it. ParameterError: it is wrong."""
        pattern, expected = _EXPECTED[self.kind]
        # No line break, no control character, nothing that can't be encoded.
        if not value.isprintable() or not pattern.fullmatch(value):
            raise ParameterError(f"{self.name}: {value!r} is not {expected}")
        if self.choices and value not in self.choices:
            raise ParameterError(f"{self.name}: {value!r} is none of {', '.join(self.choices)}")
        if self.form:
            try:
                return self.form.spelling(value)
            except ValueError:
                raise ParameterError(f"{self.name}: {value!r} is not {self.form.expected}") from None
        if self.kind in ("duration", "collector duration"):
            self._check_duration(value)
        elif self.kind in ("number", "integer"):
            self._check_number(float(value))
        return value

    def _check_duration(self, value: str) -> None:
        length = seconds(value)
        if length > _LONGEST or (length == 0 and self.least is None):
            raise ParameterError(f"{self.name}: {value} is not more than 0s and at most 100 years")
        least, most = self.least or 0, _LONGEST if self.most is None else self.most
        if not least <= length <= most:
            raise ParameterError(f"{self.name}: {value} is not between {least:g}s and {most:g}s")

    def _check_number(self, number: float) -> None:
        least, most = self.least or 0, _GREATEST if self.most is None else self.most
        if not least <= number <= most:
            raise ParameterError(f"{self.name}: {number:.15g} is not between {least:g} and {most:.15g}")
