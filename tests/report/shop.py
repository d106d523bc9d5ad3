"""A shop's past: two services, a process that is replaced by another, a bad quarter of an hour."""

from __future__ import annotations

from random import Random
from typing import Final

from tests.report.conftest import END, HOUR
from tests.report.history import History, Process

LENGTH: Final = 4 * HOUR
START: Final = END - LENGTH
BEFORE: Final = START - LENGTH

_STATUSES: Final = ("completed",) * 92 + ("compensated",) * 5 + ("failed",) * 2 + ("cancelled",)
_ERRORS: Final = {"compensated": "PaymentDeclinedError", "failed": "ConnectionError"}


def shop(length: float = LENGTH, every: float = 60) -> History:
    """The same each time: what happened in twice this length before END, scraped this often."""
    random, start = Random(7), END - 2 * length
    history = History(looked=(start - HOUR, END))
    replaced = END - length / 4
    first = history.process("orders", "orders-1", start - HOUR + 7, replaced, every=every)
    second = history.process("orders", "orders-2", replaced + 21, END, every=every)
    for process in (first, second):
        _orders(process, random, length / 800)
    bad = END - length / 2
    _bad_time(first, bad)
    mailer = history.process("mailer", "mailer-0", start - HOUR + 13, END, every=every)
    at = mailer.born
    while at < END - every:
        mailer.workflow(at, "newsletter", "completed", 1.2, {"render": random.uniform(0.2, 0.6)})
        at += random.uniform(0.5, 1.5) * length / 100
    mailer.count(bad, "multiagents_events_undelivered_total", event_type="CommandEvent", worker_name="send")
    for minute in (1, 2):
        first.count(bad + 60 * minute, "multiagents_commands_duplicated_total", worker_name="charge")
    return history


def _orders(process: Process, random: Random, pause: float) -> None:
    at = process.born + 1  # before the second scrape: the first shows it, or nothing does
    while at < process.died - process.every:
        status = random.choice(_STATUSES)
        took = random.lognormvariate(-1, 0.7)
        steps = {"validate": took * 0.1, "charge": took * 0.7}
        if status != "compensated":
            steps["ship"] = took * 0.2
        process.workflow(at, "order", status, took, steps, _ERRORS.get(status, ""))
        if status == "compensated":
            process.count(at, "multiagents_compensations_total", workflow_id="order", status="delivered")
        at += random.uniform(0.2, 1.8) * pause


def _bad_time(process: Process, at: float) -> None:
    """A spike of 40 errors within four minutes, and three stalled workflows."""
    for number in range(40):
        process.workflow(at + 6 * number, "order", "failed", 8.0, {"validate": 0.02, "charge": 7.9}, "TimeoutError")
    for number in range(3):
        process.workflow(at + 300 + number, "order", "stalled", 310.0, {"validate": 0.02})
