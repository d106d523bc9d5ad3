"""The alerts that the scenarios have to bring about, with what their messages say."""

from __future__ import annotations

from typing import Final, NamedTuple


class Expected(NamedTuple):
    """An alert that has to come."""

    rule: str
    severity: str
    labels: str
    """The subject, as Prometheus selects it."""
    subject: str
    """The subject, as the message names it."""
    says: str
    """The number in the message: a regular expression; what it finds lies between the other two."""
    least: float
    most: float


SILENT_FOR: Final = r"no sign of life for ([\d.]+)s"
WHILE_BROKEN: Final = (
    Expected(
        "MultiAgentsWorkerHighErrorRate",
        "warning",
        'worker_name="flaky_worker"',
        "worker flaky_worker",
        r"([\d.]+) % of the executions",
        10,
        60,
    ),
    Expected(
        "MultiAgentsHighErrorRate",
        "warning",
        'job="crew"',
        "crew: many CommandEvents",
        r"([\d.]+) % of the CommandEvents",
        10,
        60,
    ),
    Expected("MultiAgentsErrorSpike", "error", 'job="crew"', "crew: a spike", r"(\d+) events of crew failed", 11, 60),
    Expected(
        "MultiAgentsSuccessFastBurn",
        "critical",
        'workflow_id="flaky"',
        "workflows flaky",
        r"([\d.]+)% of the workflows flaky",
        14.4,
        60,
    ),
    Expected(
        "MultiAgentsSlowWorker", "warning", 'worker_name="slow_worker"', "worker slow_worker", r"is ([\d.]+)s", 2, 5
    ),
    Expected(
        "MultiAgentsSlowWorkflow",
        "warning",
        'workflow_id="slow"',
        "workflow slow",
        r"(\d+) run\(s\) of workflow slow",
        1,
        60,
    ),
    Expected(
        "MultiAgentsCommandsDuplicated",
        "error",
        'worker_name="replicated_worker"',
        "worker replicated_worker",
        r"(\d+) command\(s\)",
        1,
        60,
    ),
    Expected(
        "MultiAgentsStaleResults",
        "warning",
        'worker_name="replicated_worker"',
        "worker replicated_worker",
        r"(\d+) result\(s\)",
        1,
        60,
    ),
    Expected(
        "MultiAgentsWorkerFailed",
        "error",
        'worker_name="failed_worker"',
        "worker failed_worker",
        r"see it so: (\d+)",
        1,
        1,
    ),
    Expected("MultiAgentsProcessSilent", "error", 'job="failed"', "failed: a process", SILENT_FOR, 12, 30),
    Expected("MultiAgentsProcessSilent", "error", 'job="killed"', "killed: a process", SILENT_FOR, 12, 30),
)
"""What lasts until it is mended."""
AFTERWARDS: Final = (
    Expected(
        "MultiAgentsEventsUndelivered",
        "error",
        'worker_name="missing_worker"',
        "worker missing_worker",
        r"(\d+) CommandEvent\(s\)",
        3,
        3,
    ),
    Expected(
        "MultiAgentsWorkflowsStalled",
        "error",
        'workflow_id="missing"',
        "workflows missing",
        r"(\d+) run\(s\) of workflow missing",
        3,
        3,
    ),
    Expected(
        "MultiAgentsWorkflowsStalled",
        "error",
        'workflow_id="stalling"',
        "workflows stalling",
        r"(\d+) run\(s\) of workflow stalling",
        1,
        1,
    ),
)
"""What has happened, and fires for a while."""
ALL: Final = WHILE_BROKEN + AFTERWARDS
