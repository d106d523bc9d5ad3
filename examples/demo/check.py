"""Whether what has arrived is what the demo should show."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOTS = [
    ("workflow.order_processing", "completed"),
    ("workflow.order_processing", "compensated"),
    ("workflow.gift_order", "stalled"),
]
SERVICES = {"shop", "warehouse"}


def faults(folder: Path) -> list[str]:
    """What is wrong; nothing if every order is one whole trace of both processes, and the metrics agree."""
    traces = defaultdict(list)
    for service, span in spans(folder):
        traces[span["traceId"]].append((service, span))
    found = [] if len(traces) == len(ROOTS) else [f"{len(traces)} traces, not {len(ROOTS)}"]
    roots = []
    for trace_id, members in traces.items():
        known = {span["spanId"] for _, span in members}
        tops = [span for _, span in members if not span.get("parentSpanId")]
        roots += tops
        if len(tops) != 1:
            found.append(f"trace {trace_id} has {len(tops)} roots")
        if orphans := [span["name"] for _, span in members if span.get("parentSpanId", "") not in {"", *known}]:
            found.append(f"trace {trace_id} has spans without their parent: {', '.join(orphans)}")
        if missing := SERVICES - {service for service, _ in members}:
            found.append(f"trace {trace_id} has no span of {', '.join(missing)}")
    roots.sort(key=lambda span: int(span["startTimeUnixNano"]))
    ends = [(span["name"], attributes(span)["workflow.status"]) for span in roots]
    if ends != ROOTS:
        found.append(f"the workflows ended as {ends}")
    counted = workflows_by_status(folder)
    if counted != {status: 1 for _, status in ROOTS}:
        found.append(f"the metrics count the workflows as {counted}")
    return found


def spans(folder: Path) -> Iterator[tuple[str, dict]]:
    """Each span with the name of its service."""
    for resource, scope in scopes(folder / "traces.jsonl", "resourceSpans", "scopeSpans"):
        for span in scope["spans"]:
            yield attributes(resource)["service.name"], span


def workflows_by_status(folder: Path) -> dict[str, int]:
    """The last values of `multiagents.workflows`, without those that are 0."""
    counts = {}
    for _, scope in scopes(folder / "metrics.jsonl", "resourceMetrics", "scopeMetrics"):
        for metric in scope["metrics"]:
            if metric["name"] == "multiagents.workflows":
                for point in metric["sum"]["dataPoints"]:
                    key = tuple(sorted(attributes(point).items()))
                    counts[key] = int(point["asInt"])
    by_status = defaultdict(int)
    for key, count in counts.items():
        by_status[dict(key)["status"]] += count
    return {status: count for status, count in by_status.items() if count}


def scopes(file: Path, resources: str, scoped: str) -> Iterator[tuple[dict, dict]]:
    """Each scope of a file with its resource."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for line in lines:
        for part in json.loads(line).get(resources, ()):
            for scope in part[scoped]:
                yield part["resource"], scope


def attributes(of: dict) -> dict:
    """OTLP's list of attributes as a dict."""
    return {pair["key"]: next(iter(pair["value"].values()), None) for pair in of.get("attributes", ())}
