"""Every option of the instrumentation: the one table of options.

An option is set by an argument of :func:`multiagents_otel.auto_instrument` or
:meth:`MultiAgentsInstrumentor.instrument`, else by the environment, else it has its default. A wrong
argument raises, since a programmer is there to read it; a wrong environment variable is logged once
and the default taken, since telemetry never stops an application.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from inspect import iscoroutinefunction
from typing import Any, Final, NamedTuple

_logger = logging.getLogger(__name__)

ENV_PREFIXES: Final = ("MULTIAGENTS_OTEL_", "OTEL_PYTHON_MULTIAGENTS_")
"""The environment variable of an option is a prefix and its name in capitals. The first prefix wins;
the second one exists because ``opentelemetry-instrument`` makes a command-line flag of it."""

WORKFLOW_PARENTS: Final = ("child", "link")


class OptionError(ValueError):
    """An option has an unknown name or an impossible value; the message says which, whence and what would do."""


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("true", "1", "yes", "on"):
            return True
        if word in ("false", "0", "no", "off"):
            return False
    raise ValueError


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError  # noqa: TRY004 - a TypeError is for hooks
    seconds = float(value)
    if not 0 <= seconds < float("inf"):
        raise ValueError
    return seconds


def _globs(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Iterable):
        raise ValueError  # noqa: TRY004
    globs = tuple(value)
    if not all(isinstance(glob, str) for glob in globs):
        raise ValueError
    return tuple(glob.strip() for glob in globs if glob.strip())


def _workflow_parent(value: object) -> str:
    if value not in WORKFLOW_PARENTS:
        raise ValueError
    return str(value)


def _hook(value: object) -> Callable[..., Any] | None:
    if value is None:
        return None
    # An async hook would run after the span has ended, or never: refused here rather than dropped there.
    if not callable(value) or iscoroutinefunction(value) or iscoroutinefunction(type(value).__call__):
        raise TypeError
    return value


class Option(NamedTuple):
    """One row of the table."""

    name: str
    default: object
    parse: Callable[[object], Any]
    expected: str
    help: str
    env: bool = True


OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "detailed_timing",
        True,
        _boolean,
        "true or false",
        "`send` and `process` spans. Without them a step is a PRODUCER and a worker a CONSUMER span, "
        "2 spans a step instead of 6; metrics do not change.",
    ),
    Option(
        "workflow_parent",
        "child",
        _workflow_parent,
        "'child' or 'link'",
        "A workflow that is started inside a span becomes its child, or a root of its own that links to it.",
    ),
    Option("status_events", False, _boolean, "true or false", "Spans for StatusEvents too (two or more a workflow)."),
    Option(
        "track_payload_size",
        True,
        _boolean,
        "true or false",
        "Size of published events: `messaging.message.body.size` and `multiagents.event.size`.",
    ),
    Option(
        "messaging_metrics",
        False,
        _boolean,
        "true or false",
        "The semantic conventions' `messaging.*` metrics beside our own.",
    ),
    Option(
        "excluded_events",
        (),
        _globs,
        "globs, separated by commas",
        "Event types (`command.noise`, `status.*`) without spans and metrics; context is carried all the same.",
    ),
    Option(
        "excluded_workers",
        (),
        _globs,
        "globs, separated by commas",
        "Worker types without `worker` spans and worker metrics.",
    ),
    Option(
        "keep_errors",
        True,
        _boolean,
        "true or false",
        "Whatever the sampler says: a workflow in which something fails is sampled from then on, and its root, "
        "steps, and what failed are emitted.",
    ),
    Option(
        "critical_workflows",
        (),
        _globs,
        "globs, separated by commas",
        "Workflow ids that are sampled whatever the sampler says.",
    ),
    Option(
        "stall_grace",
        10.0,
        _seconds,
        "seconds, 0 or more",
        "How long after a step's timeout a missing result makes its workflow `stalled`.",
    ),
    Option(
        "flush_timeout",
        2.0,
        _seconds,
        "seconds, 0 or more",
        "How long the end of a process (exit, SIGTERM) may wait for all of its telemetry to leave.",
    ),
    Option(
        "publish_hook", None, _hook, "a function (span, event_type, event)", "Called before an event is sent.", False
    ),
    Option(
        "process_hook", None, _hook, "a function (span, event_type, event)", "Called before an event is handled.", False
    ),
    Option("step_hook", None, _hook, "a function (span, context, step name)", "Called when a step ends.", False),
    Option("workflow_hook", None, _hook, "a function (span, context, status)", "Called when a workflow ends.", False),
)

_BY_NAME: Final = {option.name: option for option in OPTIONS}


class Options:
    """The options in force; one attribute a row of :data:`OPTIONS`, read-only by convention."""

    detailed_timing: bool
    workflow_parent: str
    status_events: bool
    track_payload_size: bool
    messaging_metrics: bool
    excluded_events: tuple[str, ...]
    excluded_workers: tuple[str, ...]
    keep_errors: bool
    critical_workflows: tuple[str, ...]
    stall_grace: float
    flush_timeout: float
    publish_hook: Callable[..., Any] | None
    process_hook: Callable[..., Any] | None
    step_hook: Callable[..., Any] | None
    workflow_hook: Callable[..., Any] | None

    def __init__(self, arguments: Mapping[str, object] | None = None, environ: Mapping[str, str] = os.environ) -> None:
        """Read the options.

        Args:
            arguments: option names and values; a value of None means "not given".
            environ: where the environment's values are read from.

        Raises:
            OptionError: an argument has an unknown name or a wrong value.
            TypeError: a hook is no plain function.
        """
        arguments = {name: value for name, value in (arguments or {}).items() if value is not None}
        for name in arguments:
            if name not in _BY_NAME:
                raise OptionError(f"multiagents_otel has no option {name!r}{_nearest(name)}")
        for option in OPTIONS:
            if option.name in arguments:
                value = _from_argument(option, arguments[option.name])
            else:
                value = _from_environment(option, environ)
            setattr(self, option.name, value)


_told: Final[set[tuple[str, str]]] = set()
"""The wrong values of environment variables that have been logged."""


def _nearest(name: str) -> str:
    close = get_close_matches(name, _BY_NAME, n=1)
    return f": did you mean {close[0]!r}?" if close else f"; there are {', '.join(_BY_NAME)}"


def _from_argument(option: Option, value: object) -> object:
    try:
        return option.parse(value)
    except TypeError:
        raise TypeError(f"option {option.name!r} must be {option.expected}, not {value!r}") from None
    except ValueError:
        raise OptionError(f"option {option.name!r} must be {option.expected}, not {value!r}") from None


def _from_environment(option: Option, environ: Mapping[str, str]) -> object:
    if option.env:
        for prefix in ENV_PREFIXES:
            variable = prefix + option.name.upper()
            value = environ.get(variable, "").strip()
            if not value:
                continue
            try:
                return option.parse(value)
            except ValueError:
                if (variable, value) not in _told:  # options are read more than once in a process
                    _told.add((variable, value))
                    _logger.error(
                        "%s must be %s, not %r: its default %r holds", variable, option.expected, value, option.default
                    )
    return option.default


def matches(globs: tuple[str, ...], name: str) -> bool:
    """Whether a name matches one of the globs, case-sensitively."""
    return any(fnmatchcase(name, glob) for glob in globs)
