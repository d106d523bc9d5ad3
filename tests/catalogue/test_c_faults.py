"""Failure catalogue C1 to C4, C7: faults of ours, of hooks and of the SDK's parts never change the application."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import logging
import pkgutil
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import pytest
from opentelemetry import metrics, propagate, trace
from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import SpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import NoOpTracerProvider

import multiagents_otel.telemetry
from multiagents_otel import EventMonitor, MultiAgentsInstrumentor, OptionError, WorkerMonitor
from multiagents_otel.telemetry.observers import Observer
from tests.catalogue.application import seen_by_the_application
from tests.catalogue.observed import Observed, instrumented, records
from tests.support import trees
from tests.support.expected import COMPENSATED
from tests.support.processes import Process
from tests.support.sagas import order_payload, order_system, subscribe_compensations

_without: dict[str, Any] = {}


async def without_us() -> dict[str, Any]:
    """What the application sees uninstrumented, seen once."""
    if not _without:
        _without.update(await seen_by_the_application())
    return _without


class Fault(Exception):
    """What is injected."""


def fail(*_args: object, **_kwargs: object) -> NoReturn:
    raise Fault("injected")


async def test_C3_C4_C5_C6_the_application_sees_what_it_sees_without_us() -> None:
    expected = await without_us()
    assert expected["completed"]["state"] == "completed"
    assert expected["tasks left"] == []
    with instrumented():
        assert await seen_by_the_application() == expected


# --- C1: every function and method of the telemetry rooms -----------------------------------------


class Place(NamedTuple):
    """A function or method of ours where a fault is injected."""

    module: str
    owner: str
    name: str

    def __str__(self) -> str:
        return ".".join((self.module.rpartition(".")[2], self.owner, self.name)).replace("..", ".")


def places() -> list[Place]:
    """All of them, found by looking: what is added later is tried too."""
    found = []
    for info in pkgutil.iter_modules(multiagents_otel.telemetry.__path__, "multiagents_otel.telemetry."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) != info.name:
                continue
            if inspect.isfunction(value):
                found.append(Place(info.name, "", name))
            elif inspect.isclass(value) and not issubclass(value, BaseException):
                found += [Place(info.name, name, member) for member in _members(value)]
    return found


def _members(cls: type) -> list[str]:
    names = []
    for name, value in vars(cls).items():
        generated = not hasattr(value, "__code__") and not isinstance(value, (property, staticmethod, classmethod))
        if generated or inspect.iscoroutinefunction(value):
            continue  # a coroutine function of ours is what calls the application, not what tells of it
        if issubclass(cls, tuple) and name in ("__new__", "_make", "_replace", "__repr__", "_asdict", "__getnewargs__"):
            continue  # made by NamedTuple
        names.append(name)
    return names


# What the proxy is asked for is the worker's own; a weak reference's callback has no caller to protect.
# None of them can be left out.
# The monitors, which are on in these tests, have faults of their own in tests/monitors/test_harmless.py.
NO_PLACES = {
    ("WorkerProxy", "__getattr__"),
    ("ByIdentity", "_forget"),
    # Called by whoever makes monitors, before and after what is watched here.
    *(("Observers", name) for name in ("__init__", "add", "remove", "clear", "_set", "_forget")),
    # Nothing is in them: a monitor's own methods stand in their places.
    *(("Observer", name) for name in vars(Observer)),
}
# What monitors call and are, and who collects metrics: no call of the application comes by.
NOT_CALLED = tuple(f"multiagents_otel.telemetry.{name}" for name in ("custom", "observers", "system"))
# A fault in them may show as they are compared with the SDK at the start: then the SDK's public API is used.
COMPARED = tuple(f"multiagents_otel.telemetry.{name}" for name in ("bulk_histogram", "light_span", "sdk_internals"))
PLACES = [place for place in places() if (place.owner, place.name) not in NO_PLACES and place.module not in NOT_CALLED]


class Counter:
    """Raises, and knows how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_args: object, **_kwargs: object) -> NoReturn:
        self.calls += 1
        raise Fault("injected")


def inject(monkeypatch: pytest.MonkeyPatch, place: Place, counter: Counter) -> None:
    module = sys.modules[place.module]
    if not place.owner:
        original = getattr(module, place.name)
        for name, holder in list(sys.modules.items()):
            if name.startswith("multiagents_otel") and getattr(holder, place.name, None) is original:
                monkeypatch.setattr(holder, place.name, counter)
        return
    cls = getattr(module, place.owner)
    current = vars(cls)[place.name]
    replacement: Any = lambda *args, **kwargs: counter(*args, **kwargs)  # noqa: E731 - a function binds
    if isinstance(current, property):
        replacement = property(replacement)
    elif isinstance(current, staticmethod):
        replacement = staticmethod(replacement)
    monkeypatch.setattr(cls, place.name, replacement)


class EverySecond(Sampler):
    """Samples every second root, the first one too: what fails in the others is kept, and that may have faults."""

    def __init__(self) -> None:
        self._asked = 0

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        self._asked += 1
        return SamplingResult(Decision.RECORD_AND_SAMPLE if self._asked % 2 else Decision.DROP)

    def get_description(self) -> str:
        return "EverySecond"


def half_sampled() -> Observed:
    return Observed(sampler=ParentBased(EverySecond()))


@pytest.mark.faults
@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_C1_a_fault_anywhere_in_our_telemetry_changes_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await without_us()
    counter, monitors = Counter(), (EventMonitor(), WorkerMonitor())
    with records("asyncio") as loop_errors, instrumented(half_sampled()) as observed:
        with monkeypatch.context() as injected:
            inject(injected, place, counter)
            seen = await seen_by_the_application()
        assert seen == expected
        assert loop_errors == []
        counted = sum(observed.metric("multiagents.otel.errors").values())
    if place.module in COMPARED:
        assert counted <= counter.calls
    elif place.owner not in ("Ledger", "Bounded", "Instruments"):  # they are what counts
        assert (counted > 0) is (counter.calls > 0)
    del monitors


def test_C1_the_places_are_all_there() -> None:
    """The list comes from looking: these must be in it, or looking has gone wrong."""
    names = set(map(str, PLACES))
    for owner, name in [
        ("sending.Sending", "__init__"),
        ("delivery.Delivery", "attach"),
        ("delivery.Message", "__init__"),
        ("execution.Execution", "__init__"),
        ("in_flight.InFlight", "add"),
        ("ledger.Ledger", "add"),
        ("instruments.Instruments", "record"),
        ("propagation.Propagation", "extract"),
        ("operation.Operation", "close"),
        ("workflows.Workflows", "begin"),
        ("core.Telemetry", "span_name"),
        ("failure", "failure_of"),
        ("operation", "finish"),
    ]:
        assert f"{owner}.{name}" in names


async def test_C1_most_places_are_reached_by_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault where nothing comes by would prove nothing: three places in four are called."""
    reached: set[Place] = set()

    def watch(place: Place, function: Any) -> Any:
        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            reached.add(place)
            return function(*args, **kwargs)

        return watched

    monitors = EventMonitor(), WorkerMonitor()  # they are told while they are kept
    with instrumented(half_sampled()):
        for place in PLACES:
            module = sys.modules[place.module]
            if not place.owner:
                original = getattr(module, place.name)
                for name, holder in list(sys.modules.items()):
                    if name.startswith("multiagents_otel") and getattr(holder, place.name, None) is original:
                        monkeypatch.setattr(holder, place.name, watch(place, original))
                continue
            cls = getattr(module, place.owner)
            current = vars(cls)[place.name]
            if isinstance(current, property):
                monkeypatch.setattr(cls, place.name, property(watch(place, current.fget)))
            elif inspect.isfunction(current):
                monkeypatch.setattr(cls, place.name, watch(place, current))
        await seen_by_the_application()
    del monitors
    # Some ask Redis, stand between exporters and a backend, or do what the SDK asks for; the application here has none.
    elsewhere = (
        "background",
        "ends",
        "receivers",
        "subscribers",
        "drops",
        "bulk_histogram",
        "light_span",
        "sdk_internals",
    )
    usual = [place for place in PLACES if place.module.rpartition(".")[2] not in elsewhere]
    assert len(reached.intersection(usual)) >= 2 / 3 * len(usual), sorted(map(str, set(PLACES) - reached))


# --- C1: the SDK's parts --------------------------------------------------------------------------


class FailingSampler(Sampler):
    should_sample = fail

    def get_description(self) -> str:
        return "fails"


class FailingIds(IdGenerator):
    generate_span_id = fail
    generate_trace_id = fail


class FailingOnStart(SpanProcessor):
    on_start = fail


class FailingOnEnd(SpanProcessor):
    on_end = fail


class FailingExporter(SpanExporter):
    export = fail


class FailingMetricExporter(MetricExporter):
    def export(self, *_args: Any, **_kwargs: Any) -> MetricExportResult:
        fail()

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 0, **_kwargs: Any) -> None: ...


class FailingPropagator(TextMapPropagator):
    extract = fail
    inject = fail

    @property
    def fields(self) -> set[str]:
        return set()


def _processing(processor: SpanProcessor) -> Callable[[], Observed]:
    def make() -> Observed:
        observed = Observed()
        observed.tracer_provider.add_span_processor(processor)
        return observed

    return make


def _metric_exporter() -> Observed:
    observed = Observed()
    reader = PeriodicExportingMetricReader(FailingMetricExporter(), export_interval_millis=1)
    observed.metric_reader = InMemoryMetricReader()
    observed.meter_provider = MeterProvider([observed.metric_reader, reader], shutdown_on_exit=False)
    return observed


SDK_FAULTS: dict[str, tuple[Callable[[], Observed], bool]] = {
    "sampler": (lambda: Observed(sampler=FailingSampler()), True),
    "id generator": (lambda: Observed(id_generator=FailingIds()), True),
    "processor on_start": (_processing(FailingOnStart()), True),
    "processor on_end": (_processing(FailingOnEnd()), True),
    # These two are caught by the SDK itself.
    "exporter": (_processing(SimpleSpanProcessor(FailingExporter())), False),
    "batch exporter": (_processing(BatchSpanProcessor(FailingExporter(), schedule_delay_millis=1)), False),
    "metric exporter": (_metric_exporter, False),
}


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("fault", SDK_FAULTS)
async def test_C1_a_fault_in_a_part_of_the_sdk_changes_nothing(fault: str) -> None:
    expected = await without_us()
    make, counted = SDK_FAULTS[fault]
    observed = make()
    with records("opentelemetry"), instrumented(observed):
        assert await seen_by_the_application() == expected
        assert bool(observed.metric("multiagents.otel.errors")) is counted
    observed.tracer_provider.shutdown()
    observed.meter_provider.shutdown()


@pytest.mark.faults
async def test_C1_a_fault_in_the_propagator_changes_nothing() -> None:
    expected = await without_us()
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(FailingPropagator())
    try:
        with instrumented() as observed:
            assert await seen_by_the_application() == expected
            errors = observed.metric("multiagents.otel.errors")
    finally:
        propagate.set_global_textmap(before)
    assert set(errors) == {("process",), ("publish",)}


@pytest.mark.faults
@pytest.mark.parametrize("part", ["histogram", "logger", "tracer"])
async def test_C1_a_fault_in_an_instrument_or_a_provider_changes_nothing(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await without_us()
    observed = Observed()
    if part == "histogram":
        from opentelemetry.sdk.metrics import Histogram

        monkeypatch.setattr(Histogram, "record", fail)
        for cls in Histogram.__subclasses__():
            monkeypatch.setattr(cls, "record", fail)
    elif part == "tracer":
        monkeypatch.setattr(Tracer, "start_span", fail)
    with instrumented(observed):
        active = MultiAgentsInstrumentor._active
        assert active is not None
        if part == "logger":
            monkeypatch.setattr(active.telemetry._logger, "emit", fail)
        assert await seen_by_the_application() == expected
        assert sum(observed.metric("multiagents.otel.errors").values()) > 0


# --- C2: hooks -------------------------------------------------------------------------------------

HOOKS = ("publish_hook", "process_hook", "step_hook", "workflow_hook")


class Timeout(BaseException):
    """As gevent's, and pytest's outcomes: no Exception."""


@pytest.mark.faults
@pytest.mark.parametrize("raises", [Fault, asyncio.CancelledError, RecursionError, GeneratorExit, Timeout])
@pytest.mark.parametrize("hook", HOOKS)
async def test_C2_a_hook_that_raises_changes_nothing(hook: str, raises: type[BaseException]) -> None:
    expected, calls = await without_us(), 0

    def raising(*_args: object) -> None:
        nonlocal calls
        calls += 1
        raise raises

    with instrumented(**{hook: raising}) as observed:
        assert await seen_by_the_application() == expected
        assert calls > 0
        assert observed.metric("multiagents.otel.errors") == {("hook",): calls}


@pytest.mark.faults
@pytest.mark.parametrize("hook", HOOKS)
async def test_C2_a_lambda_that_returns_a_coroutine_is_closed_and_counted(hook: str) -> None:
    """``filterwarnings = error``: a coroutine that nobody awaits fails this test."""

    async def asynchronous(*_args: object) -> None: ...

    expected = await without_us()
    with instrumented(**{hook: lambda *args: asynchronous(*args)}) as observed:
        assert await seen_by_the_application() == expected
        assert observed.metric("multiagents.otel.errors")["hook",] > 0


class AsyncCallable:
    async def __call__(self, *_args: object) -> None: ...


def _given(arguments: Any) -> dict[str, Any]:
    """Arguments that the signature's types forbid."""
    return dict(arguments)


@pytest.mark.parametrize("hook", HOOKS)
def test_C2_an_async_hook_is_refused_and_nothing_is_patched(hook: str) -> None:
    async def asynchronous(*_args: object) -> None: ...

    wrongs: list[Any] = [asynchronous, AsyncCallable(), functools.partial(asynchronous), 7, "hook"]
    for wrong in wrongs:
        instrumentor = MultiAgentsInstrumentor()
        with pytest.raises(TypeError, match=hook):
            instrumentor.instrument(**_given({hook: wrong}))
        assert MultiAgentsInstrumentor._active is None
        assert not instrumentor.is_instrumented_by_opentelemetry


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("detailed_timings", True),
        ("detailed_timing", "maybe"),
        ("workflow_parent", "sibling"),
        ("stall_grace", -1),
        ("stall_grace", float("nan")),
        ("excluded_events", 7),
        ("excluded_workers", [7]),
        ("flush_timeout", "soon"),
    ],
)
async def test_C2_a_wrong_option_is_refused_by_name_and_nothing_is_patched(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=option):
        MultiAgentsInstrumentor().instrument(**_given({option: value}))
    assert MultiAgentsInstrumentor._active is None
    with instrumented() as observed:  # a right one afterwards takes
        async with order_system() as system:
            await subscribe_compensations(system.bus)
            await system.wait_ended(await system.run(order_payload(fail_at="ship_order")))
            await system.bus.drain()
        assert trees.tree(observed.ours) == COMPENSATED


async def test_C2_hooks_see_what_the_contract_says_and_their_attributes_stay() -> None:
    def hook(name: str) -> Callable[..., None]:
        return lambda span, _what, detail: span.set_attribute(f"hook.{name}", str(type(detail).__name__))

    with instrumented(**{name: hook(name) for name in HOOKS}) as observed:
        async with order_system() as system:
            await system.wait_ended(await system.run())
            await system.bus.drain()
    marks = {span.name.split(" ")[0].split(".")[0]: span.attributes or {} for span in observed.ours}
    assert marks["send"]["hook.publish_hook"] == "dict"
    assert marks["process"]["hook.process_hook"] == "dict"
    assert marks["step"]["hook.step_hook"] == "str"
    assert marks["workflow"]["hook.workflow_hook"] == "str"


# --- C7: no-op providers, a disabled SDK ------------------------------------------------------------


class ForeignTracerProvider(trace.TracerProvider):
    """Not the SDK's: its tracers have no id generator and no sampler."""

    def __init__(self) -> None:
        self._tracer = TracerProvider(shutdown_on_exit=False).get_tracer("foreign")

    def get_tracer(self, *_args: Any, **_kwargs: Any) -> trace.Tracer:
        return ForeignTracer(self._tracer)


class ForeignTracer(trace.Tracer):
    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
        return self._tracer.start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._tracer.start_as_current_span(*args, **kwargs)


PROVIDERS: dict[str, Callable[[], dict[str, Any]]] = {
    "none set": dict,
    "no-op": lambda: {
        "tracer_provider": NoOpTracerProvider(),
        "meter_provider": NoOpMeterProvider(),
        "logger_provider": NoOpLoggerProvider(),
    },
    "no-op traces": lambda: {"tracer_provider": NoOpTracerProvider(), "meter_provider": Observed().meter_provider},
    "no-op metrics": lambda: {"tracer_provider": Observed().tracer_provider, "meter_provider": NoOpMeterProvider()},
    "not the SDK's": lambda: {"tracer_provider": ForeignTracerProvider()},
}


@pytest.mark.parametrize("providers", PROVIDERS)
async def test_C7_without_real_providers_the_application_sees_the_same(providers: str) -> None:
    expected = await without_us()
    instrumentor = MultiAgentsInstrumentor()
    instrumentor.instrument(**PROVIDERS[providers]())
    try:
        assert await seen_by_the_application() == expected
    finally:
        instrumentor.uninstrument()
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider"


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED", None])
def test_C7_in_a_process_with_the_sdk_disabled_the_application_sees_the_same(variable: str | None) -> None:
    code = """
        import asyncio, logging, structlog
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.metrics import MeterProvider
        from multiagents_otel import MultiAgentsInstrumentor
        from multiagents_otel.processing.guard import Guard
        from tests.catalogue.application import seen_by_the_application
        Guard.strict = True
        without = asyncio.run(seen_by_the_application())
        MultiAgentsInstrumentor().instrument(
            tracer_provider=TracerProvider(shutdown_on_exit=False),
            meter_provider=MeterProvider(shutdown_on_exit=False),
        )
        passive = MultiAgentsInstrumentor._active.telemetry.passive
        instrumented = asyncio.run(seen_by_the_application())
        assert without == instrumented, (without, instrumented)
        print("passive", passive)
    """
    with Process.python(code, env={variable: "true"} if variable else {}) as child:
        assert f"passive {variable is not None}" in child.wait_ok(60)


def test_C4_the_guard_logs_no_text_of_an_exception_above_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    from multiagents_otel.processing.guard import Guard

    monkeypatch.setattr(Guard, "strict", False)
    counted: list[str] = []
    guard = Guard(counted.append)
    with records("multiagents_otel") as logged:
        for _ in range(3):
            try:
                raise ValueError("sk-secret-in-the-text")
            except ValueError:
                guard.caught("publish")
    assert counted == ["publish"] * 3
    shown = [record for record in logged if record.levelno > logging.DEBUG]
    assert len(shown) == 1
    assert "secret" not in shown[0].getMessage()
    assert shown[0].exc_info is None
