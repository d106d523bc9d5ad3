"""The options of the instrumentation, and the object that holds those in force.

An option is set by an argument of :func:`multiagents_otel.auto_instrument` or
:meth:`MultiAgentsInstrumentor.instrument`, else by the environment, else by a configuration file, else it has its
default. A wrong argument raises, since a programmer is there to read it; a wrong environment variable is logged once
and the default taken, since telemetry never stops an application.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, TypeAlias

from multiagents_otel.config import values
from multiagents_otel.config.option import Option
from multiagents_otel.config.sections import EVENTS, MONITORING
from multiagents_otel.config.sources import DEFAULT, Names, Setting, of_arguments, of_environment, settle

Patterns: TypeAlias = str | re.Pattern[str] | Iterable[str | re.Pattern[str]]
"""Regular expressions, as an argument has them."""

WORKFLOW_PARENTS: Final = ("child", "link")


OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "detailed_timing",
        True,
        values.boolean,
        "true or false",
        "`send` and `process` spans. Without them a step is a PRODUCER and a worker a CONSUMER span, "
        "2 spans a step instead of 6; metrics do not change.",
        section=EVENTS,
    ),
    Option(
        "workflow_parent",
        "child",
        values.one_of(*WORKFLOW_PARENTS),
        "'child' or 'link'",
        "A workflow that is started inside a span becomes its child, or a root of its own that links to it.",
    ),
    Option(
        "status_events", False, values.boolean, "true or false", "Spans for StatusEvents too (two or more a workflow)."
    ),
    Option(
        "track_payload_size",
        True,
        values.boolean,
        "true or false",
        "Size of published events: `messaging.message.body.size` and `multiagents.event.size`.",
        section=EVENTS,
    ),
    Option(
        "messaging_metrics",
        False,
        values.boolean,
        "true or false",
        "The semantic conventions' `messaging.*` metrics beside our own.",
    ),
    Option(
        "excluded_events",
        (),
        values.globs,
        "globs, separated by commas",
        "Event types (`command.noise`, `status.*`) without `send` and `process` spans and event metrics; context is "
        "carried all the same, and workflows, steps and workers are recorded.",
    ),
    Option(
        "excluded_workers",
        (),
        values.globs,
        "globs, separated by commas",
        "Worker types without `worker` spans and worker metrics.",
    ),
    Option(
        "keep_errors",
        True,
        values.boolean,
        "true or false",
        "Whatever the sampler says: a workflow in which something fails is sampled from then on, and its root, "
        "steps, and what failed are emitted.",
    ),
    Option(
        "critical_workflows",
        (),
        values.globs,
        "globs, separated by commas",
        "Workflow ids that are sampled whatever the sampler says.",
    ),
    Option(
        "stall_grace",
        10.0,
        values.seconds,
        "seconds, 0 or more",
        "How long after a step's timeout a missing result makes its workflow `stalled`.",
    ),
    Option(
        "flush_timeout",
        2.0,
        values.seconds,
        "seconds, 0 or more",
        "How long the end of a process (exit, SIGTERM, SIGHUP) may wait for backends; its own work does not count.",
    ),
    Option(
        "redaction",
        True,
        values.boolean,
        "true or false",
        "Secrets are scrubbed from spans, logs and metrics: passwords, tokens, keys, cards, credentials in URLs.",
    ),
    Option(
        "redact_keys",
        (),
        values.globs,
        "names or globs, separated by commas",
        "More names whose values are secrets: a word that a name contains (`iban`), or a glob (`internal_*`).",
    ),
    Option(
        "redact_patterns",
        (),
        values.patterns,
        "regular expressions, one a line",
        "More values that are secrets: what a regular expression matches.",
    ),
    Option(
        "redact_allow",
        (),
        values.globs,
        "globs, separated by commas",
        "Names, or paths (`order.token`, anywhere in a payload), whose values stay as they are.",
    ),
    Option(
        "capture_content",
        False,
        values.boolean,
        "true or false",
        "Payloads and results of events as attributes (`multiagents.event.payload`, `.result`), cut and scrubbed.",
    ),
    Option(
        "max_content_length",
        8192,
        values.whole(1),
        "characters, 1 or more",
        "Where captured content is cut.",
    ),
    Option(
        "redact_callback",
        None,
        values.hook,
        "a function (path, value)",
        "Called with each text and number; what it returns takes its place, and is scrubbed; None redacts it.",
        False,
    ),
    Option(
        "replace_builtin_monitors",
        True,
        values.boolean,
        "true or false",
        "The monitors and loggers that the framework makes for itself, where none is passed in, give way to ours; "
        "its log file stays what it is.",
    ),
    Option(
        "framework_logs",
        True,
        values.boolean,
        "true or false",
        "The framework's own log records in OpenTelemetry's logs pipeline; never with payloads or results. "
        "Their lines carry the ids of trace and transaction in any case.",
    ),
    Option(
        "publish_hook",
        None,
        values.hook,
        "a function (span, event_type, event)",
        "Called before an event is sent.",
        False,
    ),
    Option(
        "process_hook",
        None,
        values.hook,
        "a function (span, event_type, event)",
        "Called before an event is handled.",
        False,
    ),
    Option("step_hook", None, values.hook, "a function (span, context, step name)", "Called when a step ends.", False),
    Option(
        "workflow_hook", None, values.hook, "a function (span, context, status)", "Called when a workflow ends.", False
    ),
)

_NAMES: Final = Names(OPTIONS)

NAMES: Final = Names(OPTIONS, MONITORING)
"""Every name of an option or a section."""


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
        layers = [of_arguments(arguments or {})]
        if configured is None:
            layers += of_environment(_NAMES, environ)
        settings = settle(_NAMES, layers)
        for option in OPTIONS:
            setting = settings[option.path]
            if configured is not None and setting.source == DEFAULT:
                setting = configured[option.path]
            setattr(self, option.name, setting.value)


def given(namespace: Mapping[str, object], *but: str) -> dict[str, Any]:
    """The arguments of a call, out of its ``locals()``, that were given: None means that one was not."""
    return {name: value for name, value in namespace.items() if value is not None and name not in but}


def matches(globs: tuple[str, ...], name: str) -> bool:
    """Whether a name matches one of the globs, case-sensitively."""
    return any(fnmatchcase(name, glob) for glob in globs)
