"""Failure catalogue C5 to C11: odd calls, odd handlers, odd payloads, odd exceptions, recursion, other versions."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import logging
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from multiagents.core.exceptions import EventBusException
from multiagents.core.saga_context import SagaContext
from multiagents.event_bus.events import CommandEvent, EventMetadata
from multiagents.event_bus.redis_bus import EventEncoder
from multiagents.worker_sdk.interface import IWorker
from multiagents.worker_sdk.worker_manager import WorkerManager
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from multiagents_otel import MultiAgentsInstrumentor, instrument_event_bus
from tests.catalogue.observed import Observed, instrumented, records
from tests.support import trees
from tests.support.buses import MemoryBus
from tests.support.expected import COMPLETED
from tests.support.processes import Process
from tests.support.sagas import SilentLogger, order_payload, order_system, order_workers

# --- C5: every patched method, positionally and by keyword -------------------------------------------


def command_of(payload: dict[str, Any]) -> CommandEvent:
    metadata = EventMetadata(transaction_id="t", correlation_id="t.validate", source="test")
    return CommandEvent(metadata=metadata, worker_type="validate_order", payload=payload)


@pytest.mark.parametrize("on", [False, True], ids=["without us", "instrumented"])
@pytest.mark.parametrize("style", ["positional", "keyword", "mixed"])
async def test_C5_every_patched_method_takes_its_arguments_positionally_and_by_keyword(style: str, on: bool) -> None:
    def call(function: Any, **arguments: Any) -> Any:
        names = [name for name in inspect.signature(function).parameters if name in arguments]
        assert len(names) == len(arguments)
        values = [arguments[name] for name in names]
        at = {"positional": len(names), "keyword": 0, "mixed": max(0, len(names) - 1)}[style]
        return function(*values[:at], **{name: arguments[name] for name in names[at:]})

    class SeenBus(MemoryBus):
        """Notes what it is called with."""

    async def handler(event: dict[str, Any]) -> None:
        events.append(event)

    events: list[dict[str, Any]] = []
    with _maybe(on):
        bus = SeenBus()
        manager = call(WorkerManager, event_bus=bus, logger=SilentLogger())
        await bus.start()
        for _ in range(2):
            assert await call(bus.subscribe, event_type="a", handler=handler) is None
        assert await call(bus.publish, event_type="a", event_data={"id": "1"}) is None
        await bus.drain()
        assert await call(bus.unsubscribe, event_type="a", handler=handler) is None
        assert await call(bus.publish, event_type="a", event_data={"id": "2"}) is None
        await bus.drain()
        assert events == [{"id": "1"}, {"id": "1"}, {"id": "2"}]
        await bus.stop()

        async with order_system(MemoryBus()) as system:
            orchestrator, manager = system.orchestrator, system.manager
            assert call(manager.register, worker=order_workers()[0]) is None
            transaction = await call(
                orchestrator.execute_workflow, workflow_id="order_processing", initial_context=order_payload()
            )
            assert isinstance(transaction, str)
            await system.wait_ended(transaction)
            context = await call(orchestrator._load_context, transaction_id=transaction)
            assert context.transaction_id == transaction
            assert await call(orchestrator._publish_status_event, context=context, message="hello") is None
            step = orchestrator.workflow.get_steps()[0]
            assert await call(orchestrator._execute_step, context=context, step=step) is None
            await system.bus.drain()
            assert await call(orchestrator._handle_result_event, event_data={"not": "a result"}) is None
            assert await call(orchestrator._trigger_compensations, context=context) is None
            assert await call(orchestrator.cancel_workflow, transaction_id=transaction) is True
            worker = manager.get_worker("validate_order")
            assert await call(manager._execute_worker_with_timeout, worker=worker, command=command_of({})) is None
            assert await call(manager._handle_command, worker=worker, event_data=command_of({}).dict()) is None
            await asyncio.wait(manager._handler_tasks)
            await system.bus.drain()
            saga = SagaContext()
            saga.record_step_start("s", "1")
            assert call(saga.record_step_completion, step_name="s", result={"r": 1}) is None
            assert call(saga.record_step_failure, step_name="s", error="e") is None
            assert (saga.step_results, saga.error) == ({"s": {"r": 1}}, "e")


async def test_C5_wrong_calls_raise_the_same_type_error() -> None:
    async def messages() -> list[str]:
        found = []
        async with order_system() as system:
            orchestrator: Any = system.orchestrator
            wrong: list[Callable[[], Any]] = [
                lambda: system.bus.publish(),
                lambda: system.bus.publish("a"),
                lambda: system.bus.publish("a", {}, 1),
                lambda: system.bus.publish("a", {}, event_data={}),
                lambda: system.bus.publish("a", data={}),
                lambda: system.bus.subscribe("a"),
                lambda: system.bus.unsubscribe(handler=print),
                lambda: orchestrator.execute_workflow("a"),
                lambda: orchestrator.cancel_workflow(),
            ]
            for one in wrong:
                with pytest.raises(TypeError) as caught:
                    await one()
                found.append(str(caught.value))
        return found

    without = await messages()
    with instrumented():
        assert await messages() == without


async def test_C5_events_that_are_no_dicts_go_through() -> None:
    with instrumented() as observed:
        bus: Any = MemoryBus(inline=True)
        instrument_event_bus(bus)
        await bus.start()
        got: list[Any] = []
        await bus.subscribe("a", got.append)
        for odd in ([1], "text", 7, None):
            odd_event: Any = odd
            await bus.publish("a", odd_event)
        assert got == [[1], "text", 7, None]
        assert observed.ours == []


# --- C6: handlers without a name ---------------------------------------------------------------------


class Callable_:
    """A handler that is an instance; it has no ``__name__``."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    async def __call__(self, event: dict[str, Any]) -> None:
        self.got.append(event)

    async def method(self, event: dict[str, Any]) -> None:
        self.got.append(event)

    @classmethod
    async def of_class(cls, event: dict[str, Any]) -> None:
        GOT.append(event)

    @staticmethod
    async def static(event: dict[str, Any]) -> None:
        GOT.append(event)


GOT: list[Any] = []


@pytest.mark.parametrize(
    "kind", ["instance", "method", "partial", "partial of partial", "lambda", "classmethod", "staticmethod", "builtin"]
)
async def test_C6_handlers_of_every_kind_are_called_with_the_event_inside_their_span(kind: str) -> None:
    GOT.clear()
    instance = Callable_()

    async def two(_first: object, event: dict[str, Any]) -> None:
        instance.got.append(event)

    async def three(_first: object, _second: object, event: dict[str, Any]) -> None:
        instance.got.append(event)

    handlers: dict[str, Any] = {
        "instance": instance,
        "method": instance.method,
        "partial": functools.partial(two, 1),
        "partial of partial": functools.partial(functools.partial(three, 1), 2),
        "lambda": lambda event: instance.method(event),
        "classmethod": Callable_.of_class,
        "staticmethod": Callable_.static,
        "builtin": instance.got.append,
    }
    with instrumented() as observed:
        bus: Any = MemoryBus()
        instrument_event_bus(bus)
        await bus.start()
        await bus.subscribe("a", handlers[kind])
        await bus.publish("a", {"id": "1"})
        result: Any = bus.handlers["a"][0](event={"id": "1"}) if kind in ("instance", "method") else None
        if result is not None:
            await result
        if kind != "builtin":  # returns nothing that could be awaited: the bus' own affair
            await bus.drain()
        else:
            while not instance.got:
                await asyncio.sleep(0)
        await bus.stop()
        count = 2 if kind in ("instance", "method") else 1
        assert [*instance.got, *GOT] == [{"id": "1"}] * count
        assert [span.name for span in observed.ours].count("process a") == count
        assert observed.metric("multiagents.events")["Event", "success"] == count


# --- C8: recursion -----------------------------------------------------------------------------------


class LoggingExporter(SpanExporter):
    """Logs each span, as debugging exporters do."""

    def __init__(self) -> None:
        self.exported = 0

    def export(self, spans: Any) -> SpanExportResult:
        self.exported += len(spans)
        logging.getLogger("exporter").warning("exported %d", len(spans))
        return SpanExportResult.SUCCESS


@contextmanager
def root_handler(handler: logging.Handler) -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


async def test_C8_an_exporter_that_logs_into_the_pipeline_does_not_recurse() -> None:
    observed, exporter = Observed(), LoggingExporter()
    observed.tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(observed.log_exporter))
    handler = LoggingHandler(logging.DEBUG, logger_provider=provider)
    with root_handler(handler), instrumented(observed):
        async with order_system() as system:
            await system.wait_ended(await system.run())
            await system.bus.drain()
    assert trees.tree(observed.ours) == COMPLETED
    assert exporter.exported == len(observed.spans)


@pytest.mark.faults
async def test_C8_a_log_handler_that_publishes_events_does_not_recurse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own warnings reach it too: a fault in publish is logged, which publishes, which is a fault."""
    published: list[asyncio.Future[None]] = []

    class Publishing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "asyncio":
                return
            assert len(published) < 1_000
            published.append(asyncio.ensure_future(bus.publish("log", {"text": record.getMessage()})))

    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("injected")

    with instrumented() as observed:
        bus = MemoryBus()
        instrument_event_bus(bus)
        await bus.start()
        with root_handler(Publishing()):
            logging.getLogger("app").info("hello")
            with monkeypatch.context() as injected:
                injected.setattr("multiagents_otel.telemetry.sending.Sending.__init__", fail)
                await bus.publish("a", {})
                for _ in range(100):
                    await asyncio.sleep(0)
        while not all(one.done() for one in published):
            await asyncio.sleep(0)
        assert 1 <= len(published) < 10
        assert observed.metric("multiagents.otel.errors")["publish",] == 1 + len(published)
        await bus.stop()


# --- C9: payloads --------------------------------------------------------------------------------------


class BrokenRepr:
    """Everything about it raises."""

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __bool__(self) -> bool:
        raise RuntimeError("bool")


class StrEnum_(str):
    """A string that is none."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    __hash__ = str.__hash__


def cyclic() -> dict[str, Any]:
    event: dict[str, Any] = {"id": "1"}
    event["payload"] = {"self": event}
    return event


def deep() -> dict[str, Any]:
    event: dict[str, Any] = {}
    for _ in range(100_000):
        event = {"n": event}
    return event


PAYLOADS: dict[str, Callable[[], Any]] = {
    "cyclic": cyclic,
    "deep": deep,
    "nan": lambda: {"id": math.nan, "payload": [math.nan, math.inf]},
    "bytes": lambda: {"id": b"1", "payload": b"\xff"},
    "10 MB": lambda: {"id": "1", "payload": "x" * 10_000_000},
    "10 MB id": lambda: {"id": "x" * 10_000_000, "metadata": {"transaction_id": "y" * 10_000_000}},
    "non-string keys": lambda: {1: "one", None: 2, 1.5: {2: 3}},
    "tuple key": lambda: {(1, 2): 3},
    "set": lambda: {"payload": {1, 2}},
    "broken repr": lambda: {"id": BrokenRepr(), "type": BrokenRepr(), "metadata": BrokenRepr()},
    "broken key": lambda: {"metadata": {"transaction_id": BrokenRepr(), "correlation_id": BrokenRepr()}},
    "odd string": lambda: {"id": StrEnum_("1"), "type": StrEnum_("command"), "timeout_seconds": "soon"},
    "no metadata": lambda: {"type": "command"},
    "metadata null": lambda: {"type": "result", "metadata": None, "command_id": None, "success": None},
    "metadata list": lambda: {"type": "compensation", "metadata": ["transaction_id"], "command_id": [1]},
    "unhashable type": lambda: {"type": ["command"], "id": {"a": 1}},
    "surrogate": lambda: {"id": "\ud800", "type": "status", "metadata": {"transaction_id": "\udfff"}},
    "wild timeout": lambda: {"type": "command", "id": "1", "timeout_seconds": 1e308},
    "nan timeout": lambda: {"type": "command", "id": "1", "timeout_seconds": math.nan},
    "huge timeout": lambda: {"type": "command", "id": "1", "timeout_seconds": 10**400},
}


async def fate(make: Callable[[], Any]) -> tuple[Any, ...]:
    """What becomes of an event: what its publisher and its handler see."""
    bus = MemoryBus(inline=True)
    instrument_event_bus(bus)
    await bus.start()
    got: list[str] = []

    async def handler(event: dict[str, Any]) -> None:
        got.append(json.dumps(event, sort_keys=True, cls=EventEncoder))

    await bus.subscribe("a", handler)
    await bus.subscribe("a", handler)
    event = make()
    keys = list(event)
    outcome: Any = None
    try:
        outcome = await bus.publish("a", event)
    except Exception as exception:
        outcome = (type(exception), type(exception.__cause__), str(exception).partition(" at 0x")[0])
    assert list(event) == keys
    return outcome, got


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_C9_odd_payloads_fare_as_they_do_without_us(payload: str) -> None:
    without = await fate(PAYLOADS[payload])
    with instrumented() as observed, records("opentelemetry") as logged:
        assert await fate(PAYLOADS[payload]) == without
        with observed.tracer.start_as_current_span("next"):
            assert await fate(lambda: {"id": "1"}) == (None, ['{"id": "1"}'] * 2)
    named = [span.name for span in observed.ours if trees.received(span).trace_id == next_trace(observed)]
    assert named.count("process a") == 2
    assert [record.getMessage() for record in logged if record.levelno >= logging.WARNING] == []


def next_trace(observed: Observed) -> str:
    return trees.received(observed.span("next")).trace_id


@pytest.mark.parametrize("payload", [name for name in PAYLOADS if name != "deep"])  # pydantic is lost in that one
async def test_C9_sagas_with_odd_payloads_fare_as_they_do_without_us(payload: str) -> None:
    async def status() -> tuple[Any, ...]:
        async with order_system() as system:
            extra = {"extra": PAYLOADS[payload]()}
            try:
                transaction = await system.run(order_payload(**extra))
            except Exception as exception:
                return type(exception), str(exception).partition(" at 0x")[0]
            found = await system.wait_ended(transaction)
            await system.bus.drain()
            return found["state"], list(found["step_results"])

    without = await status()
    with instrumented():
        assert await status() == without


# --- C10: exceptions that can't be told ---------------------------------------------------------------


class BrokenError(Exception):
    """Its text raises."""

    def __str__(self) -> str:
        raise RuntimeError("str")

    __repr__ = __str__


class RecursiveError(Exception):
    """Its text recurses."""

    def __str__(self) -> str:
        return str(self)


class NoText(Exception):
    """Its text is no text."""

    def __str__(self) -> Any:
        return 7


class Nameless(Exception):
    """A class whose module is no string."""


Nameless.__module__ = None  # type: ignore[assignment]


def chained() -> Exception:
    error = ValueError("last")
    error.__cause__ = error
    return error


def long_chain() -> Exception:
    error: Exception = ValueError("first")
    for number in range(2_000):
        following = ValueError(str(number))
        following.__cause__ = error
        error = following
    return error


def too_deep() -> Exception:
    def down() -> None:
        down()

    try:
        down()
    except RecursionError as error:
        return error
    raise AssertionError


ERRORS: dict[str, Callable[[], Exception]] = {
    "broken": BrokenError,
    "recursive": RecursiveError,
    "not a text": NoText,
    "nameless": Nameless,
    "its own cause": chained,
    "long chain": long_chain,
    "recursion": too_deep,
    "huge": lambda: ValueError("x" * 10_000_000),
    "surrogates": lambda: ValueError("\ud800"),
    "group": lambda: _group(),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    "stop": StopAsyncIteration,
}


def _group() -> Exception:
    if sys.version_info >= (3, 11):
        return ExceptionGroup("many", [ValueError("one"), BrokenError()])  # noqa: F821
    return ValueError("many")


@pytest.mark.parametrize("error", ERRORS)
async def test_C10_a_handlers_exception_reaches_the_bus_as_it_is(error: str) -> None:
    planned = ERRORS[error]()

    async def handler(_event: dict[str, Any]) -> None:
        raise planned

    with instrumented() as observed:
        bus = MemoryBus()
        instrument_event_bus(bus)
        await bus.start()
        await bus.subscribe("a", handler)
        called: Any = bus.handlers["a"][0]
        caught: BaseException | None = None
        try:
            await called({"id": "1"})
        except Exception as exception:
            caught = exception
        assert caught is planned
        (span,) = observed.ours
        assert trees.received(span).status == "ERROR"
        (event,) = span.events
        assert event.name == "exception"
        assert (span.attributes or {})["error.type"] == (event.attributes or {})["exception.type"]
        await bus.stop()


class RaisingWorker(IWorker):
    """A worker whose exception is whatever it was given."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def get_worker_type(self) -> str:
        return "validate_order"

    async def process(self, context: dict[str, Any]) -> dict[str, Any]:
        raise self._error

    async def on_start(self) -> None: ...

    async def on_stop(self) -> None: ...

    async def health_check(self) -> dict[str, Any]:
        return {}

    def validate_input(self, context: dict[str, Any]) -> bool:
        return True

    def validate_output(self, result: dict[str, Any]) -> bool:
        return True


@pytest.mark.parametrize("error", [name for name in ERRORS if name != "stop"])
async def test_C10_a_workers_exception_fares_as_it_does_without_us(error: str) -> None:
    async def outcome() -> tuple[Any, ...]:
        async with order_system(workers=[RaisingWorker(ERRORS[error]())]) as system:
            await system.run()
            await system.bus.drain(60)
            (task,) = system.manager._handler_tasks
            failed = type(task.exception()) if task.done() else "pending"
            results = [m.event["error_message"] for m in system.bus.wire if m.event_type.startswith("result")]
            return failed, results

    without = await outcome()
    with instrumented() as observed:
        assert await outcome() == without
    worker = trees.received(observed.span("worker.validate_order"))
    assert (worker.status, len(worker.events)) == ("ERROR", 1)


async def test_C4_the_traceback_of_a_failed_publish_ends_where_it_ends_without_us() -> None:
    import traceback

    async def frames() -> list[str]:
        bus = MemoryBus()
        instrument_event_bus(bus)
        await bus.start()
        bus.failures["a"] = ConnectionError("gone")
        with pytest.raises(EventBusException) as caught:
            await bus.publish("a", {})
        assert caught.value.__cause__ is bus.failures["a"]
        assert caught.value.__context__ is bus.failures["a"]
        return [
            f"{frame.name}:{frame.lineno}"
            for frame in traceback.extract_tb(caught.tb)
            if "multiagents_otel" not in frame.filename
        ]

    without = await frames()
    with instrumented():
        assert await frames() == without


# --- C11: absent, older and newer frameworks -----------------------------------------------------------

SAGA = """
    import asyncio, logging, sys, structlog
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    warnings = []
    class Collect(logging.Handler):
        def emit(self, record):
            warnings.append((record.levelname, record.getMessage()))
    logging.getLogger("multiagents_otel").addHandler(Collect(logging.WARNING))
    from multiagents_otel.processing.guard import Guard
    Guard.strict = True
    from tests.catalogue.observed import Observed, instrumented
    from tests.support.expected import COMPLETED, COMPENSATED
    from tests.support import trees
    from tests.support.sagas import order_payload, order_system, subscribe_compensations

    async def main(observed):
        async with order_system() as system:
            await subscribe_compensations(system.bus)
            for fail_at, state in ((None, "completed"), ("ship_order", "compensated")):
                observed.clear()
                status = await system.wait_ended(await system.run(order_payload(fail_at=fail_at)))
                await system.bus.drain()
                assert status["state"] == state, status
                print(trees.forest(observed.ours))
                print("--", state)

    observed = Observed()
    with instrumented(observed):
        asyncio.run(main(observed))
    print("warnings", warnings)
"""


@pytest.fixture(scope="session")
def framework(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A version of the framework in a folder of its own, from the package index."""

    @functools.cache
    def install(version: str) -> Path:
        target = tmp_path_factory.mktemp(f"framework-{version}")
        arguments = ["install", "--quiet", "--no-deps", "--target", str(target), f"multiagents-framework=={version}"]
        subprocess.run([sys.executable, "-m", "pip", *arguments], check=True, capture_output=True, timeout=120)
        return target

    return install


@pytest.mark.parametrize("version", ["0.1.0", "0.1.1", "0.1.2", "0.1.3"])
def test_C11_every_released_version_gives_the_same_trees(version: str, framework: Callable[[str], Path]) -> None:
    code = f"import sys; sys.path.insert(0, {str(framework(version))!r})\n" + _dedented(SAGA)
    code += f"import multiagents; assert multiagents.__file__.startswith({str(framework(version))!r})\n"
    with Process.python(code) as child:
        out = child.wait_ok(60)
    from tests.support.expected import COMPENSATED

    assert f"{COMPLETED}\n-- completed\n{COMPENSATED}\n-- compensated\nwarnings []" in out


RENAMES = {
    "Orchestrator._trigger_compensations": ("orchestrator/orchestrator.py", "_trigger_compensations", "_compensate"),
    "Orchestrator._publish_status_event": ("orchestrator/orchestrator.py", "_publish_status_event", "_tell"),
    "Orchestrator._execute_step": ("orchestrator/orchestrator.py", "_execute_step", "_start_step"),
    "Orchestrator._load_context": ("orchestrator/orchestrator.py", "_load_context", "_fetch"),
    "Orchestrator._handle_result_event": ("orchestrator/orchestrator.py", "_handle_result_event", "_on_result"),
    "WorkerManager._execute_worker_with_timeout": (
        "worker_sdk/worker_manager.py",
        "_execute_worker_with_timeout",
        "_execute_worker",
    ),
    "WorkerManager._handle_command": ("worker_sdk/worker_manager.py", "_handle_command", "_on_command"),
}


@pytest.mark.parametrize("renamed", RENAMES)
def test_C11_a_next_version_with_a_renamed_method_warns_once_and_the_rest_works(
    renamed: str, framework: Callable[[str], Path], tmp_path: Path
) -> None:
    import shutil

    file, old, new = RENAMES[renamed]
    shutil.copytree(framework("0.1.3"), tmp_path, dirs_exist_ok=True)
    source = tmp_path / "multiagents" / file
    text = source.read_text()
    assert old in text
    text = text.replace(old, new)
    source.write_text(text)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + _dedented(SAGA)
    with Process.python(code) as child:
        out = child.wait_ok(60)
    assert "-- completed" in out
    assert "-- compensated" in out
    told = out.partition("warnings ")[2]
    assert told.count("'WARNING'") == told.count(renamed) == 1
    assert "ERROR" not in told
    assert out.count("send command.ship_order PRODUCER") == 2
    workers = 0 if renamed == "WorkerManager._execute_worker_with_timeout" else 2
    assert out.count("worker.ship_order INTERNAL") == workers


def _dedented(code: str) -> str:
    import textwrap

    return textwrap.dedent(code)


def test_C11_without_the_framework_instrumenting_is_silent_and_says_so_once() -> None:
    code = """
        import logging, sys
        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "multiagents":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Absent())
        records = []
        class Collect(logging.Handler):
            def emit(self, record):
                records.append(record.getMessage())
        logging.getLogger().addHandler(Collect())
        logging.getLogger().setLevel(logging.WARNING)
        from multiagents_otel import MultiAgentsInstrumentor
        for _ in range(2):
            MultiAgentsInstrumentor().instrument(skip_dep_check=True)
            MultiAgentsInstrumentor().uninstrument()
        assert records == [], records
        try:
            import multiagents
        except ModuleNotFoundError as error:
            assert error.name == "multiagents"
        print("fine")
    """
    with Process.python(code) as child:
        assert "fine" in child.wait_ok()


@contextmanager
def _maybe(on: bool) -> Iterator[None]:
    if on:
        with instrumented():
            yield
    else:
        yield


def test_C11_an_instrumentor_without_its_framework_is_left_out_by_the_launchers_check() -> None:
    assert MultiAgentsInstrumentor().instrumentation_dependencies() == ("multiagents-framework >= 0.1.0",)
