"""The framework's own log records: once each in OTLP, with their ids, and no configuration touched."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import structlog
from multiagents.monitoring import CompositeLogger, ConsoleLogger, FileLogger
from multiagents.worker_sdk.base_worker import BaseWorker
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from multiagents_otel import MultiAgentsInstrumentor
from multiagents_otel.instrumentation.framework_logs import MODULES
from multiagents_otel.logs import structlog_processor
from tests.logs.exported import Exported
from tests.support.sagas import OrderSystem, order_payload, order_system, order_workers

IDS = ("trace_id", "span_id", "workflow.transaction_id")
WORKFLOW = {
    "Workflow started": 1,
    "Step started": 3,
    "Worker validate_order processing command": 1,
    "Worker charge_payment processing command": 1,
    "Worker ship_order processing command": 1,
    "Processing command": 3,
    "Command processed successfully": 3,
    "Worker validate_order completed successfully": 1,
    "Worker charge_payment completed successfully": 1,
    "Worker ship_order completed successfully": 1,
    "Workflow completed": 1,
}
"""What the framework logs of one order, counted by hand."""


@pytest.fixture(autouse=True)
def structlogs_configuration(quiet_framework: None) -> Iterator[None]:
    """Every test has its own, and takes it away."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    for module in MODULES:
        vars(import_module(module).logger).pop("bind", None)  # what was cached on first use


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:], root.level = handlers, level


async def run_order(system: OrderSystem | None = None, **options: Any) -> str:
    """One order, whose workers are made before anything is instrumented, as a decorator makes them at import."""
    workers = order_workers()
    exported: Exported = options.pop("exported")
    MultiAgentsInstrumentor().instrument(
        tracer_provider=TracerProvider(shutdown_on_exit=False), logger_provider=exported.provider, **options
    )
    async with order_system(workers=workers) as system:
        transaction = await system.run()
        await system.wait_ended(transaction)
        await system.bus.drain()
    return transaction


def of_workflow(bodies: list[Any]) -> Counter[str]:
    return Counter(body for body in bodies if body in WORKFLOW)


def check_joined(logs: list[Any], transaction: str) -> None:
    """Every record of the workflow is once there, and belongs to its one trace and transaction."""
    assert of_workflow([log.body for log in logs]) == WORKFLOW
    told = [log for log in logs if log.body in WORKFLOW]
    assert {log.attributes["workflow.transaction_id"] for log in told} == {transaction}
    assert len({log.trace_id for log in told}) == 1
    assert all(log.trace_id and log.span_id and int(log.trace_flags) & 1 for log in told)


class Lines(io.StringIO):
    """Takes a renderer's JSON."""

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


# --- mixes of structlog, logging and exporters ---------------------------------------------------


async def test_structlog_by_itself() -> None:
    lines, exported = Lines(), Exported()
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(lines),
    )
    transaction = await run_order(exported=exported)
    check_joined(exported.logs, transaction)
    rendered = [line for line in lines.events if line["event"] in WORKFLOW]
    assert of_workflow([line["event"] for line in rendered]) == WORKFLOW
    by_span = {(f"{log.trace_id:032x}", f"{log.span_id:016x}", log.body) for log in exported.logs}
    assert all((line["trace_id"], line["span_id"], line["event"]) in by_span for line in rendered)
    assert {line["workflow.transaction_id"] for line in rendered} == {transaction}


@pytest.mark.parametrize("rendering", ["json", "kwargs", "formatter"])
@pytest.mark.parametrize("handler", ["none", "sdk", "instrumentation"])
async def test_structlog_through_logging(root_logger: logging.Logger, rendering: str, handler: str) -> None:
    exported = Exported()
    last: Any = {
        "json": structlog.processors.JSONRenderer(),
        "kwargs": structlog.stdlib.render_to_log_kwargs,
        "formatter": structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    }[rendering]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.add_log_level, last],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    root_logger.setLevel(logging.INFO)
    if handler != "none":
        root_logger.addHandler(_otel_handler(handler, exported))
    transaction = await run_order(exported=exported)
    logs = [log for log in exported.logs if isinstance(log.body, (str, dict)) and _event(log.body) in WORKFLOW]
    assert of_workflow([_event(log.body) for log in logs]) == WORKFLOW
    assert {log.attributes["workflow.transaction_id"] for log in logs} == {transaction}
    assert len({log.trace_id for log in logs}) == 1
    assert all(log.trace_id and log.span_id for log in logs)


def _otel_handler(kind: str, exported: Exported) -> logging.Handler:
    module = "opentelemetry.sdk._logs" if kind == "sdk" else "opentelemetry.instrumentation.logging.handler"
    handler: logging.Handler = pytest.importorskip(module).LoggingHandler(logger_provider=exported.provider)
    return handler


def _event(body: Any) -> Any:
    """The event in a body: rendered as JSON, as the text of a dict, or as it is."""
    if isinstance(body, dict):
        return body.get("event")
    if body.startswith("{"):
        return next((event for event in WORKFLOW if f'"{event}"' in body or f"'{event}'" in body), None)
    return body


async def test_structlogs_own_instrumentation_exports_and_we_do_not() -> None:
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.structlog")
    exported = Exported()
    structlog.configure(
        processors=[instrumentation.StructlogProcessor(exported.provider), structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(Lines()),
    )
    transaction = await run_order(exported=exported)
    assert of_workflow([log.body for log in exported.logs]) == WORKFLOW
    told = [log for log in exported.logs if log.body in WORKFLOW]
    assert {log.attributes["workflow.transaction_id"] for log in told} == {transaction}


async def test_what_the_users_chain_drops_or_changes_is_dropped_or_changed_for_export() -> None:
    def change(_logger: Any, _method: str, event: Any) -> Any:
        if event["event"] == "Step started":
            raise structlog.DropEvent
        event["tenant"] = "t-1"
        return event

    exported = Exported()
    structlog.configure(
        processors=[change, structlog.processors.EventRenamer("text"), structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(Lines()),
    )
    await run_order(exported=exported)
    bodies = of_workflow([log.attributes.get("text") or log.body for log in exported.logs])
    assert "Step started" not in bodies
    assert {log.attributes.get("tenant") for log in exported.logs if log.body in WORKFLOW} <= {"t-1"}


@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING])
async def test_the_users_level_holds_for_export(level: int) -> None:
    exported = Exported()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(Lines()),
    )
    await run_order(exported=exported)
    assert of_workflow([log.body for log in exported.logs]) == (WORKFLOW if level == logging.DEBUG else {})


async def test_framework_logs_off_leaves_the_ids_in_the_lines_and_exports_nothing() -> None:
    lines, exported = Lines(), Exported()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(lines)
    )
    await run_order(exported=exported, framework_logs=False)
    assert of_workflow([log.body for log in exported.logs]) == {}
    assert all(line.keys() >= set(IDS) for line in lines.events if line["event"] in WORKFLOW)


# --- nothing of the user's is touched ------------------------------------------------------------


async def test_the_configuration_of_structlog_and_logging_stays_what_it_was(root_logger: logging.Logger) -> None:
    def configuration() -> Any:
        config = structlog.get_config()
        handlers = {name: logging.getLogger(name).handlers[:] for name in ["", *logging.root.manager.loggerDict]}
        return {**config, "processors": list(config["processors"])}, id(config["processors"]), handlers

    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(Lines())
    )
    before = configuration()
    await run_order(exported=Exported())
    assert configuration() == before
    MultiAgentsInstrumentor().uninstrument()
    assert configuration() == before


async def test_capture_logs_captures_what_it_did() -> None:
    workers = order_workers()
    async with order_system(workers=workers) as system:
        with structlog.testing.capture_logs() as without:
            await system.wait_ended(await system.run())
    async with order_system(workers=order_workers()) as system:
        MultiAgentsInstrumentor().instrument(logger_provider=Exported().provider)
        with structlog.testing.capture_logs() as captured:
            await system.wait_ended(await system.run())
    assert of_workflow([entry["event"] for entry in captured]) == of_workflow([entry["event"] for entry in without])
    assert sum(of_workflow([entry["event"] for entry in captured]).values()) >= sum(WORKFLOW.values()) - 1


@pytest.mark.parametrize("cached", [False, True])
async def test_after_uninstrument_lines_are_what_they_were(cached: bool) -> None:
    lines, exported = Lines(), Exported()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(lines),
        cache_logger_on_first_use=cached,
    )
    workers = order_workers()
    MultiAgentsInstrumentor().instrument(
        tracer_provider=TracerProvider(shutdown_on_exit=False), logger_provider=exported.provider
    )
    async with order_system(workers=workers) as system:
        await system.wait_ended(await system.run())
        MultiAgentsInstrumentor().uninstrument()
        counted, before = len(exported.logs), len(lines.events)
        assert any(set(IDS) <= line.keys() for line in lines.events)
        await system.wait_ended(await system.run())
    assert len(exported.logs) == counted
    after = lines.events[before:]
    assert len(after) > 10
    assert not any(set(IDS) & line.keys() for line in after)


async def test_a_worker_is_copied_and_pickled_as_without_us() -> None:
    MultiAgentsInstrumentor().instrument(logger_provider=Exported().provider)
    structlog.configure(
        logger_factory=structlog.stdlib.LoggerFactory(), processors=[structlog.processors.JSONRenderer()]
    )
    worker = order_workers()[0]
    assert isinstance(worker, BaseWorker)
    clone = copy.deepcopy(worker.logger)
    assert clone == worker.logger
    clone.info("copied")
    assert pickle.loads(pickle.dumps(clone)) == clone


# --- what leaves ---------------------------------------------------------------------------------


async def test_payloads_results_and_secrets_do_not_leave_with_the_frameworks_records() -> None:
    exported = Exported()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(Lines())
    )
    MultiAgentsInstrumentor().instrument(logger_provider=exported.provider)
    async with order_system(workers=order_workers()) as system:
        payload = {
            **order_payload(fail_at="charge_payment", error=ValueError),
            "canary": "canary-of-the-payload",
            "password": "canary-of-the-secret",
        }
        await system.wait_ended(await system.run(payload))
    told = repr([(log.body, dict(log.attributes)) for log in exported.logs])
    assert "Worker processing failed" in told
    assert "canary-of" not in told


# --- the framework's own ILoggers ----------------------------------------------------------------


async def test_a_record_of_the_frameworks_own_loggers_is_exported_once(tmp_path: Any) -> None:
    exported = Exported()
    MultiAgentsInstrumentor().instrument(logger_provider=exported.provider)
    file = FileLogger(str(tmp_path / "a.log"))
    logger = CompositeLogger([file, ConsoleLogger(output_stream=io.StringIO(), error_stream=io.StringIO())])
    await logger.info("of both", worker="w")
    await file.error("of one", error=ValueError("boom"))
    await logger.debug("of none")
    await logger.close()
    found = [(log.body, log.severity_text, dict(log.attributes).get("worker")) for log in exported.named("multiagents")]
    assert found == [("of both", "INFO", "w"), ("of one", "ERROR", None)]
    assert exported.named("multiagents")[1].attributes["exception.type"] == "ValueError"


# --- what users may use --------------------------------------------------------------------------


def test_the_processor_adds_the_ids_to_a_users_own_lines_and_keeps_what_is_there() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("s", attributes={"workflow.transaction_id": "TX-1"}) as span:
        event = structlog_processor(None, "info", {"event": "mine", "span_id": "kept"})
    assert event == {
        "event": "mine",
        "trace_id": f"{span.get_span_context().trace_id:032x}",
        "span_id": "kept",
        "workflow.transaction_id": "TX-1",
    }
    assert structlog_processor(None, "info", {"event": "mine"}) == {"event": "mine"}


async def test_records_of_the_application_inside_a_workflow_carry_the_transaction(root_logger: logging.Logger) -> None:
    exported = Exported()
    MultiAgentsInstrumentor().instrument(
        tracer_provider=TracerProvider(shutdown_on_exit=False), logger_provider=exported.provider
    )
    application = exported.provider.get_logger("application")
    workers = order_workers(probe=lambda name, _payload: application.emit(body=name))
    async with order_system(workers=workers) as system:
        transaction = await system.run()
        await system.wait_ended(transaction)
    application.emit(body="outside")
    found = {log.body: (log.attributes or {}).get("workflow.transaction_id") for log in exported.named("application")}
    names = ("validate_order", "charge_payment", "ship_order")
    assert found == {**dict.fromkeys(names, transaction), "outside": None}


def test_processors_of_a_users_provider_stay_and_ours_comes_once() -> None:
    exported = Exported()
    for _ in range(3):
        MultiAgentsInstrumentor().instrument(logger_provider=exported.provider)
        MultiAgentsInstrumentor().uninstrument()
    several = exported.provider._multi_log_record_processor
    kinds = [type(each).__name__ for each in several._log_record_processors]
    assert kinds == ["WorkflowIds", SimpleLogRecordProcessor.__name__]
