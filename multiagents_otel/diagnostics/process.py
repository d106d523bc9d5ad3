"""What can be seen inside a running program: providers, wrappers, buses, and what its telemetry has counted."""

from __future__ import annotations

import ast
import gc
import inspect
import logging
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Final

from multiagents_otel import semconv
from multiagents_otel.diagnostics.finding import FAULT, FINE, WARNING, Finding

_PACKAGE: Final = "multiagents_otel"
_FRAMEWORK: Final = "multiagents"
_OVERRIDING: Final = "Overriding of current"  # what OpenTelemetry logs when a second provider is set

REFUSED: Final[list[str]] = []
"""Providers that were set when there was one already, as OpenTelemetry logged them: see :func:`listen`."""


def listen() -> None:
    """From now on notice when the program sets a second provider, which OpenTelemetry refuses with a log record."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if len(REFUSED) < 10 and (text := record.getMessage()).startswith(_OVERRIDING):
                REFUSED.append(text)

    logging.getLogger("opentelemetry").addHandler(Listener(logging.WARNING))


def concerned() -> bool:
    """Whether this process has to do with workflows at all."""
    return _FRAMEWORK in sys.modules


def examine() -> Iterator[Finding]:
    """Look at this process; it must be :func:`concerned`."""
    active = _active()
    if active is None:
        yield Finding(
            FAULT,
            "instrumentation",
            "the process uses multiagents-framework and is not instrumented",
            "call multiagents_otel.auto_instrument() at its start, or start it with multiagents-otel run",
        )
        return
    yield Finding(FINE, "instrumentation", "the framework is instrumented")
    for check in (_exported, _providers, _resource, _wrappers, _buses, _counted, _dropped):
        yield from check(active)
    yield from _poll_loop()


def _active() -> Any:
    if f"{_PACKAGE}.instrumentation.instrumentor" not in sys.modules:
        return None
    from multiagents_otel.instrumentation import MultiAgentsInstrumentor

    return MultiAgentsInstrumentor._active


# --- providers ------------------------------------------------------------------------------


def _exported(active: Any) -> Iterator[Finding]:
    telemetry = active.telemetry
    missing = [
        signal
        for signal, recorded in (("traces", telemetry.tracing), ("metrics", telemetry.instruments.enabled))
        if not recorded
    ]
    if missing:
        yield Finding(
            FAULT,
            "export",
            f"{' and '.join(missing)} go nowhere: there is no provider that records them",
            "call multiagents_otel.auto_instrument(), which builds what is missing, or set providers of your own",
        )
    elif _without_processors():
        yield Finding(
            FAULT,
            "export",
            "the TracerProvider has no span processor: no span leaves the process",
            "add one: provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))",
        )
    else:
        yield Finding(FINE, "export", "spans and metrics are recorded")


def _without_processors() -> bool:
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    return hasattr(provider, "_active_span_processor") and not _processors(provider)


def _processors(provider: Any) -> tuple[Any, ...]:
    # The SDK has no public way to ask for them.
    return tuple(getattr(getattr(provider, "_active_span_processor", None), "_span_processors", ()))


def _providers(_active: Any) -> Iterator[Finding]:
    from opentelemetry.sdk.trace import TracerProvider

    working = [thing for thing in gc.get_objects() if type(thing) is TracerProvider and _processors(thing)]
    if REFUSED or len(working) > 1:
        told = f" ({REFUSED[0]})" if REFUSED else ""
        yield Finding(
            FAULT,
            "providers",
            f"the program has more than one provider{told}: what hangs on the second one is not joined, or lost",
            "set your own providers before auto_instrument(), which then uses them, or build none",
        )
    else:
        yield Finding(FINE, "providers", "one TracerProvider")


def _resource(_active: Any) -> Iterator[Finding]:
    from opentelemetry import trace

    from multiagents_otel.lifecycle import resource_of

    resource = resource_of(trace.get_tracer_provider())
    if resource is None:
        return
    name = str(resource.attributes.get(semconv.SERVICE_NAME, ""))
    if not name or name.startswith("unknown_service"):
        yield Finding(WARNING, semconv.SERVICE_NAME, "the service has no name", "set OTEL_SERVICE_NAME")
    if semconv.SERVICE_INSTANCE_ID not in resource.attributes:
        yield Finding(
            FAULT,
            semconv.SERVICE_INSTANCE_ID,
            "the provider's resource has none: processes of one service overwrite each other's series",
            "add one to the provider's Resource: a UUID for each process",
        )


# --- patches --------------------------------------------------------------------------------


def _wrappers(active: Any) -> Iterator[Finding]:
    found = False
    for owner, name in active.patches.targets():
        for module in _foreign_modules(inspect.getattr_static(owner, name, None)):
            found = True
            where = f"{getattr(owner, '__qualname__', getattr(owner, '__name__', type(owner).__name__))}.{name}"
            yield Finding(
                WARNING,
                "other instrumentation",
                f"{module} wraps {where} too",
                "if it makes spans of its own, every call has two: turn one of them off",
            )
    if not found:
        yield Finding(FINE, "other instrumentation", "nobody else wraps the same calls")


def _foreign_modules(function: Any) -> Iterator[str]:
    """The modules of the wrappers around an original, ours and the framework's own left out."""
    for _ in range(16):
        inner = getattr(function, "__wrapped__", None)
        if inner is None:
            return
        module = _author(function)
        if module.partition(".")[0] not in (_PACKAGE, _FRAMEWORK):
            yield module
        function = inner


def _author(wrapper: Any) -> str:
    """The module that a wrapper was written in: ``functools.wraps`` makes its ``__module__`` that of the original."""
    function = getattr(wrapper, "_self_wrapper", wrapper)  # wrapt's
    return str(getattr(function, "__globals__", {}).get("__name__") or type(function).__module__)


def _buses(active: Any) -> Iterator[Finding]:
    """Every bus that a WorkerManager or an Orchestrator has must be one whose ``publish`` is patched."""
    patched = {owner for owner, name in active.patches.targets() if name == "publish"}
    unpatched = sorted(
        {
            type(bus).__qualname__
            for bus in _buses_in_use()
            if not any(cls in patched for cls in type(bus).__mro__) and bus not in patched
        }
    )
    for name in unpatched:
        yield Finding(
            FAULT,
            "event bus",
            f"a {name} is in use and its publish() is not patched: workflows are not joined over it",
            "multiagents_otel.instrument_event_bus(bus) once it is made; a warning in the log may say why it failed",
        )
    if not unpatched:
        yield Finding(FINE, "event bus", "every event bus in use is patched")


def _buses_in_use() -> Iterator[Any]:
    names = (
        (f"{_FRAMEWORK}.worker_sdk.worker_manager", "WorkerManager"),
        (f"{_FRAMEWORK}.orchestrator.orchestrator", "Orchestrator"),
    )
    classes = tuple(
        cls for module, name in names if isinstance(cls := getattr(sys.modules.get(module), name, None), type)
    )
    for thing in gc.get_objects():
        if classes and issubclass(type(thing), classes) and (bus := getattr(thing, "event_bus", None)) is not None:
            yield bus


# --- what was counted -----------------------------------------------------------------------


def _counted(active: Any) -> Iterator[Finding]:
    ledger = active.telemetry.ledger
    quiet = True
    for row, level, say, advice in _COUNTS:
        for key, amount in sorted(ledger.sums(row).items()):
            if amount:
                quiet = False
                yield Finding(level, row.name, say(key, amount), advice)
    if quiet:
        yield Finding(FINE, "messages", "none was lost, doubled or stale")


def _dropped(_active: Any) -> Iterator[Finding]:
    from multiagents_otel.telemetry.drops import DROPS

    lost = {key: amount for key, amount in sorted(DROPS.counts().items()) if amount}
    for (signal, reason), amount in lost.items():
        yield Finding(
            FAULT,
            semconv.OTEL_DROPPED.name,
            f"{amount} items of {signal} were recorded and not exported: {reason}",
            "the program's log has the cause in one warning; see MultiAgentsTelemetryDropped in the runbook",
        )
    if not lost:
        yield Finding(FINE, "dropped telemetry", "the pipelines built here have dropped nothing")


_COUNTS: Final[tuple[tuple[semconv.Instrument, str, Callable[[tuple[str, ...], int], str], str], ...]] = (
    (
        semconv.EVENTS_UNDELIVERED,
        FAULT,
        lambda key, amount: f"{amount} x {key[0]} for {key[1]!r} reached nobody, and is lost",
        "start the worker process (its WorkerManager, with that worker registered) before workflows are started, "
        "on the same Redis and channel prefix",
    ),
    (
        semconv.COMMANDS_DUPLICATED,
        FAULT,
        lambda key, amount: f"{amount} commands for {key[0]!r} reached several processes, and ran in each of them",
        "run one WorkerManager for each worker type: pub/sub delivers to every subscriber",
    ),
    (
        semconv.RESULTS_DUPLICATED,
        FAULT,
        lambda key, amount: f"{amount} results of {key[0]!r} reached several orchestrators, and each ran the next step",
        "run one orchestrator process for each workflow definition, for example one web worker",
    ),
    (
        semconv.EVENTS_CLOCK_SKEW,
        WARNING,
        lambda key, amount: f"{amount} x {key[0]} can't have been published when the publisher's clock says",
        "synchronise the clocks of the machines (NTP): times between them are left out until then",
    ),
    (
        semconv.EVENTS_STALE,
        WARNING,
        lambda key, amount: f"{amount} results of {key[0]!r} came when no step was waiting for them",
        "look for late results (timeout_seconds too short) and for a second orchestrator on the same channels",
    ),
    (
        semconv.EVENTS_PUBLISH_ERRORS,
        FAULT,
        lambda key, amount: f"{amount} x {key[0]} could not be published: {key[1]}",
        "see the exceptions in the program's log",
    ),
    (
        semconv.OTEL_ERRORS,
        WARNING,
        lambda key, amount: f"multiagents_otel itself failed {amount} times in {key[0]} (the program was not affected)",
        "set the logger multiagents_otel to DEBUG for the traceback, and report it",
    ),
)


# --- the framework's own --------------------------------------------------------------------


def _poll_loop() -> Iterator[Finding]:
    bus = getattr(sys.modules.get(f"{_FRAMEWORK}.event_bus.redis_bus"), "RedisEventBus", None)
    if bus is not None and polls_without_a_wait(getattr(bus, "_listen_for_messages", None)):
        yield Finding(
            WARNING,
            "poll loop",
            "the framework's RedisEventBus asks for messages without a wait: one core is busy while it listens",
            "after bus.start(): bus.pubsub.get_message = functools.partial(bus.pubsub.get_message, timeout=0.5)",
        )


def polls_without_a_wait(listener: Any) -> bool:
    """Whether a listener's source calls ``get_message`` without the ``timeout`` for which redis-py would wait."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(listener))))
    except (OSError, SyntaxError, TypeError):
        return False
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get_message"
        and not any(keyword.arg == "timeout" for keyword in node.keywords)
        for node in ast.walk(tree)
    )
