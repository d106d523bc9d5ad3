"""What each example prints, and the whole of the traces that arrive."""

from __future__ import annotations

import re
import socket
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import EXAMPLES, Start
from tests.support.expected import COMPLETED, compensated_tree
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer
from tests.support.trees import by_trace, forest

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def lines(process: Process) -> list[str]:
    """What a process that ended well has printed, ids left out."""
    return [_ID.sub("ID", line) for line in process.wait_ok(60).splitlines()]


def prefixed(receiver: OtlpReceiver, prefix: str) -> Mapping[str, dict[str, Any]]:
    """By span name the attributes that begin with the prefix, of those spans that have any."""
    found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for span in receiver.spans:
        for key, value in span.attributes.items():
            if key.startswith(prefix):
                found[span.name][key] = value
    return dict(found)


def test_one_line_gives_one_joined_trace(start: Start, receiver: OtlpReceiver) -> None:
    with start("one_line.py") as example:
        assert lines(example) == ["workflow ID completed"]
    assert (
        forest(receiver.spans)
        == """\
workflow.greeting INTERNAL
  step.write INTERNAL
    send command.write_greeting PRODUCER
      process command.write_greeting CONSUMER
        worker.write_greeting INTERNAL
        send result.write_greeting PRODUCER
          process result.write_greeting CONSUMER
  step.send INTERNAL
    send command.send_greeting PRODUCER
      process command.send_greeting CONSUMER
        worker.send_greeting INTERNAL
        send result.send_greeting PRODUCER
          process result.send_greeting CONSUMER"""
    )
    assert receiver.total("multiagents.workflows", {"status": "completed"}) == 1


def test_the_one_line_is_the_only_one() -> None:
    source = (EXAMPLES / "one_line.py").read_text(encoding="utf-8")
    code = source.partition('"""\n\n')[2]
    ours = [line for line in code.splitlines() if re.search("otel|opentelemetry", line)]
    assert ours == ["import multiagents_otel", "multiagents_otel.auto_instrument()  # the one line"]


def test_two_processes_share_each_orders_trace(start: Start, receiver: OtlpReceiver) -> None:
    with start("two_processes/worker.py") as worker:
        worker.wait_line("waiting for orders", 60)
        with start("two_processes/orchestrator.py") as orchestrator:
            assert lines(orchestrator) == [
                "orchestrator: teapot shipped, transaction ID",
                "orchestrator: kettle shipped, transaction ID",
                "orchestrator: samovar shipped, transaction ID",
            ]
        assert lines(worker) == ["worker: waiting for orders", "worker: the shop has closed"]
    order = """\
workflow.order_processing INTERNAL
  step.reserve INTERNAL
    send command.reserve_stock PRODUCER
      process command.reserve_stock CONSUMER
        worker.reserve_stock INTERNAL
        send result.reserve_stock PRODUCER
          process result.reserve_stock CONSUMER
  step.ship INTERNAL
    send command.ship_order PRODUCER
      process command.ship_order CONSUMER
        worker.ship_order INTERNAL
        send result.ship_order PRODUCER
          process result.ship_order CONSUMER"""
    closed = """\
send shop.closed PRODUCER
  process shop.closed CONSUMER"""
    assert forest(receiver.spans) == "\n\n".join([order, order, order, closed])
    services = {span.name: span.resource["service.name"] for span in receiver.spans}
    in_worker = {name for name, service in services.items() if service == "shop-worker"}
    assert in_worker == {
        f"{kind}{name}"
        for name in ("reserve_stock", "ship_order")
        for kind in ("process command.", "worker.", "send result.")
    } | {"process shop.closed"}
    assert {service for name, service in services.items() if name not in in_worker} == {"shop-orchestrator"}


def test_monitors_tell_what_ran(start: Start, receiver: OtlpReceiver, tmp_path: Path) -> None:
    log = tmp_path / "orders.log"
    with start("monitoring.py", MULTIAGENTS_OTEL_LOGGING_FILE_PATH=str(log)) as example:
        assert lines(example) == [
            "commands: 6, failed: 1",
            "reserve_stock: healthy",
            "charge_card: degraded: 1 of 3 recent executions failed (33.3 %, more than 5 %); "
            "the latest error: card declined",
            "orders: 2, on average 27.50 EUR",
            "command.reserve_stock: published",
            "command.reserve_stock: received",
            "command.reserve_stock: completed",
            "command.charge_card: published",
            "command.charge_card: received",
            "command.charge_card: card declined",
        ]
    assert receiver.total("multiagents.worker.executions") == 6
    assert receiver.total("multiagents.worker.errors", {"worker.name": "charge_card"}) == 1
    assert "card declined" in log.read_text("utf-8")


@pytest.mark.parametrize("launcher", [("opentelemetry-instrument",), ("multiagents-otel", "run")], ids=" ".join)
def test_no_code_is_needed_with_a_launcher(start: Start, receiver: OtlpReceiver, launcher: tuple[str, ...]) -> None:
    with start("no_code/app.py", *launcher) as example:
        assert lines(example)[-1] == "7 words"
    assert (
        forest(receiver.spans)
        == """\
workflow.word_count INTERNAL
  step.count INTERNAL
    send command.find_words PRODUCER
      process command.find_words CONSUMER
        worker.find_words INTERNAL
        send result.find_words PRODUCER
          process result.find_words CONSUMER"""
    )


def test_no_code_knows_nothing_of_opentelemetry(start: Start, receiver: OtlpReceiver) -> None:
    with start("no_code/app.py") as example:
        assert lines(example) == ["7 words"]
    assert receiver.requests == []


def test_a_failed_order_is_compensated_and_the_compensation_arrives(start: Start, receiver: OtlpReceiver) -> None:
    with start("order_saga.py") as example:
        assert lines(example) == [
            "order: 1 teapot",
            "  completed: ID",
            "order: 11 samovar",
            "  refunded: samovar",
            "  compensated: ID",
        ]
    assert forest(receiver.spans) == f"{COMPLETED}\n\n{compensated_tree('__main__.OutOfStockError')}"
    roots = [span.attributes["workflow.status"] for span, *_ in by_trace(receiver.spans).values()]
    assert roots == ["completed", "compensated"]
    counts = {
        status: receiver.total("multiagents.compensations", {"status": status})
        for status in ("delivered", "undelivered")
    }
    assert counts == {"delivered": 1, "undelivered": 0}


def test_a_bus_of_ones_own_is_traced_under_its_name_and_without_redis(start: Start, receiver: OtlpReceiver) -> None:
    with start("custom_event_bus.py", REDIS_URL="redis://127.0.0.1:1") as example:
        assert lines(example) == ["doubled: 42"]
    assert (
        forest(receiver.spans)
        == """\
workflow.doubling INTERNAL
  step.double INTERNAL
    send command.double PRODUCER
      process command.double CONSUMER
        worker.double INTERNAL
        send result.double PRODUCER
          process result.double CONSUMER"""
    )
    names = ("send command.double", "process command.double", "send result.double", "process result.double")
    assert prefixed(receiver, "messaging.system") == {name: {"messaging.system": "memory"} for name in names}


def test_hooks_add_what_the_user_knows(start: Start, receiver: OtlpReceiver) -> None:
    with start("hooks.py") as example:
        assert lines(example) == ["order_processing of a gold customer: completed"]
    here = {"shop.handled_by": socket.gethostname()}
    assert prefixed(receiver, "shop.") == {
        "workflow.order_processing": {"shop.customer.tier": "gold"},
        "step.price": {"shop.results_so_far": 1},
        "step.pack": {"shop.results_so_far": 2},
        "send command.price_order": {"shop.priority": "high"},
        "send command.pack_order": {"shop.priority": "high"},
        "send result.price_order": {"shop.priority": "normal"},
        "send result.pack_order": {"shop.priority": "normal"},
        "process command.price_order": here,
        "process command.pack_order": here,
        "process result.price_order": here,
        "process result.pack_order": here,
    }
    (shape,) = by_trace(receiver.spans).values()
    assert len(shape) == 13


@pytest.mark.parametrize("name", ["one_line.py", "order_saga.py", "hooks.py", "custom_event_bus.py"])
def test_the_frameworks_own_log_is_shown_on_demand(start: Start, name: str) -> None:
    with start(name, LOG_LEVEL="INFO") as example:
        assert "Worker manager started" in example.wait_ok(60)


def test_examples_work_on_a_redis_that_asks_for_a_password(start: Start, receiver: OtlpReceiver) -> None:
    with RedisServer("hush") as server, start("one_line.py", REDIS_URL=server.url) as example:
        assert lines(example) == ["workflow ID completed"]
    assert len(receiver.spans) == 13
    assert b"hush" not in receiver.raw_bytes


def test_every_example_has_a_test_and_a_line_in_the_readme() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tests = Path(__file__).read_text(encoding="utf-8")
    shown = [path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*.py") if path.parent.name not in ("demo", "stack")]
    assert len(shown) == 8
    for path in shown:
        assert f'"{path}"' in tests
        assert str(path) in readme
