"""Where the values of options come from, and which one holds.

A layer is what one source says: the arguments, one kind of environment variables, a file. The first layer that names
an option decides it. A wrong value in a strict layer raises, since a programmer is there to read it; in any other
it is logged once and the option's default taken, since telemetry never stops an application.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from reprlib import Repr
from typing import Any, Final, NamedTuple

from multiagents_otel.config.option import (
    INSTRUMENTATION,
    SECTION_ALIASES,
    Alias,
    Option,
    OptionError,
    UnknownOptionError,
)

_logger = logging.getLogger("multiagents_otel.config")

ENV_PREFIXES: Final = ("MULTIAGENTS_OTEL_", "OTEL_PYTHON_MULTIAGENTS_")
"""The environment variable of an option is a prefix, its section if it is not of the instrumentation, and its name
in capitals. The first prefix wins; the second one exists because ``opentelemetry-instrument`` makes a command-line
flag of it."""

FRAMEWORK_PREFIX: Final = "MULTIAGENT_"
"""The prefix of the framework's own variables."""

CONFIG: Final = "CONFIG"
"""What follows the prefix in the variable that names a configuration file."""

OTHER_VARIABLES: Final = (CONFIG, "LAUNCHER", "DOCTOR_FOLDER", "DOCTOR_SECONDS", "REDIS_SERVER")
"""What follows the prefix in variables that are no options: the launcher's, the doctor's, and the tests'."""

OTHER_ARGUMENTS: Final = ("config", "tracer_provider", "meter_provider", "logger_provider")
"""What calls of the instrumentation take beside options."""

DEFAULT: Final = "default"
ARGUMENT: Final = "argument"


class Given(NamedTuple):
    """A value that a source has for a name, right or wrong."""

    section: str
    key: str
    """Empty if the whole section is meant, because it is unknown or no mapping."""
    value: object
    shown: str
    """The name, as the source has it."""
    place: str = ""
    """File and line."""
    variable: str = ""

    @property
    def source(self) -> str:
        """Whence, for a person."""
        return self.variable or self.place or ARGUMENT

    @property
    def where(self) -> str:
        """File and line, at the head of a message."""
        return f"{self.place}: " if self.place else ""

    @property
    def title(self) -> str:
        """What it is called in a message."""
        return self.variable or f"{self.where}option {self.shown!r}"


class Layer(NamedTuple):
    """What one source says."""

    given: Sequence[Given]
    strict: bool = False


class Setting(NamedTuple):
    """A value that holds."""

    value: Any
    source: str = DEFAULT


class Problem(NamedTuple):
    """Something wrong in a layer."""

    error: OptionError | TypeError
    strict: bool
    instead: str = "it is ignored"
    """What holds in its place, where nobody is stopped."""


class Names:
    """Every name that options have, in configurations and in the environment.

    Args:
        arguments: options of the instrumentation.
        sections: all others.
    """

    def __init__(self, arguments: Iterable[Option], sections: Iterable[Option] = ()) -> None:
        arguments = tuple(arguments)
        self.options: Final = (*sections, *arguments)
        self.keys: Final[dict[tuple[str, str], tuple[Option, Alias]]] = {}
        self.variables: Final[dict[str, tuple[str, str]]] = {}
        """Section and key by what follows the prefix."""
        for option in self.options:
            same = Alias(option.name)
            if option in arguments:
                self._add(INSTRUMENTATION, same, option, option.name)
            if option.section != INSTRUMENTATION:
                for section in (option.section, *(a for a, of in SECTION_ALIASES.items() if of == option.section)):
                    for name in (same, option.alias) if option.alias else (same,):
                        self._add(section, name, option, f"{section}_{name.name}")
        self.sections: Final = tuple(dict.fromkeys(section for section, _key in self.keys))

    def _add(self, section: str, name: Alias, option: Option, variable: str) -> None:
        self.keys[section, name.name] = option, name
        if option.env:
            self.variables[variable.upper()] = section, name.name

    def of(self, section: str) -> list[str]:
        """The keys of a section, aliases included."""
        return [key for known, key in self.keys if known == section]


# --- layers ---------------------------------------------------------------------------------


def of_arguments(arguments: Mapping[str, object]) -> Layer:
    """The arguments of a call of the instrumentation."""
    return Layer([Given(INSTRUMENTATION, name, value, name) for name, value in arguments.items()], strict=True)


def of_environment(
    names: Names, environ: Mapping[str, str], framework_prefix: str = FRAMEWORK_PREFIX
) -> Iterator[Layer]:
    """The variables of each prefix, then the framework's own. An empty one is none."""
    ours = [{prefix + end: named for end, named in names.variables.items()} for prefix in ENV_PREFIXES]
    theirs = {
        framework_prefix + option.framework_variable: (option.section, option.name)
        for option in names.options
        if option.framework_variable
    }
    for variables in (*ours, theirs):
        yield Layer(
            [
                Given(section, key, text, f"{section}.{key}", variable=variable)
                for variable, (section, key) in variables.items()
                if (text := environ.get(variable, "").strip())
            ]
        )


# --- resolution -----------------------------------------------------------------------------


def file_of_environment() -> tuple[str, str] | None:
    """Find the variable that names a configuration file, and the file; None if there is none."""
    variables = [prefix + CONFIG for prefix in ENV_PREFIXES]
    return next(((name, path) for name in variables if (path := os.environ.get(name, "").strip())), None)


def resolve(names: Names, layers: Iterable[Layer]) -> tuple[dict[str, Setting], list[Problem]]:
    """What holds for each option (by its path), and what is wrong."""
    settings: dict[str, Setting] = {}
    problems: list[Problem] = []
    for layer in layers:
        of_option: dict[str, list[Given]] = {}
        unknown: set[str] = set()
        for given in layer.given:
            if given.value is None and (given.key or given.section in names.sections):
                continue
            if (named := names.keys.get((given.section, given.key))) is None:
                if given.section not in unknown:  # once, however much it holds
                    problems.append(Problem(_unknown(names, given), layer.strict))
                if given.section not in names.sections:
                    unknown.add(given.section)
            else:
                of_option.setdefault(named[0].path, []).append(given)
        for path, several in of_option.items():
            if path in settings and not layer.strict:
                continue
            try:
                setting = _agreed(names, several)
            except (OptionError, TypeError) as error:
                option = names.keys[several[0].section, several[0].key][0]
                problems.append(Problem(error, layer.strict, f"its default {option.default!r} holds"))
                setting = Setting(option.default)
            settings.setdefault(path, setting)
    return {option.path: settings.get(option.path, Setting(option.default)) for option in names.options}, problems


def _agreed(names: Names, several: Sequence[Given]) -> Setting:
    """The one value of the names of one option."""
    values = [parsed(*names.keys[given.section, given.key], given) for given in several]
    for given, value in zip(several, values, strict=True):
        if value != values[0]:
            first = several[0]
            raise OptionError(
                f"{first.title} and {given.title} are one option and have two values, "
                f"{short(first.value)} and {short(given.value)}"
            )
    return Setting(values[0], several[0].source)


def parsed(option: Option, alias: Alias, given: Given) -> Any:
    """The option's value of what was given.

    Raises:
        OptionError: it is impossible.
        TypeError: it is no function and must be.
    """
    kind: type[OptionError | TypeError] = OptionError
    why = ""
    try:
        return option.parse(alias.read(given.value))
    except TypeError as exception:
        if given.source == ARGUMENT:
            kind, why = TypeError, str(exception)
    except Exception as exception:
        _logger.debug("%s was refused", given.title, exc_info=exception)
    expected = alias.expected or option.expected
    raise kind(f"{given.title} must be {expected}, not {short(given.value)}{why}")


def settle(names: Names, layers: Iterable[Layer]) -> dict[str, Setting]:
    """What holds for each option, by its path; what is wrong is raised, or logged once.

    Raises:
        OptionError: something wrong in a strict layer.
        TypeError: the same, of a hook.
    """
    settings, problems = resolve(names, layers)
    if strict := [problem.error for problem in problems if problem.strict]:
        raise type(strict[0])("\n".join(str(error) for error in strict))
    for problem in problems:
        tell(f"{problem.error}: {problem.instead}")
    return settings


_told: Final[set[str]] = set()


def tell(error: str) -> None:
    """Log an error, once: options are read more than once in a process."""
    if error not in _told:
        _told.add(error)
        _logger.error("%s", error)


# --- names that are not known ---------------------------------------------------------------


def _unknown(names: Names, given: Given) -> OptionError:
    where = given.where
    if given.section not in names.sections:
        near = _nearest(given.section, names.sections)
        return OptionError(f"{where}multiagents_otel has no section {given.section!r}{near}")
    if not given.key:
        return OptionError(f"{where}section {given.section!r} must be a mapping of options, not {short(given.value)}")
    dotted = given.shown[: -len(given.key)]
    kind, others = (OptionError, ()) if dotted or given.source != ARGUMENT else (UnknownOptionError, OTHER_ARGUMENTS)
    elsewhere = [f"{section}.{key}" for section, key in names.keys if key == given.key]
    if elsewhere:
        near = f": did you mean {elsewhere[0]!r}?"
    else:
        near = _nearest(given.key, [*names.of(given.section), *others], dotted)
    return kind(f"{where}multiagents_otel has no option {given.shown!r}{near}")


def misspelt(names: Names, environ: Mapping[str, str]) -> Iterator[str]:
    """An error for each variable that has our prefix and is none of ours."""
    prefix = ENV_PREFIXES[0]
    known = [*names.variables, *OTHER_VARIABLES]
    variables: list[str] = []
    with contextlib.suppress(RuntimeError):  # another thread changes the environment
        variables = [variable for variable in environ if variable.startswith(prefix)]
    for end in sorted({variable.removeprefix(prefix) for variable in variables} - set(known)):
        close = get_close_matches(end, known, n=1)  # without the prefix, which makes any two names similar
        near = f": did you mean {prefix}{close[0]}?" if close else ""
        yield f"multiagents_otel has no variable {prefix}{end}{near}"


def _nearest(name: str, known: Sequence[str], prefix: str = "") -> str:
    close = get_close_matches(name, known, n=1)
    return f": did you mean {prefix + close[0]!r}?" if close else f"; there are {', '.join(prefix + k for k in known)}"


_repr = Repr()
_repr.maxlevel = 2
_repr.maxstring = _repr.maxother = 60


def short(value: object) -> str:
    """A value in a message: short, whatever it is."""
    try:
        return _repr.repr(value)
    except Exception:
        return f"a {type(value).__name__}"
