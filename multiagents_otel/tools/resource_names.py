"""Short names for the processes that telemetry comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from multiagents_otel.tools.otlp_values import as_text
from multiagents_otel.tools.records import Resource


def short_names(resources: Iterable[Resource], least: int) -> dict[Resource, str]:
    """Return a name for each of the processes of one service, no two alike; empty if there is one process alone.

    It is the start of the instance's id, at least ``least`` characters of it. Where ids are missing or the same, it is
    the attributes that tell the processes apart.
    """
    found = sorted(set(resources), key=lambda entry: (entry.instance, repr(entry.attributes)))
    if len(found) < 2:
        return dict.fromkeys(found, "")
    instances = [entry.instance for entry in found]
    if not all(instances) or len(set(instances)) < len(instances):
        return {resource: _differences(resource, found) for resource in found}
    return {resource: resource.instance[: _unique_size(resource.instance, instances, least)] for resource in found}


def _unique_size(instance: str, instances: list[str], least: int) -> int:
    size = least
    while size < len(instance) and sum(other.startswith(instance[:size]) for other in instances) > 1:
        size += 1
    return size


def _differences(resource: Resource, resources: list[Resource]) -> str:
    shared = Counter(f"{key}={as_text(value)}" for entry in resources for key, value in entry.attributes.items)
    own = [f"{key}={as_text(value)}" for key, value in resource.attributes.items]
    different = [text for text in own if shared[text] < len(resources)]
    # One attribute does where no other process has the same value.
    return next((text for text in different if shared[text] == 1), " ".join(different)) or "without attributes"
