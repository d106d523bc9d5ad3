"""Two days of a shop: two services, a process that is replaced, one that keeps its instance id, a bad hour."""

from __future__ import annotations

from random import Random
from typing import Final

from tests.report.conftest import END, HOUR
from tests.report.history import History, Process

START: Final = END - 24 * HOUR
BEFORE: Final = START - 24 * HOUR

_STATUSES: Final = ("completed",) * 92 + ("compensated",) * 5 + ("failed",) * 2 + ("cancelled",)


def shop() -> History:
    """The same each time."""
    random = Random(7)
    history = History(looked=(BEFORE - 3 * HOUR, END))
    first = history.process("orders", "orders-1", BEFORE - 2 * HOUR + 7, END - 6 * HOUR)
    second = history.process("orders", "orders-2", END - 6 * HOUR + 21, END)
    for process in (first, second):
        _orders(process, random)
    _bad_hour(first)
    mailer = history.process("mailer", "mailer-0", BEFORE - 2 * HOUR + 13, END, resets=(END - 9 * HOUR,))
    for process_start in (BEFORE - HOUR,):
        at = process_start
        while at < END - 60:
            at += random.uniform(300, 900)
            mailer.workflow(at, "newsletter", "completed", 1.2, {"render": random.uniform(0.2, 0.6)})
    mailer.count(END - 5 * HOUR, "multiagents_events_undelivered_total", event_type="CommandEvent", worker_name="send")
    for hour in (7, 8):
        first.count(END - hour * HOUR, "multiagents_commands_duplicated_total", worker_name="charge")
    return history


def _orders(process: Process, random: Random) -> None:
    at = process.born + 1
    while at < process.died - 60:
        status = random.choice(_STATUSES)
        took = random.lognormvariate(-1, 0.7)
        steps = {"validate": took * 0.1, "charge": took * 0.7, "ship": took * 0.2}
        error = {"compensated": "PaymentDeclinedError", "failed": "ConnectionError"}.get(status, "")
        process.workflow(at, "order", status, took, steps, error)
        if status == "compensated":
            process.count(at, "multiagents_compensations_total", workflow_id="order", status="delivered")
        at += random.uniform(20, 160)


def _bad_hour(process: Process) -> None:
    """A spike of 40 errors within four minutes, 10 hours before the end, and three stalled workflows."""
    for number in range(40):
        at = END - 10 * HOUR + 6 * number
        process.workflow(at, "order", "failed", 31.0, {"validate": 0.02, "charge": 30.9}, "TimeoutError")
    for number in range(3):
        process.workflow(END - 10 * HOUR + 300 + number, "order", "stalled", 310.0, {"validate": 0.02})
