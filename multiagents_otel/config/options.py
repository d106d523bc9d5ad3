"""The options of the instrumentation, and the object that holds those in force.

An option is set by an argument of :func:`multiagents_otel.auto_instrument` or
:meth:`MultiAgentsInstrumentor.instrument`, else by the environment, else by a configuration file, else it has its
default. A wrong argument raises, since a programmer is there to read it; a wrong environment variable is logged once
and the default taken, since telemetry never stops an application.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from multiagents_otel.config import values
from multiagents_otel.config.option import Option
from multiagents_otel.config.sections import EVENTS
from multiagents_otel.config.sources import DEFAULT, Names, Setting, of_arguments, of_environment, settle

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
        "Event types (`command.noise`, `status.*`) without spans and metrics; context is carried all the same.",
    ),
    Option(
        "excluded_workers",
        (),
        values.globs,
        "globs, separated by commas",
        "Worker types without `worker` spans and worker metrics.",
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
        "How long the end of a process (exit, SIGTERM) may wait for all of its telemetry to leave.",
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


class Options:
    """The options in force; one attribute a row of :data:`OPTIONS`, read-only by convention."""

    detailed_timing: bool
    workflow_parent: str
    status_events: bool
    track_payload_size: bool
    messaging_metrics: bool
    excluded_events: tuple[str, ...]
    excluded_workers: tuple[str, ...]
    stall_grace: float
    flush_timeout: float
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
