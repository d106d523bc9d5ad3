"""Examples run as a user runs them: programs of their own, a real Redis, a real OTLP backend."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.processes import REPOSITORY, Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer

EXAMPLES = REPOSITORY / "examples"
Start: TypeAlias = Callable[..., Process]


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as started:
        yield started


@pytest.fixture
def start(redis: RedisServer, receiver: OtlpReceiver) -> Start:
    """Gives an example, not started, which exports to the receiver; ``launcher`` stands before ``python``."""

    def start_example(name: str, *launcher: str, **environment: str) -> Process:
        program = [str(Path(sys.executable).with_name(launcher[0])), *launcher[1:]] if launcher else []
        env = {**receiver.environment("http/protobuf"), "REDIS_URL": redis.url, **environment}
        return Process([*program, sys.executable, str(EXAMPLES / name)], env=env, dspy=True)

    return start_example
