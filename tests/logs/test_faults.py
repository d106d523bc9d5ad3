"""Whatever fails inside a logger or in the replacement of what is built in, the application does not see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import multiagents.core.factory as factory
import pytest
from opentelemetry.sdk.trace import TracerProvider

import multiagents_otel.logs.file as file_module
import multiagents_otel.logs.otel as otel_module
import multiagents_otel.logs.writer as writer_module
from multiagents_otel import MultiAgentsInstrumentor
from multiagents_otel.core import scope
from multiagents_otel.instrumentation.builtins import BuiltinReplacement
from multiagents_otel.instrumentation.framework_logs import FrameworkLogs
from multiagents_otel.logs import record, rendering, structlog_chain
from tests.logs.exported import Exported
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_payload, order_workers, order_workflow, run_order, wait_ended

pytestmark = pytest.mark.faults

INSIDE: list[tuple[Any, str]] = [
    (file_module.LogFile, "write"),
    (file_module.FileLogger, "emit"),
    (otel_module.OtelLogger, "emit"),
    (otel_module, "scrubbed_text"),
    (record, "text_of"),
    (record, "plain_fields"),
    (scope, "context"),
    (scope, "transaction_id"),
    (rendering, "scrub_value"),
    (writer_module.Writer, "put"),
    (writer_module.Writer, "_write"),
    (structlog_chain, "structlog_processor"),
    (structlog_chain.Exporter, "export"),
    (structlog_chain.Exporter, "chain"),
    (BuiltinReplacement, "_in_bus"),
    (BuiltinReplacement, "_in_manager"),
    (FrameworkLogs, "_export"),
]


class OurFaultError(Exception):
    pass


async def states(url: str) -> list[tuple[str, Any]]:
    """How an order that goes through and one that fails end."""
    made: tuple[Any, ...] = await factory.create_simple_framework(order_workflow(), url)
    bus, manager, orchestrator = made
    orchestrator.state_store.redis_url = url
    for worker in order_workers():
        manager.register(worker)
    await bus.start()
    await manager.start()
    await orchestrator.start()
    found = []
    for payload in (order_payload(), order_payload(fail_at="charge_payment")):
        transaction = await run_order(orchestrator, payload)
        status = await wait_ended(orchestrator, transaction)
        found.append((status["state"], status["step_results"]))
    await orchestrator.stop()
    await manager.stop()
    await bus.stop()
    for part in made:
        await part.monitoring_logger.close()
    return found


async def test_a_fault_anywhere_inside_changes_nothing_for_the_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: Any, **_kwargs: Any) -> Any:
        raise OurFaultError

    monkeypatch.chdir(tmp_path)
    with RedisServer() as redis:
        expected = await states(redis.url)
        assert [state for state, _ in expected] == ["completed", "compensated"]
        for owner, name in INSIDE:
            with monkeypatch.context() as patch:
                MultiAgentsInstrumentor().instrument(
                    tracer_provider=TracerProvider(shutdown_on_exit=False), logger_provider=Exported().provider
                )
                patch.setattr(owner, name, fails)
                assert await states(redis.url) == expected, name
                MultiAgentsInstrumentor().uninstrument()
