"""What an option is: one row of the table of options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

INSTRUMENTATION: Final = "instrumentation"
"""The section of a configuration where every option of the instrumentation may stand."""

SECTION_ALIASES: Final = {"metrics": "metrics_collection"}
"""The framework's names of sections that have another one in its guide."""


class OptionError(ValueError):
    """An option has an unknown name or an impossible value; the message says which, whence and what would do."""


def _same(value: Any) -> Any:
    return value


class UnknownOptionError(OptionError, TypeError):
    """An argument of a call has the name of no option; a TypeError, as an unknown argument of any function is."""


class Alias(NamedTuple):
    """A second name of an option, maybe in another unit."""

    name: str
    read: Callable[[Any], Any] = _same
    """Makes the option's value of the alias's."""
    show: Callable[[Any], Any] = _same
    """Makes the alias's value of the option's."""
    expected: str = ""
    """What it must be, if not the same."""


class Option(NamedTuple):
    """One row of the table."""

    name: str
    default: object
    parse: Callable[[object], Any]
    """Makes the value of what was given. ValueError: it is impossible; TypeError: it is no function and must be."""
    expected: str
    help: str
    env: bool = True
    """False: a thing that no variable can hold, a hook."""
    section: str = INSTRUMENTATION
    """Where it stands in a configuration."""
    alias: Alias | None = None
    framework_variable: str = ""
    """What the framework's own ``MonitoringConfig.from_env()`` calls it, without the prefix."""

    @property
    def path(self) -> str:
        """The full name: ``event_monitoring.enabled``."""
        return f"{self.section}.{self.name}"
