"""``MultiAgentsInstrumentor``: OpenTelemetry's instrumentor for multiagents-framework."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Final

from opentelemetry._logs import get_logger_provider
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from multiagents_otel import semconv
from multiagents_otel.config import OptionArguments, Options, describe_options
from multiagents_otel.configuration import Configuration, MonitoringConfig, configuration_in_force
from multiagents_otel.core import scope
from multiagents_otel.core.forking import on_fork
from multiagents_otel.ending import ENDING
from multiagents_otel.instrumentation.builtins import BuiltinReplacement
from multiagents_otel.instrumentation.event_bus import REDIS_BUS_MODULE, EventBusInstrumentation
from multiagents_otel.instrumentation.framework_logs import FrameworkLogs
from multiagents_otel.instrumentation.handlers import WORKER_MANAGER_MODULE, Handler
from multiagents_otel.instrumentation.importing import is_ready, when_ready
from multiagents_otel.instrumentation.patching import Patch, PatchSet, Switch
from multiagents_otel.instrumentation.step import ORCHESTRATOR_MODULE, StepInstrumentation
from multiagents_otel.instrumentation.stopping import StopInstrumentation
from multiagents_otel.instrumentation.worker import WorkerInstrumentation
from multiagents_otel.instrumentation.workflow import WorkflowInstrumentation
from multiagents_otel.lifecycle import before_first_call
from multiagents_otel.logs.processor import add_first
from multiagents_otel.telemetry.bus import Buses, BusInfo
from multiagents_otel.telemetry.core import Telemetry
from multiagents_otel.telemetry.system import SYSTEM
from multiagents_otel.telemetry.workflows import Workflows

if sys.version_info >= (3, 11):
    from typing import Unpack
else:
    from typing_extensions import Unpack

_logger = logging.getLogger("multiagents_otel")

_FRAMEWORK: Final = "multiagents"
PROVIDERS: Final = {"traces": "tracer_provider", "metrics": "meter_provider", "logs": "logger_provider"}
"""The argument with the provider of each signal."""


class _Instrumentation:
    """What one ``instrument()`` call has put in place."""

    def __init__(self, config: MonitoringConfig, options: Options, providers: dict[str, Any]) -> None:
        self.config = config
        self.providers = {
            signal: providers[name] for signal, name in PROVIDERS.items() if providers.get(name) is not None
        }
        self.telemetry = Telemetry(options, **providers)
        self.patches = PatchSet(Switch())
        self.workflows = Workflows(self.telemetry)
        self.buses = EventBusInstrumentation(self.telemetry, self.workflows, self.patches)
        logger_provider = providers.get("logger_provider")
        self.logs = FrameworkLogs(self.telemetry, self.patches, logger_provider)
        builtins = BuiltinReplacement(self.telemetry, self.patches, logger_provider)
        self.workers = WorkerInstrumentation(self.telemetry, self.buses, self.patches, self.logs, builtins)
        self.orchestrators = WorkflowInstrumentation(self.telemetry, self.workflows, self.buses, self.patches)
        steps = StepInstrumentation(self.telemetry, self.workflows, self.patches)
        stops = StopInstrumentation(self.telemetry, self.buses.buses, self.patches)
        parts = (self.logs, builtins, self.buses, self.workers, self.orchestrators, steps, stops)
        on_fork(in_child=self._in_forked_child)
        self.table: list[Patch] = [patch for part in parts for patch in part.table()]
        SYSTEM.install(self.telemetry.instruments)
        ENDING.watch()
        self.telemetry.instruments.gauges[semconv.PROCESS_RUNNING.name] = self._running
        telemetry, in_flight = self.telemetry, self.workflows.in_flight
        scope.activate(scope.Instrumentation(telemetry.instruments, in_flight, telemetry.executing, self.buses.buses))

    def _running(self) -> dict[tuple[str, ...], int]:
        if not ENDING.in_use:
            return {}  # a forked child that has recorded nothing says nothing
        # Between two asyncio.run() calls nothing of the framework runs that could fall silent.
        return {(): int(not (ENDING.in_order if ENDING.begun else self.buses.lag.idle))}

    def apply(self, module: str | None = None) -> bool:
        """Apply the rows of one module, or of every module that is imported; False if nothing stays in place."""
        modules = {row.module for row in self.table if is_ready(row.module)} if module is None else {module}
        return self.patches.apply(row for row in self.table if row.module in modules)

    def adopt_live(self) -> None:
        """Instrument what was made before: buses, managers and orchestrators that are in use already."""
        kinds: list[tuple[str, str, Callable[[Any], None]]] = [
            (REDIS_BUS_MODULE, "RedisEventBus", self.buses.adopt),
            (WORKER_MANAGER_MODULE, "WorkerManager", self.workers.adopt),
            (ORCHESTRATOR_MODULE, "Orchestrator", self.orchestrators.adopt),
        ]
        adopters = [
            (cls, adopt)
            for module, name, adopt in kinds
            if module in sys.modules and isinstance(cls := getattr(sys.modules[module], name, None), type)
        ]
        if not adopters:
            return
        # By id: the metaclass of a user's subclass may leave it unhashable.
        classes = {id(kind): (kind, adopt) for cls, adopt in adopters for kind in _with_subclasses(cls)}
        # An instance refers to its class, so the interpreter finds it without a look at every object from here.
        # type(), not isinstance(): a lazy proxy would load what it stands for.
        referrers = gc.get_referrers(*(kind for kind, _ in classes.values()))
        live = [(thing, classes[id(type(thing))][1]) for thing in referrers if id(type(thing)) in classes]
        try:
            for kind in {type(thing) for thing, _ in live}:
                self.patches.extend(kind)  # every class before any bus, whose handlers are taken again from it
        except Exception:
            self.telemetry.guard.caught("event_bus")
        for thing, adopt in live:
            try:
                adopt(thing)
            except Exception:
                self.telemetry.guard.caught("event_bus")

    def _in_forked_child(self) -> None:
        # What is under way goes on in the parent.
        self.workflows.clear()
        self.telemetry.executing.clear()
        before_first_call(self.telemetry.ledger, "add")

    def remove(self) -> list[Handler]:
        """Take everything out; returns the handlers that could not be reached and now only pass through."""
        scope.activate(None)
        handlers, replacements = self.buses.handlers.alive, self.patches.replacements()
        self.patches.undo()
        self.buses.release(replacements)
        self.logs.release()
        self.workflows.clear()
        self.telemetry.instruments.active = False
        self.telemetry.instruments.gauges.clear()
        return handlers


def _with_subclasses(cls: type) -> Iterator[type]:
    yield cls
    subclass: type
    for subclass in type.__subclasses__(cls):
        yield from _with_subclasses(subclass)


@dataclass(init=False)
class DeclaredOptions:
    """The options of an ``OTEL_CONFIG_FILE``, taken as they are: a wrong one must not stop the instrumentation."""

    declared: dict[str, Any]

    def __init__(self, **options: Any) -> None:
        self.declared = options


class MultiAgentsInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Instruments multiagents-framework: event buses, workers, workflows.

    One trace for each workflow, over any number of processes, and the metrics of
    :mod:`multiagents_otel.semconv`. Nothing is imported: the framework is patched when the application
    imports it, or at once if it has already, buses and orchestrators in use included.

    ``instrument()`` takes, all optional:

    * ``tracer_provider``, ``meter_provider``, ``logger_provider``: the global ones by default;
    * ``config``: a :class:`MonitoringConfig`, a dict of its sections, or the path of a file; by default the file
      that the variable ``MULTIAGENTS_OTEL_CONFIG`` names;
    * every option of :data:`multiagents_otel.config.OPTIONS` by its name, hooks among them:
      ``publish_hook(span, event_type, event)``, ``process_hook(span, event_type, event)``,
      ``step_hook(span, saga_context, step_name)``, ``workflow_hook(span, saga_context, status)``.

    Raises:
        OptionError: an unknown option, which is a TypeError too, or a wrong value.
        TypeError: a hook that is no plain function.
    """

    # Class attributes: the base class runs __init__ again on each construction of its one instance.
    _active: _Instrumentation | None = None
    _hooked: ClassVar[set[str]] = set()
    _given_buses: ClassVar[Buses] = Buses()
    _kept_buses: ClassVar[list[tuple[Any, BusInfo]]] = []  # given before, and no weak reference can be had to them
    _lock: ClassVar[Any] = threading.RLock()
    _left: ClassVar[list[weakref.ref[Handler]]] = []
    _asked: ClassVar[tuple[MonitoringConfig, Options] | None] = None

    configuration = DeclaredOptions
    """What opentelemetry-configuration makes of our part of ``OTEL_CONFIG_FILE``, to hand it to ``instrument()``."""

    @describe_options
    def instrument(
        self,
        *,
        config: Configuration | None = None,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        logger_provider: Any = None,
        declared: Mapping[str, Any] | None = None,
        skip_dep_check: bool = False,
        raise_exception_on_conflict: bool = False,
        **options: Unpack[OptionArguments],
    ) -> Any:
        """Turn it on; a second call does nothing, from whatever thread.

        Args:
            config: a configuration, a dict of its sections, or the path of a file.
            tracer_provider: used instead of the global one.
            meter_provider: used instead of the global one.
            logger_provider: used instead of the global one.
            declared: the part of an ``OTEL_CONFIG_FILE`` for this instrumentation; every other source wins over it.
            skip_dep_check: instrument versions of the framework that are not known to work too.
            raise_exception_on_conflict: raise for such a version; by default it is logged.
            **options: the options of :class:`multiagents_otel.config.OptionArguments`.
        """
        with self._lock:
            return super().instrument(
                skip_dep_check=skip_dep_check,
                raise_exception_on_conflict=raise_exception_on_conflict,
                config=config,
                declared=declared,
                providers={
                    "tracer_provider": tracer_provider,
                    "meter_provider": meter_provider,
                    "logger_provider": logger_provider,
                },
                options=options,
            )

    @classmethod
    @contextmanager
    def asking(cls, config: MonitoringConfig, options: Options) -> Iterator[None]:
        """Resolved already: an ``instrument()`` inside that has no options of its own takes these.

        ``OTEL_CONFIG_FILE`` activates the instrumentation too, and its options stand below these.
        """
        cls._asked = config, options
        try:
            yield
        finally:
            cls._asked = None

    def uninstrument(self, **kwargs: Any) -> Any:
        """Turn it off and give everything back."""
        with self._lock:
            return super().uninstrument(**kwargs)

    def instrumentation_dependencies(self) -> Collection[str]:
        """The framework's versions that are known to work; later ones are tried."""
        return ("multiagents-framework >= 0.1.0",)

    def _check_dependency_conflicts(self) -> Any:
        """A framework that is there without metadata (vendored, bundled, a checkout) is instrumented all the same."""
        conflict = super()._check_dependency_conflicts()
        return None if conflict is not None and conflict.found is None and _is_there() else conflict

    @property
    def lacks_metadata(self) -> bool:
        """Whether the framework is there and its metadata are not, by which launchers look for it."""
        return super()._check_dependency_conflicts() is not None and self._check_dependency_conflicts() is None

    def _instrument(
        self,
        *,
        config: Configuration | None,
        declared: Mapping[str, Any] | None,
        providers: dict[str, Any],
        options: OptionArguments,
    ) -> None:
        if self._asked is None or config is not None or options:
            config = configuration_in_force(config, declared)
            chosen = Options(options, configured=config.settings())
        else:
            config, chosen = self._asked
            if declared is not None:
                config = configuration_in_force(config, declared)
                chosen = chosen.above(config.settings())
        active = _Instrumentation(config, chosen, providers)
        type(self)._active = active
        if not active.apply():
            self._uninstrument()
            return
        active.buses.handlers.resume([handler for ref in self._left if (handler := ref()) is not None])
        self._left.clear()
        for module in {row.module for row in active.table}:
            if not is_ready(module) and module not in self._hooked:
                self._hooked.add(module)  # a hook can't be taken back: it is set once, and asks what is active
                when_ready(module, _imported)
        logger_provider = providers["logger_provider"]
        add_first(logger_provider if logger_provider is not None else get_logger_provider())
        active.adopt_live()
        given_buses = [(bus, self._given_buses[bus]) for bus in self._given_buses] + self._kept_buses
        self._kept_buses.clear()
        for bus, info in given_buses:
            active.buses.adopt(bus, info.system)

    def _uninstrument(self, **kwargs: Any) -> None:
        active, type(self)._active = self._active, None
        if active is not None:
            self._left.extend(weakref.ref(handler) for handler in active.remove())

    def instrument_event_bus(self, bus: Any, system: str | None = None) -> None:
        """Instrument an event bus of your own; before or after ``instrument()``.

        A bus that is handed to a WorkerManager or an Orchestrator is found without it.

        Args:
            bus: an ``IEventBus``.
            system: its ``messaging.system``, as OpenTelemetry spells it (``kafka``, ``rabbitmq``); default
                ``redis`` for a bus with a ``redis_url``, else ``multiagents``.
        """
        if system is not None and not isinstance(system, str):
            raise TypeError(f"system must be a string, not {system!r}")
        info = self._given_buses.describe(bus, system)
        if self._active is not None:
            self._active.buses.adopt(bus, system)
        elif not any(each is bus for each in self._given_buses):
            self._kept_buses.append((bus, info))


def _is_there() -> bool:
    """Whether the framework can be imported; it is not."""
    try:
        return sys.modules.get(_FRAMEWORK) is not None or find_spec(_FRAMEWORK) is not None
    except (ImportError, ValueError):
        return False


def _imported(module: Any) -> None:
    active = MultiAgentsInstrumentor._active
    if active is not None and not active.apply(module.__name__):
        MultiAgentsInstrumentor()._uninstrument()
