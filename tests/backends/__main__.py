"""`make backend-check`: the demo's orders, on every way to a backend that is not ours, and what it has of them then.

Over both OTLP protocols, directly and through the Collector. What each way has brought is compared with what a receiver
of OTLP was sent: every transaction whole, span for span. With `--picture FILE` the backend's own page of a transaction
is photographed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.backends.phoenix import PROJECT, Phoenix, Span, photograph, shapes
from tests.support.collectors import collector
from tests.support.processes import REPOSITORY, Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer
from tests.support.services import wait_until

DEMO: Final = REPOSITORY / "examples" / "demo"
ENDS: Final = [
    ("workflow.gift_order", "stalled"),
    ("workflow.order_processing", "compensated"),
    ("workflow.order_processing", "completed"),
]
EXPORTERS: Final = {"http/protobuf": "otlp_http", "grpc": "otlp_grpc"}


def main() -> int:
    """Run the check, and return its exit status: 0 if every transaction is whole on every way."""
    parser = argparse.ArgumentParser(prog="make backend-check", description=__doc__)
    parser.add_argument("--picture", metavar="FILE", type=Path, help="photograph a transaction's page (needs Chromium)")
    args = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory() as folder, RedisServer() as redis, Phoenix(Path(folder, "phoenix")) as phoenix:
        sent = reference(redis)
        print(
            f"the demo makes {len(sent)} spans in {sum(shapes(sent).values())} transactions; Phoenix at {phoenix.url}"
        )
        for protocol in EXPORTERS:
            for through in ("direct", "collector"):
                project = f"{through}-{EXPORTERS[protocol].removeprefix('otlp_')}"
                with way(phoenix, protocol, through, Path(folder, project)) as environment:
                    order(redis, {**environment, "OTEL_RESOURCE_ATTRIBUTES": f"{PROJECT}={project}"})
                    wrong = differences(arrived(phoenix, project, len(sent)), sent)
                faults += len(wrong)
                print(f"{project:16}", "; ".join(wrong) or f"{len(sent)} spans, every transaction whole", flush=True)
        if args.picture:
            photograph(phoenix, "collector-grpc", args.picture)
            print(f"wrote {args.picture}")
    return 1 if faults else 0


@contextmanager
def way(phoenix: Phoenix, protocol: str, through: str, folder: Path) -> Iterator[dict[str, str]]:
    """What a process must have in its environment for its telemetry to go this way."""
    endpoint = phoenix.endpoints[protocol]
    if through == "direct":
        yield {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        return
    backend = {"BACKEND_EXPORTER": EXPORTERS[protocol], "BACKEND_ENDPOINT": endpoint}
    with collector(folder, env=backend) as running:
        yield running.environment(protocol)


def order(redis: RedisServer, environment: Mapping[str, str]) -> None:
    """Run the demo's two processes until all orders have ended."""
    # Phoenix takes traces alone.
    common = {"REDIS_URL": redis.url, "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none", **environment}
    with Process.python(DEMO / "warehouse.py", env={**common, "OTEL_SERVICE_NAME": "warehouse"}) as warehouse:
        wait_until(lambda: warehouse.lines, "the warehouse is open")
        with Process.python(DEMO / "shop.py", env={**common, "OTEL_SERVICE_NAME": "shop"}) as shop:
            shop.wait_ok(120)
        warehouse.terminate()


def reference(redis: RedisServer) -> list[Span]:
    """The demo's spans as a receiver of OTLP gets them."""
    with OtlpReceiver() as receiver:
        order(redis, receiver.environment("grpc"))
        return [
            Span(span.trace_id, span.span_id, span.parent_id or None, span.name, dict(span.attributes))
            for span in receiver.spans
        ]


def arrived(phoenix: Phoenix, project: str, count: int) -> list[Span]:
    """The project's spans, once there are so many, or after a while those that there are."""
    try:
        wait_until(lambda: len(phoenix.spans(project)) >= count, f"{count} spans in {project}")
    except AssertionError as error:
        print(error)
    return phoenix.spans(project)


def differences(found: list[Span], sent: list[Span]) -> list[str]:
    """What is not as it was sent, in words."""
    wrong = [f"{len(found)} spans"] if len(found) != len(sent) else []
    if found_shapes := shapes(found):
        missing, extra = shapes(sent) - found_shapes, found_shapes - shapes(sent)
        wrong += (
            [f"{sum(missing.values())} transactions that are not as they were sent: {dict(extra)}"] if missing else []
        )
    ends = sorted((span.name, str(span.attributes.get("workflow.status"))) for span in found if not span.parent)
    return wrong if ends == ENDS else [*wrong, f"the transactions ended as {ends}"]


if __name__ == "__main__":
    sys.exit(main())
