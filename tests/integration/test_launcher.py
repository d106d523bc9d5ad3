"""No code at all: `opentelemetry-instrument` and `multiagents-otel run`, with another distro installed beside ours."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.support.processes import REPOSITORY, Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer
from tests.support.trees import by_trace, orphans, roots

APP = str(REPOSITORY / "examples" / "no_code" / "app.py")
BIN = Path(sys.executable).parent
LAUNCHERS = {
    "opentelemetry-instrument": ([str(BIN / "opentelemetry-instrument")], {}),
    "the other distro chosen": (
        [str(BIN / "opentelemetry-instrument")],
        {"OTEL_PYTHON_DISTRO": "distro", "OTEL_PYTHON_CONFIGURATOR": "configurator"},
    ),
    "multiagents-otel run": ([str(BIN / "multiagents-otel"), "run"], {}),
}


def test_another_distro_is_installed_beside_ours() -> None:
    assert {entry.name for entry in entry_points(group="opentelemetry_distro")} >= {"distro", "multiagents"}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_an_application_without_any_code_of_ours_is_one_trace(
    launcher: str, redis: RedisServer, receiver: OtlpReceiver
) -> None:
    command, chosen = LAUNCHERS[launcher]
    environment = {**receiver.environment(), **chosen, "REDIS_URL": redis.url}
    with Process([*command, sys.executable, APP], env=environment) as process:
        process.wait_ok()
    ours = [span for span in receiver.spans if span.scope_name == "multiagents_otel"]
    assert len(by_trace(ours)) == len(roots(ours)) == 1
    assert orphans(ours) == []
    assert receiver.total("multiagents.workflows", {"status": "completed"}) == 1
    assert all("service.instance.id" in span.resource for span in ours)


def test_an_option_is_a_flag_of_the_launcher(redis: RedisServer, receiver: OtlpReceiver) -> None:
    command = [str(BIN / "opentelemetry-instrument"), "--multiagents_detailed_timing", "false", sys.executable, APP]
    with Process(command, env={**receiver.environment(), "REDIS_URL": redis.url}) as process:
        process.wait_ok()
    ours = [span.name for span in receiver.spans if span.scope_name == "multiagents_otel"]
    assert ours
    assert not [name for name in ours if name.startswith(("send ", "process "))]


def test_a_program_that_does_not_use_the_framework_does_not_pay_for_it(receiver: OtlpReceiver) -> None:
    code = "import sys; print(sorted({'multiagents', 'dspy', 'redis'} & set(sys.modules)))"
    command = [str(BIN / "multiagents-otel"), "run", sys.executable, "-c", code]
    environment = {**receiver.environment(), "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "redis"}
    with Process(command, env=environment) as process:
        assert process.wait_ok().splitlines()[-1] == "[]"


def test_importing_the_package_imports_and_configures_nothing() -> None:
    code = """
        import logging, sys
        before = list(logging.getLogger().handlers)
        import multiagents_otel
        from multiagents_otel import MultiAgentsInstrumentor, auto_instrument, instrument_event_bus, views
        from opentelemetry import metrics, trace
        assert not {"multiagents", "dspy", "redis"} & set(sys.modules)
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        assert type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider"
        assert logging.getLogger().handlers == before
    """
    with Process.python(code) as process:
        process.wait_ok()
