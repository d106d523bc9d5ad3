"""The table of the instrumentation's options, and the object that holds those in force.

:class:`OptionArguments` is the table: each key is an option, whose annotation has the type for callers and the row.
Arguments, environment variables, entries of files, ``help()`` and the README's reference come from it.

An option is set by an argument of :func:`multiagents_otel.auto_instrument` or
:meth:`MultiAgentsInstrumentor.instrument`, else by the environment, else by a configuration file, else it has its
default. A wrong argument raises, since a programmer is there to read it; a wrong environment variable is logged once
and the default taken, since telemetry never stops an application.
"""

import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, TypeAlias, TypedDict, TypeVar, get_type_hints

from multiagents_otel.config import values
from multiagents_otel.config.option import Option
from multiagents_otel.config.sections import EVENTS, MONITORING
from multiagents_otel.config.sources import DEFAULT, Names, Setting, of_arguments, of_environment, settle

Patterns: TypeAlias = str | re.Pattern[str] | Iterable[str | re.Pattern[str]]
"""Regular expressions, as an argument has them."""

_F = TypeVar("_F", bound=Callable[..., Any])

WORKFLOW_PARENTS: Final = ("child", "link")


def _row(
    default: object, parse: Callable[[object], Any], expected: str, description: str, **others: Any
) -> Callable[[str], Option]:
    """Give the row of an option, which gets its name from the key that it annotates."""
    return lambda name: Option(name, default, parse, expected, description, **others)


class OptionArguments(TypedDict, total=False):
    """The options as keyword arguments of a call, for ``**options: Unpack[OptionArguments]``.

    Each annotation has the type of the argument and the row of the table. None means that the option is not given.
    """

    detailed_timing: Annotated[
        bool | None,
        _row(
            True,
            values.boolean,
            "true or false",
            "`send` and `process` spans. Without them a step is a PRODUCER and a worker a CONSUMER span, "
            "2 spans a step instead of 6; metrics do not change.",
            section=EVENTS,
        ),
    ]
    workflow_parent: Annotated[
        str | None,
        _row(
            "child",
            values.one_of(*WORKFLOW_PARENTS),
            "'child' or 'link'",
            "A workflow that is started inside a span becomes its child, or a root of its own that links to it.",
        ),
    ]
    status_events: Annotated[
        bool | None,
        _row(False, values.boolean, "true or false", "Spans for StatusEvents too (two or more a workflow)."),
    ]
    track_payload_size: Annotated[
        bool | None,
        _row(
            True,
            values.boolean,
            "true or false",
            "Size of published events: `messaging.message.body.size` and `multiagents.event.size`.",
            section=EVENTS,
        ),
    ]
    messaging_metrics: Annotated[
        bool | None,
        _row(False, values.boolean, "true or false", "The semantic conventions' `messaging.*` metrics beside our own."),
    ]
    excluded_events: Annotated[
        str | Iterable[str] | None,
        _row(
            (),
            values.globs,
            "globs, separated by commas",
            "Event types (`command.noise`, `status.*`) without `send` and `process` spans and event metrics; context "
            "is carried all the same, and workflows, steps and workers are recorded.",
        ),
    ]
    excluded_workers: Annotated[
        str | Iterable[str] | None,
        _row((), values.globs, "globs, separated by commas", "Worker types without `worker` spans and worker metrics."),
    ]
    keep_errors: Annotated[
        bool | None,
        _row(
            True,
            values.boolean,
            "true or false",
            "Whatever the sampler says: a workflow in which something fails is sampled from then on, and its root, "
            "steps, and what failed are emitted.",
        ),
    ]
    critical_workflows: Annotated[
        str | Iterable[str] | None,
        _row(
            (), values.globs, "globs, separated by commas", "Workflow ids that are sampled whatever the sampler says."
        ),
    ]
    stall_grace: Annotated[
        float | None,
        _row(
            10.0,
            values.seconds,
            "seconds, 0 or more",
            "How long after a step's timeout a missing result makes its workflow `stalled`.",
        ),
    ]
    flush_timeout: Annotated[
        float | None,
        _row(
            2.0,
            values.seconds,
            "seconds, 0 or more",
            "How long the end of a process (exit, SIGTERM, SIGHUP) may wait for backends; its own work does not count.",
        ),
    ]
    redaction: Annotated[
        bool | None,
        _row(
            True,
            values.boolean,
            "true or false",
            "Secrets are scrubbed from spans, logs and metrics: passwords, tokens, keys, cards, credentials in URLs.",
        ),
    ]
    redact_keys: Annotated[
        str | Iterable[str] | None,
        _row(
            (),
            values.globs,
            "names or globs, separated by commas",
            "More names whose values are secrets: a word that a name contains (`iban`), or a glob (`internal_*`).",
        ),
    ]
    redact_patterns: Annotated[
        Patterns | None,
        _row(
            (),
            values.patterns,
            "regular expressions, one a line",
            "More values that are secrets: what a regular expression matches.",
        ),
    ]
    redact_allow: Annotated[
        str | Iterable[str] | None,
        _row(
            (),
            values.globs,
            "globs, separated by commas",
            "Names, or paths (`order.token`, anywhere in a payload), whose values stay as they are.",
        ),
    ]
    capture_content: Annotated[
        bool | None,
        _row(
            False,
            values.boolean,
            "true or false",
            "Payloads and results of events as attributes (`multiagents.event.payload`, `.result`), cut and scrubbed.",
        ),
    ]
    max_content_length: Annotated[
        int | None, _row(8192, values.whole(1), "characters, 1 or more", "Where captured content is cut.")
    ]
    redact_callback: Annotated[
        Callable[..., Any] | None,
        _row(
            None,
            values.hook,
            "a function (path, value)",
            "Called with each text and number; what it returns takes its place, and is scrubbed; None redacts it.",
            env=False,
        ),
    ]
    replace_builtin_monitors: Annotated[
        bool | None,
        _row(
            True,
            values.boolean,
            "true or false",
            "The monitors and loggers that the framework makes for itself, where none is passed in, give way to ours; "
            "its log file stays what it is.",
        ),
    ]
    framework_logs: Annotated[
        bool | None,
        _row(
            True,
            values.boolean,
            "true or false",
            "The framework's own log records in OpenTelemetry's logs pipeline; never with payloads or results. "
            "Their lines carry the ids of trace and transaction in any case.",
        ),
    ]
    publish_hook: Annotated[
        Callable[..., Any] | None,
        _row(None, values.hook, "a function (span, event_type, event)", "Called before an event is sent.", env=False),
    ]
    process_hook: Annotated[
        Callable[..., Any] | None,
        _row(
            None, values.hook, "a function (span, event_type, event)", "Called before an event is handled.", env=False
        ),
    ]
    step_hook: Annotated[
        Callable[..., Any] | None,
        _row(None, values.hook, "a function (span, context, step name)", "Called when a step ends.", env=False),
    ]
    workflow_hook: Annotated[
        Callable[..., Any] | None,
        _row(None, values.hook, "a function (span, context, status)", "Called when a workflow ends.", env=False),
    ]


_HINTS: Final = get_type_hints(OptionArguments, include_extras=True)
OPTIONS: Final[tuple[Option, ...]] = tuple(hint.__metadata__[0](name) for name, hint in _HINTS.items())

_NAMES: Final = Names(OPTIONS)

NAMES: Final = Names(OPTIONS, MONITORING)
"""Every name of an option or a section."""


class Options:
    """The options in force; one attribute a row of :data:`OPTIONS`, read-only by convention.

    Attributes:
        arguments: the options that the call has given, by their paths; they win over every other source.
    """

    arguments: Mapping[str, Setting]

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
    redaction: bool
    redact_keys: tuple[str, ...]
    redact_patterns: tuple[re.Pattern[str], ...]
    redact_allow: tuple[str, ...]
    capture_content: bool
    max_content_length: int
    redact_callback: Callable[..., Any] | None
    replace_builtin_monitors: bool
    framework_logs: bool
    publish_hook: Callable[..., Any] | None
    process_hook: Callable[..., Any] | None
    step_hook: Callable[..., Any] | None
    workflow_hook: Callable[..., Any] | None

    def __init__(
        self,
        arguments: Mapping[str, object] | None = None,
        environ: Mapping[str, str] = os.environ,
        configured: Mapping[str, Setting] | None = None,
    ) -> None:
        """Read the options.

        Args:
            arguments: option names and values; a value of None means "not given".
            environ: where the environment's values are read from.
            configured: what a configuration says, the environment included, by the options' paths; read instead
                of the environment.

        Raises:
            OptionError: an argument has an unknown name or a wrong value.
            TypeError: a hook is no plain function.
        """
        settings = settle(_NAMES, [of_arguments(arguments or {})])
        self.arguments = {path: setting for path, setting in settings.items() if setting.source != DEFAULT}
        self._take(settle(_NAMES, of_environment(_NAMES, environ)) if configured is None else configured)

    def above(self, configured: Mapping[str, Setting]) -> "Options":
        """Return the options with the same arguments above another configuration."""
        options = Options.__new__(Options)
        options.arguments = self.arguments
        options._take(configured)
        return options

    def _take(self, configured: Mapping[str, Setting]) -> None:
        for option in OPTIONS:
            setattr(self, option.name, self.arguments.get(option.path, configured[option.path]).value)


def describe_options(function: _F) -> _F:
    """Show the options in a function's signature and docstring, in the place of its ``**options``."""
    signature = inspect.signature(function)
    shown = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    shown += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint.__origin__)
        for name, hint in _HINTS.items()
    ]
    function.__dict__["__signature__"] = signature.replace(parameters=shown)
    if function.__doc__:  # python -OO has none
        rows = (f"    {option.name}: {option.help} ({option.expected})" for option in OPTIONS)
        function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__), "", "Options:", *rows])
    return function


def matches(globs: tuple[str, ...], name: str) -> bool:
    """Whether a name matches one of the globs, case-sensitively."""
    return any(fnmatchcase(name, glob) for glob in globs)
