"""Many transactions over two gateways: none split, every failing one whole, of the others the share asked for."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path

from tests.sampling.backend import Backend
from tests.sampling.running import figure, gateways
from tests.support.expected import step_tree
from tests.support.services import wait_until
from tests.support.traffic import Shape, trace_ids

TRANSACTIONS = 10_000
ROOT = "workflow.order_processing INTERNAL"
HEALTHY = Shape(f"{ROOT}\n{step_tree('ship', 'ship_order')}")
FAILING = Shape(f"{ROOT} ERROR ValueError\n{step_tree('ship', 'ship_order', 'ValueError')}")
BATCH = 1_000


def test_of_10_000_transactions_every_failing_one_is_whole_and_a_tenth_of_the_others_too(tmp_path: Path) -> None:
    ids = [trace_id for trace_id, _ in zip(trace_ids(10), range(TRANSACTIONS), strict=False)]
    failing = {trace_id.hex() for trace_id in ids[::50]}
    spans = [span for trace_id in ids for span in (FAILING if trace_id.hex() in failing else HEALTHY).stamped(trace_id)]
    random.Random(10).shuffle(spans)
    with Backend() as backend, gateways(tmp_path, backend) as pipeline:
        pipeline.send(*(spans[start : start + BATCH] for start in range(0, len(spans), BATCH)))
        wait_until(
            lambda: (
                pipeline.figure("receiver_accepted_spans") == len(spans)
                and pipeline.figure("exporter_queue_size", data_type="traces") == 0
            ),
            "all spans judged, and those that are kept sent on",
        )
        backend.wait_for(lambda _: len(backend.spans) == pipeline.figure("exporter_sent_spans"))
        shares = [figure(gateway, "receiver_accepted_spans") / len(spans) for gateway in pipeline.samplers]

    got: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for span in backend.spans:
        got[span.trace_id][span.name] += 1
    assert failing <= got.keys()
    for trace_id, names in got.items():
        assert names == Counter((FAILING if trace_id in failing else HEALTHY).names)
    healthy_share = (len(got) - len(failing)) / (TRANSACTIONS - len(failing))
    assert 0.09 < healthy_share < 0.11
    assert all(0.48 < share < 0.52 for share in shares)
