"""Two orchestrators on the same channels, as two web workers have: each workflow ends once."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import RESULTS, Orders, arrived
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer
from tests.support.sagas import ENDED, WORKERS, order_payload
from tests.support.trees import roots

GRACE = 1.0
SETTLED = 2 * GRACE + 2.0  # an orchestrator that waits for another one's end has decided by then


def start_orders(orchestrators: list[Process], count: int, *, failing: int = 3) -> None:
    """Start so many orders in turn at the orchestrators; every third fails, or every so many."""
    for number in range(count):
        payload = order_payload(fail_at="charge_payment") if number % failing == failing - 1 else order_payload()
        orchestrators[number % len(orchestrators)].send_line(json.dumps({**payload, "wait": False}))
    for index, orchestrator in enumerate(orchestrators):
        orchestrator.wait_line("started ", count=len(range(index, count, len(orchestrators))), timeout=120)


def started(orchestrators: list[Process]) -> set[str]:
    return {line.split()[1] for process in orchestrators for line in process.lines if line.startswith("started ")}


def states(redis: RedisServer) -> dict[str, str]:
    """The state of each workflow as the framework has stored it."""
    keys = redis.command("KEYS", "saga:*")
    assert isinstance(keys, list)
    values = redis.command("MGET", *map(str, keys)) if keys else []
    assert isinstance(values, list)
    sagas = [json.loads(str(value)) for value in values]
    return {saga["transaction_id"]: saga["state"] for saga in sagas}


def claims(redis: RedisServer) -> int:
    found = redis.command("KEYS", "multiagents_otel:ended:*")
    assert isinstance(found, list)
    return len(found)


def ends(receiver: OtlpReceiver) -> int:
    return int(receiver.total("multiagents.workflows"))


def settled(orders: Orders, condition: Callable[[], bool]) -> None:
    """Wait until the condition holds and nothing has changed for longer than an orchestrator waits for another one."""
    receiver = orders.receiver
    last: list[Any] = [None, 0.0]

    def holds(received: OtlpReceiver) -> bool:
        now = (states(orders.redis), len(roots(received.spans)), ends(received), claims(orders.redis))
        if now != last[0] or not condition():
            last[:] = [now, time.monotonic()]
        return bool(time.monotonic() - last[1] > SETTLED)

    receiver.wait_for(holds, timeout=180)


def check_exact(orders: Orders, transactions: set[str]) -> None:
    """Each workflow that the framework has ended has one root and is counted once; the others have died."""
    receiver = orders.receiver

    def ended() -> set[str]:
        return {transaction for transaction, state in states(orders.redis).items() if state in ENDED}

    def found() -> Counter[str]:
        return Counter(str(root.attributes["workflow.transaction_id"]) for root in roots(receiver.spans))

    settled(orders, lambda: ended() <= set(found()) and ends(receiver) >= len(found()))
    several = [root for root in roots(receiver.spans) if found()[str(root.attributes["workflow.transaction_id"])] > 1]
    assert [
        (root.name, root.status, root.start_ns, root.end_ns, root.resource, root.attributes) for root in several
    ] == []
    # One that has ended, and that a killed process had moved on after that, stays stored as that process has left it.
    assert ended() <= set(found()) <= transactions
    died = transactions - set(found())
    assert ends(receiver) == len(found()) == len(transactions) - len(died)
    assert receiver.total("multiagents.workflow.duration") == len(found())


def wait_exported(orders: Orders) -> None:
    """Wait until nothing goes on, and all that was recorded has left: what is killed then takes nothing with it."""
    receiver = orders.receiver
    settled(orders, lambda: len(roots(receiver.spans)) == ends(receiver) == claims(orders.redis))


@pytest.mark.slow
def test_each_of_200_workflows_ends_once_and_the_duplication_is_reported(orders: Orders) -> None:
    worker = orders.worker()
    both = [orders.orchestrator(stall_grace=GRACE), orders.orchestrator(count=2, stall_grace=GRACE)]
    start_orders(both, 200)
    transactions = started(both)
    assert len(transactions) == 200
    check_exact(orders, transactions)
    assert {root.attributes["workflow.transaction_id"] for root in roots(orders.receiver.spans)} == transactions
    orders.stop(*both, worker)
    receiver = orders.receiver
    assert receiver.total("multiagents.workflows.started") == 200
    for name in WORKERS:
        assert receiver.total("multiagents.results.duplicated", {"worker.name": name}) > 0, name
    for process in both:
        told = [line for line in process.lines if "reach more than one orchestrator" in line]
        assert len(told) == 1, process.output
        assert told[0].startswith("WARNING")


def test_one_of_two_killed_in_the_midst_each_workflow_still_ends_once(orders: Orders) -> None:
    receiver = orders.receiver
    worker = orders.worker()
    both = [orders.orchestrator(stall_grace=GRACE), orders.orchestrator(count=2, stall_grace=GRACE)]
    start_orders(both, 200)
    arrived(receiver, lambda received: len(roots(received.spans)) >= 20)
    worker.signal(signal.SIGSTOP)  # what is under way stays so until one is killed
    wait_exported(orders)
    transactions = started(both)
    both[0].kill9()
    worker.signal(signal.SIGCONT)
    check_exact(orders, transactions)
    orders.stop(both[1], worker)


@pytest.mark.slow
def test_a_paused_owner_does_not_record_an_end_that_another_has_recorded(orders: Orders) -> None:
    worker = orders.worker(env={"HOLD": "charge_payment"})
    both = [orders.orchestrator(stall_grace=GRACE), orders.orchestrator(count=2, stall_grace=GRACE)]
    start_orders(both[:1], 4, failing=100)
    worker.wait_line("working charge_payment", count=4)
    both[0].signal(signal.SIGSTOP)
    worker.send_line("go")
    arrived(orders.receiver, lambda received: ends(received) == 4)
    both[0].signal(signal.SIGCONT)
    check_exact(orders, started(both))
    orders.stop(*both, worker)


@pytest.mark.slow
def test_each_workflow_ends_once_where_redis_may_not_be_asked_for_subscribers(orders: Orders) -> None:
    worker = orders.worker()
    both = [orders.orchestrator(stall_grace=GRACE), orders.orchestrator(count=2, stall_grace=GRACE)]
    assert orders.redis.command("ACL", "SETUSER", "default", "-pubsub") == "OK"
    try:
        start_orders(both, 40)
        check_exact(orders, started(both))
    finally:  # the server serves other tests too
        orders.redis.command("ACL", "SETUSER", "default", "+pubsub")
    assert len(roots(orders.receiver.spans)) == 40
    orders.stop(*both, worker)
    for process in both:
        assert "reach more than one orchestrator" not in process.output  # nothing has said so


def test_orchestrators_of_two_definitions_that_share_a_worker_are_no_duplicates(orders: Orders) -> None:
    """All channels of the one are channels of the other too."""
    worker = orders.worker()
    orchestrator = orders.orchestrator(stall_grace=GRACE)
    other = orders.program(
        """
        from multiagents.orchestrator.workflow import WorkflowBuilder
        from tests.integration import programs
        from tests.support import sagas
        def refund_workflow(timeout):
            return WorkflowBuilder("refund").add_step("check", "validate_order").build()
        sagas.order_workflow = refund_workflow
        programs.orchestrator()
        """,
        "refunds",
        stall_grace=GRACE,
    )
    for number in (1, 2, 3):
        orders.order(orchestrator, order_payload(), number)
        orders.order(other, order_payload(), number)
        threading.Event().wait(GRACE / 2)  # Redis is asked for other orchestrators in between
    orders.stop(orchestrator, other, worker)
    for process in (orchestrator, other):
        assert "reach more than one orchestrator" not in process.output
    assert ends(orders.receiver) == len(roots(orders.receiver.spans)) == 6
    assert orders.receiver.total("multiagents.results.duplicated") == 0


WEB = """
import asyncio, json, logging, os
from urllib.parse import parse_qsl

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await stop()
        await send({"type": "lifespan.shutdown.complete"})
        return
    payload = dict(parse_qsl(scope["query_string"].decode()))
    from tests.support.sagas import order_payload, run_order
    transaction = await run_order(app.orchestrator, order_payload(fail_at=payload.get("fail_at")))
    body = json.dumps([transaction, os.getpid()]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

async def start():
    from multiagents_otel import auto_instrument
    auto_instrument(stall_grace=1.0)
    import structlog
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    from multiagents.orchestrator.orchestrator import Orchestrator
    from tests.support.sagas import SilentLogger, order_workflow, redis_parts
    app.bus, store = redis_parts(os.environ["REDIS_URL"])
    app.orchestrator = Orchestrator(order_workflow(), app.bus, store, logger=SilentLogger())
    await app.bus.start()
    await app.orchestrator.start()

async def stop():
    await app.orchestrator.stop()
    await app.bus.stop()
"""


def test_gunicorn_with_two_workers_one_of_them_killed_and_replaced(orders: Orders, tmp_path: Path) -> None:
    (tmp_path / "shop_web.py").write_text(WEB)
    receiver, port = orders.receiver, free_port()
    worker = orders.worker()
    environment = {**receiver.environment("http/protobuf", 100), "OTEL_SERVICE_NAME": "web"}
    environment["REDIS_URL"] = orders.redis.url
    command = ["-m", "gunicorn", "-w", "2", "-k", "uvicorn.workers.UvicornWorker", "-b", f"127.0.0.1:{port}"]
    argv = [sys.executable, "-W", "ignore", *command, "--chdir", str(tmp_path), "shop_web:app"]
    with Process(argv, env=environment) as server:
        orders.redis.wait_subscribed(*RESULTS, count=2, timeout=60)
        transactions: set[str] = set()
        pids: set[int] = set()
        while len(transactions) < 60 or len(pids) < 2:
            transaction, pid = order_by_web(port, failing=len(transactions) % 3 == 0)
            transactions.add(transaction)
            pids.add(pid)
        arrived(receiver, lambda received: len(roots(received.spans)) >= 10)
        worker.signal(signal.SIGSTOP)
        wait_exported(orders)
        os.kill(min(pids), signal.SIGKILL)
        server.wait_line("was sent SIGKILL", timeout=60)
        orders.redis.wait_subscribed(*RESULTS, count=2, timeout=60)
        worker.signal(signal.SIGCONT)
        check_exact(orders, transactions)
        assert receiver.total("multiagents.results.duplicated") > 0
        server.terminate()
    orders.stop(worker)


def order_by_web(port: int, *, failing: bool) -> tuple[str, int]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/?fail_at=charge_payment" if failing else "/")
        transaction, pid = json.loads(connection.getresponse().read())
    return str(transaction), int(pid)
