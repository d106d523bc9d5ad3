"""``multiagents-otel doctor``, as a user calls it: real programs, a real Redis, a real receiver."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deadline import DEADLINE
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer

_DOCTOR = [sys.executable, "-c", "import sys; from multiagents_otel.tools import main; sys.exit(main())", "doctor"]
_NOWHERE = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}

_PROGRAM = """
import asyncio, os
from multiagents import Orchestrator, WorkerManager, WorkflowBuilder, worker
from multiagents.event_bus.redis_bus import RedisEventBus, RedisStateStore
{before}
@worker("greet")
async def greet(context):
    return {{}}

async def main():
    workflow = WorkflowBuilder("greeting")
    workflow.add_step("greet", "greet")
    bus, store = RedisEventBus(os.environ["REDIS_URL"]), RedisStateStore(os.environ["REDIS_URL"])
    orchestrator, workers = Orchestrator(workflow.build(), bus, store), WorkerManager(bus)
    workers.register(greet)
    ended, completed = asyncio.Event(), []
    async def on_status(event):
        if event["status"] == "completed":
            completed.append(event)
        if len(completed) == {ends}:
            ended.set()
    await bus.start()
    await bus.subscribe("status.workflow", on_status)
    {start}
    await orchestrator.start()
    await orchestrator.execute_workflow("greeting", {{}})
    {wait}
    await bus.stop()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


def _examined(*argv: str, until: str = "", **environment: str) -> tuple[int, dict[str, list[Any]]]:
    """The exit status, and what was found that is not fine: topics and their findings' levels and texts.

    ``until``: the doctor is interrupted, as by Ctrl-C, when its program has printed this.
    """
    with Process([*_DOCTOR, "--json", *argv], env=environment) as doctor:
        if until:
            doctor.wait_line(until, 180)
            doctor.signal(signal.SIGINT)
        status = doctor.wait(180)
        text = doctor.output
    findings = json.loads(text[text.index("[\n") : text.rindex("]") + 1])
    found: dict[str, list[Any]] = {}
    for finding in findings:
        assert finding["advice"] or finding["level"] == "fine", finding
        if finding["level"] != "fine":
            found.setdefault(finding["topic"], []).append([finding["level"], finding["what"]])
    return status, found


def _program(before: str = "", *, workers: bool = True, more: str = "", ends: int = 1) -> list[str]:
    code = _PROGRAM.format(
        before=textwrap.dedent(before),
        ends=ends,
        start=textwrap.indent(textwrap.dedent(more) + ("await workers.start()" if workers else ""), " " * 4).lstrip(),
        wait="await ended.wait()" if workers else "",
    )
    return [sys.executable, "-c", code]


_POLLS = [
    "warning",
    "the framework's RedisEventBus asks for messages without a wait: one core is busy while it listens",
]
_ALL_NONE = "OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER and OTEL_LOGS_EXPORTER are all 'none'"


def test_a_set_up_in_order_has_no_fault(receiver: OtlpReceiver, redis: RedisServer) -> None:
    environment = {**receiver.environment(), "OTEL_SERVICE_NAME": "orders", "REDIS_URL": redis.url}
    assert _examined(**environment) == (0, {})
    program = _program("import multiagents_otel\nmultiagents_otel.auto_instrument()")
    assert _examined(*program, **environment) == (0, {"poll loop": [_POLLS]})


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_endpoint_that_nobody_listens_at_is_told_with_its_address_and_without_its_password(protocol: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    login = "" if protocol == "grpc" else "shop:canary@"
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{login}{address}", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    status, found = _examined(OTEL_SERVICE_NAME="orders", OTEL_EXPORTER_OTLP_TIMEOUT="2", **environment)
    assert status == 1
    assert list(found) == ["traces", "metrics", "logs"]
    for [[level, what]] in found.values():
        assert level == "fault"
        assert address in what
        assert "refused" in what
        assert "canary" not in what


def test_nothing_exported_is_a_fault_and_one_signal_left_out_is_not() -> None:
    status, found = _examined(OTEL_SERVICE_NAME="orders", **_NOWHERE)
    assert status == 1
    assert found == {"export": [["fault", f"nothing is exported: {_ALL_NONE}"]]}
    status, found = _examined(OTEL_SDK_DISABLED="true", OTEL_SERVICE_NAME="orders")
    assert (status, found) == (1, {"export": [["fault", "nothing is exported: OTEL_SDK_DISABLED is true"]]})
    console = {f"OTEL_{signal}_EXPORTER": "console" for signal in ("TRACES", "METRICS")}
    status, found = _examined(OTEL_LOGS_EXPORTER="none", OTEL_SERVICE_NAME="orders", **console)
    assert (status, found) == (0, {"logs": [["warning", "not exported (OTEL_LOGS_EXPORTER=none)"]]})


def test_a_service_without_a_name_is_told_here_and_in_the_program(receiver: OtlpReceiver, redis: RedisServer) -> None:
    program = _program("import multiagents_otel\nmultiagents_otel.auto_instrument()")
    status, found = _examined(*program, REDIS_URL=redis.url, OTEL_SERVICE_NAME="", **receiver.environment())
    assert status == 0
    assert [what for _level, what in found["service.name"]] == [
        "the service has no name: backends will show 'unknown_service:python'",
        "the service has no name",
    ]


def test_a_program_that_is_not_instrumented_is_a_fault(receiver: OtlpReceiver, redis: RedisServer) -> None:
    status, found = _examined(*_program(), REDIS_URL=redis.url, OTEL_SERVICE_NAME="orders", **receiver.environment())
    assert status == 1
    assert found == {"instrumentation": [["fault", "the process uses multiagents-framework and is not instrumented"]]}


def test_a_program_under_the_launcher_is_examined_too(receiver: OtlpReceiver, redis: RedisServer) -> None:
    launched = [
        sys.executable,
        "-c",
        "import sys; from multiagents_otel.tools import main; sys.exit(main())",
        "run",
        *_program(),
    ]
    environment = {"REDIS_URL": redis.url, "OTEL_SERVICE_NAME": "orders", **receiver.environment()}
    assert _examined(*launched, **environment) == (0, {"poll loop": [_POLLS]})


def test_commands_that_reach_nobody_are_told_by_worker(receiver: OtlpReceiver, redis: RedisServer) -> None:
    program = _program("import multiagents_otel\nmultiagents_otel.auto_instrument()", workers=False)
    status, found = _examined(*program, REDIS_URL=redis.url, OTEL_SERVICE_NAME="orders", **receiver.environment())
    assert status == 1
    assert found["multiagents.events.undelivered"] == [
        ["fault", "1 x CommandEvent for 'greet' reached nobody, and is lost"]
    ]


def test_two_orchestrators_and_clocks_that_differ_are_found(receiver: OtlpReceiver, redis: RedisServer) -> None:
    program = _program(
        "import multiagents_otel\nmultiagents_otel.auto_instrument()",
        more="""
        second = RedisEventBus(os.environ["REDIS_URL"])
        await second.start()
        await Orchestrator(workflow.build(), second, store).start()
        await bus.subscribe("user.event", on_status)
        await bus.redis_client.publish("multiagent:user.event", '{"status": "old", "_otel": {"ts": 1}}')
        """,
        ends=2,  # each orchestrator brings it to its end
    )
    # The end of an event loop may wait for ever for a listener of the framework that was not stopped.
    program[-1] = program[-1].replace("await bus.stop()", "await second.stop(); await bus.stop()")
    status, found = _examined(*program, REDIS_URL=redis.url, OTEL_SERVICE_NAME="orders", **receiver.environment())
    assert status == 1
    assert found["multiagents.results.duplicated"] == [
        ["fault", "1 results of 'greet' reached several orchestrators, and each ran the next step"]
    ]
    assert found["multiagents.events.clock_skew"] == [
        ["warning", "1 x Event can't have been published when the publisher's clock says"]
    ]


def test_telemetry_that_was_dropped_is_a_fault(receiver: OtlpReceiver, redis: RedisServer) -> None:
    program = _program("import multiagents_otel\nmultiagents_otel.auto_instrument()")
    variables = {
        **receiver.environment("http/protobuf"),
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.http_endpoint}/nothing/here",
    }
    status, found = _examined(*program, REDIS_URL=redis.url, OTEL_SERVICE_NAME="orders", **variables)
    assert status == 1
    [[level, what]] = found["multiagents.otel.dropped"]
    assert level == "fault"
    assert re.fullmatch(r"[1-9]\d* items of traces were recorded and not exported: export_failed", what)


def test_packages_outside_their_ranges_are_told_with_what_to_install(tmp_path: Path) -> None:
    for name, version in (("psutil", "99.0"), ("multiagents-framework", "9.0")):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    status, found = _examined(**_NOWHERE, PYTHONPATH=path)
    assert status == 1
    outside, unknown = found["versions"]
    assert outside == ["fault", "psutil 99.0 is outside the range <8,>=5.9"]
    assert unknown[0] == "warning"
    assert unknown[1].startswith("multiagents-framework 9.0 is not known here")


def test_a_bus_that_is_not_patched_is_told_by_its_class(receiver: OtlpReceiver, redis: RedisServer) -> None:
    program = _program(
        """
        import multiagents_otel
        multiagents_otel.auto_instrument()
        class Retrying:  # put in the bus's place when everything is made
            def __init__(self, bus):
                self.bus = bus
            async def publish(self, *args):
                await self.bus.publish(*args)
            def __getattr__(self, name):
                return getattr(self.bus, name)
        """
    )
    program[-1] = program[-1].replace(
        "await orchestrator.start()", "orchestrator.event_bus = Retrying(bus); await orchestrator.start()"
    )
    status, found = _examined(*program, REDIS_URL=redis.url, OTEL_SERVICE_NAME="orders", **receiver.environment())
    assert status == 1
    [[level, what]] = found["event bus"]
    assert (level, what.partition(" is in use")[0]) == ("fault", "a Retrying")


def test_two_providers_and_a_provider_without_processors_are_faults(receiver: OtlpReceiver, redis: RedisServer) -> None:
    environment = {"REDIS_URL": redis.url, "OTEL_SERVICE_NAME": "orders", **receiver.environment()}
    own = """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.resources import Resource
    import multiagents_otel
    """
    late = own + "multiagents_otel.auto_instrument()\n    trace.set_tracer_provider(TracerProvider())\n"
    status, found = _examined(*_program(late), **environment)
    assert status == 1
    assert found["providers"][0][0] == "fault"
    assert "Overriding of current TracerProvider is not allowed" in found["providers"][0][1]
    bare = (
        own
        + "trace.set_tracer_provider(TracerProvider(resource=Resource({})))\n    multiagents_otel.auto_instrument()\n"
    )
    status, found = _examined(*_program(bare), **environment)
    assert status == 1
    assert found["export"] == [["fault", "the TracerProvider has no span processor: no span leaves the process"]]
    assert found["service.instance.id"][0][0] == "fault"


@pytest.mark.parametrize("order", ["before", "after"])
def test_another_wrapper_of_the_same_calls_is_told_with_its_module(
    order: str, receiver: OtlpReceiver, redis: RedisServer
) -> None:
    wrap = """
    import functools
    def traced(function):
        @functools.wraps(function)
        async def wrapper(*args, **kwargs):
            return await function(*args, **kwargs)
        return wrapper
    """
    patch = "RedisEventBus.publish = traced(RedisEventBus.publish)"
    ours = "import multiagents_otel; multiagents_otel.auto_instrument()"
    first, second = (patch, ours) if order == "before" else (ours, patch)
    program = _program(f"{textwrap.dedent(wrap)}\n{first}\n{second}")
    status, found = _examined(*program, REDIS_URL=redis.url, OTEL_SERVICE_NAME="orders", **receiver.environment())
    assert status == 0
    assert found["other instrumentation"] == [["warning", "__main__ wraps RedisEventBus.publish too"]]


def test_a_program_that_runs_for_ever_is_ended_and_what_it_prints_is_not_lost(
    receiver: OtlpReceiver, redis: RedisServer
) -> None:
    program = _program("import multiagents_otel\nmultiagents_otel.auto_instrument()")
    program[-1] = program[-1].replace(
        "await ended.wait()",
        "await ended.wait(); await bus.stop(); print('it runs', flush=True); await asyncio.Event().wait()",
    )
    environment = {"REDIS_URL": redis.url, "OTEL_SERVICE_NAME": "orders", **receiver.environment()}
    assert _examined(*program, until="it runs", **environment) == (0, {"poll loop": [_POLLS]})


def test_a_program_that_runs_for_ever_is_ended_after_the_given_seconds(receiver: OtlpReceiver) -> None:
    program = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    status, found = _examined("--seconds", "1", *program, OTEL_SERVICE_NAME="orders", **receiver.environment())
    assert status == 1
    assert found["program"][0][1].endswith(f"and ended with {-signal.SIGINT}")


def test_a_wrong_variable_is_a_warning_and_the_rest_is_examined(receiver: OtlpReceiver) -> None:
    wrong = {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many", "OTEL_PROPAGATORS": "nonsense"}
    status, found = _examined(OTEL_SERVICE_NAME="orders", **receiver.environment(), **wrong)
    assert status == 0
    assert found.keys() == wrong.keys()
    assert "not 'many': its default (128) is used" in found["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"][0][1]


def test_wrong_usage_is_told() -> None:
    for argv, reason in (
        (["no-such-program"], "there is no program 'no-such-program'"),
        (["--seconds", "0", sys.executable], "--seconds must be more than 0, and less than a day"),
        (["--seconds", "nan", sys.executable], "--seconds must be more than 0, and less than a day"),
    ):
        with Process([*_DOCTOR, *argv]) as doctor:
            assert doctor.wait() == 2
            assert doctor.lines[-1] == f"multiagents-otel doctor: {reason}"


def test_a_program_that_has_nothing_to_do_with_workflows_is_told(receiver: OtlpReceiver) -> None:
    status, found = _examined(
        sys.executable, "-c", "import sys; sys.exit(3)", OTEL_SERVICE_NAME="orders", **receiver.environment()
    )
    assert status == 1
    assert found["program"][0][1].endswith("never used multiagents-framework, and ended with 3")


async def test_the_advice_for_the_poll_loop_keeps_the_bus_working_with_few_polls(redis: RedisServer) -> None:
    import asyncio
    import functools

    from multiagents.event_bus.redis_bus import RedisEventBus

    from multiagents_otel.diagnostics.process import polls_without_a_wait

    assert polls_without_a_wait(RedisEventBus._listen_for_messages)
    bus = RedisEventBus(redis.url)
    await bus.start()
    pubsub: Any = bus.pubsub
    pubsub.get_message = functools.partial(pubsub.get_message, timeout=0.5)
    polls = 0
    waited = pubsub.get_message

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal polls
        polls += 1
        return await waited(*args, **kwargs)

    pubsub.get_message = counted
    came: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    await bus.subscribe("user.event", came.put)
    for number in range(20):
        await bus.publish("user.event", {"id": str(number)})
        assert (await asyncio.wait_for(came.get(), DEADLINE))["id"] == str(number)
    await bus.stop()
    assert polls < 60
