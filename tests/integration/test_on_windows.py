"""The package where the system is Windows, simulated: every module is imported, and a saga is traced."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer

_IMPORTS = """
import tests.support.windows
import importlib, pkgutil
import multiagents_otel
count = 0
for module in pkgutil.walk_packages(multiagents_otel.__path__, "multiagents_otel."):
    if not module.name.endswith("__main__") and ".dashboards" not in module.name:  # those need the stack's libraries
        importlib.import_module(module.name)
        count += 1
print("imported", count)
"""

_SAGA = """
import tests.support.windows
import asyncio, logging, multiprocessing, sys
logging.basicConfig(level=logging.WARNING, format="LOG %(name)s %(message)s")
import multiagents_otel
from tests.support.sagas import order_system, redis_parts, order_workers

async def work(url):
    async with order_system(*redis_parts(url)) as system:
        await system.wait_ended(await system.run())

def run(url):
    multiagents_otel.auto_instrument()
    asyncio.run(work(url))

if __name__ == "__main__":
    child = multiprocessing.Process(target=run, args=(sys.argv[1],))
    child.start()
    child.join()
    print("child", child.exitcode)
    run(sys.argv[1])
    print("done")
"""


def test_every_module_is_imported() -> None:
    with Process.python(_IMPORTS) as process:
        process.wait_ok(120)
    assert int(process.output.rpartition("imported ")[2].split()[0]) > 100


def test_a_saga_in_this_and_in_a_spawned_process_is_exported(redis: RedisServer, tmp_path: Path) -> None:

    script = tmp_path / "program.py"
    script.write_text(_SAGA)
    with (
        OtlpReceiver() as receiver,
        Process.python(script, redis.url, env=receiver.environment("http/protobuf")) as process,
    ):
        process.wait_ok(120)
        roots = [span for span in receiver.spans if span.name == "workflow.order_processing"]
        assert len(roots) == 2, process.output
    assert "child 0" in process.output
    assert "LOG multiagents_otel" not in process.output
    assert "Traceback" not in process.output
