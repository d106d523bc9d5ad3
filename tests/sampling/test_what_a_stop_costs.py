"""A Collector that samples and ends: what had been kept arrives, what was still held is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sampling.backend import Backend
from tests.sampling.running import one_collector
from tests.support.expected import COMPENSATED
from tests.support.services import Service
from tests.support.traffic import Shape, trace_ids

SHAPE = Shape(COMPENSATED)
FAILS = SHAPE.names.index("worker.ship_order")


@pytest.mark.parametrize("end", [Service.kill9, Service.stop], ids=["killed", "stopped"])
def test_what_was_kept_arrives_and_what_was_held_is_gone_when_the_collector_is(
    end: Callable[[Service], None], tmp_path: Path
) -> None:
    ids = trace_ids(9)
    kept, held = next(ids), next(ids)
    with Backend() as backend, one_collector(tmp_path, backend, healthy_percent=0) as pipeline:
        backend.refuse(503)
        pipeline.send(SHAPE.stamped(kept))
        pipeline.send(SHAPE.stamped(held)[:FAILS])
        end(pipeline.entry.service)
        pipeline.entry.service.start()
        backend.accept()
        pipeline.send(SHAPE.stamped(held)[FAILS:])
        # What was kept comes out of the queue on disk; of what was held the rest comes, from its first error on.
        backend.wait_whole(kept, SHAPE.names)
        backend.wait_whole(held, SHAPE.names[FAILS:])
