"""The framework's own monitoring example, which ends with an error on the framework's own monitors, runs on ours."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.guide.framework_source import example
from tests.support.processes import Process
from tests.support.redis_server import RedisServer

# The example takes Redis where the framework's defaults say: the port of ours takes their place. Its listener waits
# for messages: the framework's polls, which takes a core.
_DEFAULTS = """
import os
from multiagents.event_bus import redis_bus
from redis.asyncio.client import PubSub
PubSub.get_message.__defaults__ = (False, 0.1)
for cls in (redis_bus.RedisEventBus, redis_bus.RedisStateStore):
    cls.__init__.__defaults__ = (os.environ["REDIS_URL"], *cls.__init__.__defaults__[1:])
"""
_INSTRUMENT = "import multiagents_otel\nmultiagents_otel.auto_instrument()\n"
_NOWHERE = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
_WORKFLOWS = 5


def test_the_frameworks_monitoring_example_runs_alone_and_instrumented_and_tells_what_ran(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    env = {**_NOWHERE, "PYTHONPATH": root}
    with ExitStack() as stack:  # side by side: the example sleeps for half a minute
        programs = []
        for name, code in (("alone", _DEFAULTS), ("instrumented", _DEFAULTS + _INSTRUMENT)):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "example.py").write_text(code + example())
            redis = stack.enter_context(RedisServer())
            program = Process(
                [sys.executable, "example.py"], env={**env, "REDIS_URL": redis.url}, cwd=folder, dspy=True
            )
            programs.append(stack.enter_context(program))
        texts = [program.wait_ok(120) for program in programs]
    for text in texts:
        assert "Demo error" not in text
        report = text[text.index("FINAL MONITORING REPORT") :]
        commands = int(_figure(report, "Total Commands"))
        # Five workflows of four steps; one that fails or times out stops there.
        assert 3 * _WORKFLOWS <= commands <= 4 * _WORKFLOWS
        outcomes = sum(int(_figure(report, name)) for name in ("Successful", "Failed", "Timeouts"))
        assert outcomes == commands
        assert int(_figure(report, "CommandEvent")) == commands
        assert _figure(report, "Event Monitor").endswith("active traces")
        assert "4 workers tracked" in _figure(report, "Worker Monitor")


def _figure(report: str, name: str) -> str:
    found = re.search(rf"{name}: ([^\n]*)", report)
    assert found, f"{name} is not told in\n{report}"
    return found[1]
