"""One Redis for all, emptied between tests; a receiver for each test; processes that end with it."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.integration.programs import ORCHESTRATOR, WORKER
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer
from tests.support.sagas import WORKERS

COMMANDS = tuple(f"multiagent:command.{worker}" for worker in WORKERS)
RESULTS = tuple(f"multiagent:result.{worker}" for worker in WORKERS)


@pytest.fixture(scope="session")
def redis_of_all() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(redis_of_all: RedisServer) -> RedisServer:
    redis_of_all.flush()
    return redis_of_all


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as started:
        yield started


class Orders:
    """The order saga in processes, over Redis, exporting to the receiver."""

    def __init__(self, redis: RedisServer, receiver: OtlpReceiver) -> None:
        self.redis = redis
        self.receiver = receiver
        self.protocol = "http/protobuf"
        self.interval_ms = 100
        self._processes = ExitStack()

    def __enter__(self) -> Orders:
        return self

    def __exit__(self, *error: Any) -> None:
        self._processes.close()

    def worker(self, *, count: int = 1, env: dict[str, str] | None = None, **options: Any) -> Process:
        """A worker that is subscribed; ``count`` with those that are already."""
        process = self.program(WORKER, "worker", env=env, **options)
        self.redis.wait_subscribed(*COMMANDS, count=count)
        return process

    def orchestrator(self, *, count: int = 1, env: dict[str, str] | None = None, **options: Any) -> Process:
        """An orchestrator that is subscribed; ``count`` with those that are already."""
        process = self.program(ORCHESTRATOR, "orchestrator", env=env, **options)
        self.redis.wait_subscribed(*RESULTS, count=count)
        return process

    def program(
        self,
        code: str,
        service: str,
        *,
        env: dict[str, str] | None = None,
        launcher: list[str] | None = None,
        **options: Any,
    ) -> Process:
        """One of the programs, ready; instrumented by a launcher, else by itself."""
        environment = {
            **self.receiver.environment(self.protocol, self.interval_ms),
            "OTEL_SERVICE_NAME": service,
            "REDIS_URL": self.redis.url,
            **(env or {}),
        }
        if launcher is None:
            environment["OPTIONS"] = json.dumps(options)
        argv = [*(launcher or ()), sys.executable, "-c", textwrap.dedent(code)]
        process = self._processes.enter_context(Process(argv, env=environment))
        process.wait_line("ready")
        return process

    @staticmethod
    def order(orchestrator: Process, payload: dict[str, Any], number: int = 1) -> tuple[str, str]:
        """Run an order to its end (the ``number``-th of this process): its transaction id and state."""
        orchestrator.send_line(json.dumps(payload))
        _ended, transaction, state = orchestrator.wait_line("ended ", count=number).split()
        return transaction, state

    @staticmethod
    def begin(orchestrator: Process, payload: dict[str, Any]) -> str:
        """Start an order and do not wait for its end: its transaction id."""
        orchestrator.send_line(json.dumps({**payload, "wait": False}))
        return orchestrator.wait_line("started ").split()[1]

    @staticmethod
    def stop(*processes: Process) -> None:
        for process in processes:
            process.send_line("stop")
        for process in processes:
            process.wait_ok()


def arrived(receiver: OtlpReceiver, what: Callable[[OtlpReceiver], object]) -> None:
    """Wait for it, long: the framework's listeners keep a core busy each, and there may be but two."""
    receiver.wait_for(what)


@pytest.fixture
def orders(redis: RedisServer, receiver: OtlpReceiver) -> Iterator[Orders]:
    with Orders(redis, receiver) as running:
        yield running
