"""What the contract's tests share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from tests.contract.observed import Observed


@pytest.fixture
def observed() -> Iterator[Observed]:
    """Providers in memory, with everything sampled; the test turns the instrumentation on."""
    made = Observed()
    yield made
    made.close()


class Clock:
    """The monotonic clock, which the event loop's timers go by: it can be put forward."""

    def __init__(self, real: Callable[[], float]) -> None:
        self._real = real
        self._ahead = 0.0

    def monotonic(self) -> float:
        return self._real() + self._ahead

    async def forward(self, seconds: float) -> None:
        """So much time has passed: what was due by now has been called when this returns."""
        self._ahead += seconds
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time passes when the test says so."""
    made = Clock(time.monotonic)
    monkeypatch.setattr(time, "monotonic", made.monotonic)
    return made
