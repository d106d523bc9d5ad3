"""A clock that the test sets, one Redis for all, and providers in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.contract.observed import Observed
from tests.support.redis_server import RedisServer


class Clock:
    """The monotonic clock, which the windows go by: it stands still until the test puts it forward."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made.monotonic)
    return made


@pytest.fixture
def observed() -> Iterator[Observed]:
    """Providers in memory, with everything sampled; the test turns the instrumentation on."""
    made = Observed()
    yield made
    made.close()


@pytest.fixture(scope="session")
def redis_of_all() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(redis_of_all: RedisServer) -> RedisServer:
    redis_of_all.flush()
    return redis_of_all
