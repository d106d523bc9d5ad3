"""A forked child's monitors begin anew, with locks that nobody holds."""

from __future__ import annotations

from tests.support.processes import Process

PROGRAM = """
import asyncio, os, sys, threading
from multiagents_otel import EventMonitor, WorkerMonitor
events, workers = EventMonitor(), WorkerMonitor()

def event(name):
    return {"id": name, "type": "command", "metadata": {"transaction_id": "T"}}

async def track(name):
    await events.track_event_lifecycle(event(name), "published")
    await workers.track_worker_execution(name, 5.0, True)

async def told():
    metrics, summary = await events.get_event_metrics(), await workers.get_worker_performance_summary()
    trace = await events.get_transaction_trace("T")
    return metrics["total_events"], sorted(summary["worker_metrics"]), len(trace)

asyncio.run(track("parent"))
held = threading.Event()
def hold():
    with events._lock, workers._lock:
        held.set()
        release.wait()
release = threading.Event()
holder = threading.Thread(target=hold)
holder.start()
held.wait()
pid = os.fork()
if not pid:
    asyncio.run(track("child"))
    print("child", asyncio.run(told()), flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
release.set()
holder.join()
print("parent", asyncio.run(told()), flush=True)
"""


def test_F4_a_child_counts_from_zero_though_a_thread_of_its_parent_held_the_locks() -> None:
    with Process.python(PROGRAM) as process:
        lines = process.wait_ok(30).splitlines()
    assert [line for line in lines if line.startswith(("child", "parent"))] == [
        "child (1, ['child'], 1)",
        "parent (1, ['parent'], 1)",
    ]
