"""Instrumented at any moment: in the midst of an import, after ``gc.freeze()``, without metadata."""

from __future__ import annotations

import asyncio
import gc

import pytest

from tests.catalogue.recording import recording
from tests.support.processes import Process
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_system, redis_parts

MIDST = """
import logging, sys, threading
from importlib.machinery import PathFinder
logging.basicConfig(format="%(name)s %(levelname)s %(message)s")
from multiagents_otel import MultiAgentsInstrumentor

class Gate:
    # Stops when the code is about to run: find_spec is called under a lock that every import takes.
    reached, passed = threading.Event(), threading.Event()
    def find_spec(self, name, path=None, target=None):
        if name != sys.argv[1] or self.reached.is_set():
            return None
        spec = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def exec_module(module):
            self.reached.set()
            if sys.argv[2] == "this":
                MultiAgentsInstrumentor().instrument()
            else:
                self.passed.wait(60)
            execute(module)
        spec.loader.exec_module = exec_module
        return spec

gate = Gate()
sys.meta_path.insert(0, gate)
def load(): import multiagents
if sys.argv[2] == "this":
    load()
else:
    thread = threading.Thread(target=load)
    thread.start()
    assert gate.reached.wait(60)
    MultiAgentsInstrumentor().instrument()
    gate.passed.set()
    thread.join()
import multiagents.core.factory
import time
active = MultiAgentsInstrumentor._active
deadline = time.monotonic() + 60
while len(active.patches.targets()) < len(active.table) and time.monotonic() < deadline:
    time.sleep(0.01)  # a module that was being looked for is waited for in a thread
print("missing", len(active.table) - len(active.patches.targets()))
"""


@pytest.mark.parametrize(
    ("module", "thread"),
    [
        ("redis.asyncio", "another"),  # in the midst of the bus' module
        ("multiagents.orchestrator.workflow", "another"),
        ("multiagents.worker_sdk.worker_manager", "another"),
        ("redis.asyncio", "this"),
    ],
)
def test_every_patch_is_in_place_though_the_framework_was_being_imported(module: str, thread: str) -> None:
    with Process.python(MIDST, module, thread) as process:
        process.wait_ok(60)
        assert "missing 0" in process.lines
        assert "WARNING" not in process.output


@pytest.mark.parametrize("freeze", [False, True])
async def test_what_was_in_use_before_is_recorded_though_it_is_frozen(freeze: bool) -> None:
    with RedisServer() as server:
        bus, store = redis_parts(server.url)
        async with order_system(bus, store) as system:
            if freeze:
                gc.freeze()
            try:
                with recording(stall_grace=0) as record:
                    await system.wait_ended(await system.run(), 60)
                    for _ in range(600):
                        if record.counts("multiagents.workflows"):
                            break
                        await asyncio.sleep(0.1)
                    assert list(record.counts("multiagents.workflows").values()) == [1]
                    assert record.counts("multiagents.events.undelivered") == {}
                    roots = [span.name for span in record.spans if span.parent is None]
                    assert roots == ["workflow.order_processing"]
                    assert len([span for span in record.spans if span.name.startswith("worker.")]) == 3
            finally:
                gc.unfreeze()


WITHOUT_METADATA = """
import importlib.metadata as metadata, os, sys
found = metadata.MetadataPathFinder.find_distributions.__func__
def hidden(cls, *args, **kwargs):
    return (each for each in found(cls, *args, **kwargs) if each.metadata["Name"] != "multiagents-framework")
metadata.MetadataPathFinder.find_distributions = classmethod(hidden)
os.environ.update({f"OTEL_{each}_EXPORTER": "none" for each in ("TRACES", "METRICS", "LOGS")})
if sys.argv[1] == "launcher":
    os.environ.update(OTEL_PYTHON_DISTRO="multiagents", OTEL_PYTHON_CONFIGURATOR="multiagents")
    from opentelemetry.instrumentation.auto_instrumentation import initialize
    initialize()
else:
    if sys.argv[1] == "absent":
        sys.modules["multiagents"] = None
    import multiagents_otel
    multiagents_otel.auto_instrument()
    if sys.argv[1] == "absent":
        sys.exit()
from multiagents.event_bus.redis_bus import RedisEventBus
print("instrumented", hasattr(RedisEventBus.publish, "__wrapped__"))
"""


@pytest.mark.parametrize("how", ["call", "launcher"])
def test_a_framework_without_metadata_is_instrumented(how: str) -> None:
    with Process.python(WITHOUT_METADATA, how) as process:
        process.wait_ok(60)
        assert "instrumented True" in process.lines


def test_a_framework_that_is_missing_is_named_in_one_message() -> None:
    with Process.python(WITHOUT_METADATA, "absent") as process:
        process.wait_ok(60)
        assert process.output.count("multiagents-framework") == 1
