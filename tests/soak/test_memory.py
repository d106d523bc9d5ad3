"""Memory does not grow with the number of events."""

from __future__ import annotations

import pytest

from tests.support.processes import Process


@pytest.mark.slow
def test_memory_after_a_million_events_is_that_after_ten_thousand() -> None:
    """In a process of its own, where nothing else allocates."""
    with Process.python(
        """
        import asyncio
        from tests.soak.memory import growth, quiet
        quiet()
        print("grown", asyncio.run(growth()))
        """
    ) as process:
        output = process.wait_ok(timeout=3600)
    (grown,) = [float(line.split()[1]) for line in output.splitlines() if line.startswith("grown ")]
    assert grown < 10.0
