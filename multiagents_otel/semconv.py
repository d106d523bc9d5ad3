"""Every name that this package emits: the one table of names.

Spans, attributes, status words, instruments with their units and buckets, log events and the
carrier's keys. The README's reference tables are checked against this module by a test, so a
name is changed here and nowhere else.

Names come, in this order, from the framework's monitoring guide (``workflow.transaction_id``,
``worker.name``, ...), from the OpenTelemetry semantic conventions (``messaging.*``, ``error.type``,
``server.*``), and only where neither has a name from the namespace ``multiagents.*``.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

SCOPE_NAME: Final = "multiagents_otel"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.37.0"
DISTRO_NAME: Final = "multiagents-otel"

OTHER: Final = "_OTHER"
"""Stands for every name beyond a limit (the conventions' word for it)."""

# --- the carrier: one reserved key at the top of an event ------------------------------------

CARRIER_KEY: Final = "_otel"
"""Reserved key at the top of an event (never in its payload) and in a saga's metadata."""

CARRIER_PUBLISHED: Final = "ts"  # publication, ns since the epoch
CARRIER_TRANSACTION: Final = "t"
CARRIER_WORKFLOW: Final = "w"
CARRIER_STEP: Final = "s"
CARRIER_ERROR_TYPE: Final = "e"  # on results: the cause's error.type, which the event does not tell
CARRIER_QUEUE_TIME: Final = "q"  # on results: seconds that the command waited for its worker
CARRIER_KEEP: Final = "k"  # true: the transaction is kept, whatever its sampling decision was

# --- attributes ------------------------------------------------------------------------------

TRANSACTION_ID: Final = "workflow.transaction_id"
WORKFLOW_ID: Final = "workflow.id"
WORKFLOW_STATUS: Final = "workflow.status"
WORKER_NAME: Final = "worker.name"
EVENT_TYPE: Final = "event.type"
STATUS: Final = "status"

STEP_NAME: Final = "multiagents.step.name"
FAILED_STEP: Final = "multiagents.workflow.failed_step"
WORKER_OUTCOME: Final = "multiagents.worker.outcome"
WORKER_TIMEOUT: Final = "multiagents.worker.timeout"
COMPENSATION_NAME: Final = "multiagents.compensation.name"
RECEIVERS: Final = "multiagents.event.receivers"
QUEUE_TIME: Final = "multiagents.event.queue_time"
COMPONENT: Final = "component"
SIGNAL: Final = "signal"
REASON: Final = "reason"
SAMPLING_KEEP: Final = "multiagents.sampling.keep"
"""True on every span of a transaction from the moment on when something in it failed, or was found to be critical."""

ERROR_TYPE: Final = "error.type"
EXCEPTION_EVENT: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

CODE_FILE: Final = "code.file.path"
CODE_LINE: Final = "code.line.number"
CODE_FUNCTION: Final = "code.function.name"

MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION: Final = "messaging.destination.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_CONVERSATION_ID: Final = "messaging.message.conversation_id"
MESSAGING_BODY_SIZE: Final = "messaging.message.body.size"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

EVENT_PAYLOAD: Final = "multiagents.event.payload"
"""JSON, cut and scrubbed; only with ``capture_content``."""
EVENT_RESULT: Final = "multiagents.event.result"
"""JSON, cut and scrubbed; only with ``capture_content``."""
REDACTED_PLACES: Final = "multiagents.redacted"
"""On a span or log record: where secrets were scrubbed (attribute keys, ``status``, ``body``, ``name``,
``events.<event>.<key>``, ``links.<key>``)."""

SERVICE_NAME: Final = "service.name"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
TELEMETRY_DISTRO_NAME: Final = "telemetry.distro.name"
TELEMETRY_DISTRO_VERSION: Final = "telemetry.distro.version"

NETWORK_IO_DIRECTION: Final = "network.io.direction"
TRANSMIT: Final = "transmit"
RECEIVE: Final = "receive"
NO_TEXTS: Final = frozenset(
    {
        TRANSACTION_ID, WORKFLOW_ID, WORKFLOW_STATUS, WORKER_NAME, EVENT_TYPE, STATUS, STEP_NAME, FAILED_STEP,
        WORKER_OUTCOME, COMPENSATION_NAME, COMPONENT, ERROR_TYPE, EXCEPTION_TYPE, MESSAGING_SYSTEM,
        MESSAGING_OPERATION_NAME, MESSAGING_OPERATION_TYPE, MESSAGING_DESTINATION, MESSAGING_MESSAGE_ID,
        MESSAGING_CONVERSATION_ID, SERVER_ADDRESS, REDACTED_PLACES, SERVER_PORT,
        RECEIVERS, QUEUE_TIME, WORKER_TIMEOUT, MESSAGING_BODY_SIZE,
    }
)  # fmt: skip
"""Attributes whose values are names, ids, words of a fixed set and numbers: no text that could hold a secret."""

# --- words -----------------------------------------------------------------------------------


class Outcome(str, Enum):
    """How a worker's execution ended (``multiagents.worker.outcome``)."""

    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class WorkflowStatus(str, Enum):
    """How a workflow ended (``workflow.status``)."""

    COMPLETED = "completed"
    FAILED = "failed"
    COMPENSATED = "compensated"
    CANCELLED = "cancelled"
    STALLED = "stalled"


SUCCESS: Final = "success"
ERROR: Final = "error"
CANCELLED: Final = "cancelled"
DELIVERED: Final = "delivered"
UNDELIVERED: Final = "undelivered"
"""Also an ``error.type``: published, and no subscriber received it."""
STALLED: Final = "stalled"
"""Also an ``error.type``: no result came within the step's timeout and the grace after it."""
TIMEOUT: Final = "timeout"
"""An ``error.type``: the framework's own timeout of a command."""

PRIORITY: Final = "priority"
"""Key of an event, or of its metadata."""
PRIORITY_BAGGAGE: Final = "multiagents.priority"
CRITICAL: Final = "critical"

SEND: Final = "send"
PROCESS: Final = "process"
DEFAULT_SYSTEM: Final = "multiagents"
REDIS_SYSTEM: Final = "redis"

COMMAND_EVENT: Final = "CommandEvent"
RESULT_EVENT: Final = "ResultEvent"
ERROR_EVENT: Final = "ErrorEvent"
COMPENSATION_EVENT: Final = "CompensationEvent"
STATUS_EVENT: Final = "StatusEvent"
EVENT: Final = "Event"

EVENT_CLASSES: Final[dict[str, str]] = {
    "command": COMMAND_EVENT,
    "result": RESULT_EVENT,
    "error": ERROR_EVENT,
    "compensation": COMPENSATION_EVENT,
    "status": STATUS_EVENT,
}
"""The framework's ``EventType`` values, and the class names that the guide counts by."""

ADDRESSED_EVENTS: Final = frozenset({COMMAND_EVENT, RESULT_EVENT, COMPENSATION_EVENT})
"""Events that somebody must receive: published to nobody they are errors."""

# --- span names ------------------------------------------------------------------------------


def workflow_span(workflow_id: str) -> str:
    """``workflow.<definition id>``, as in the guide."""
    return f"workflow.{workflow_id}"


def step_span(step: str) -> str:
    """``step.<step name>``."""
    return f"step.{step}"


def worker_span(worker: str) -> str:
    """``worker.<worker type>``, as in the guide."""
    return f"worker.{worker}"


def compensate_span(compensation: str) -> str:
    """``compensate.<compensation name>``."""
    return f"compensate.{compensation}"


# --- instruments -----------------------------------------------------------------------------

_DURATION: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
_QUEUE: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WORKFLOW: Final = (
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
)  # fmt: skip
_SIZE: Final = tuple(float(n) for n in (256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216))
_LAG: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CUSTOM: Final = (*(float(f"{step}e{decade}") for decade in range(-3, 5) for step in (1, 2.5, 5)), 1e5)
_MESSAGING: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

COUNTER: Final = "counter"
UP_DOWN_COUNTER: Final = "updowncounter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"


class Instrument(NamedTuple):
    """One row of the table of instruments."""

    name: str
    kind: str
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()


EVENTS = Instrument(
    "multiagents.events",
    COUNTER,
    "{event}",
    "Events handled in this process, by outcome; events that this process published and that failed or reached nobody.",
    (EVENT_TYPE, STATUS),
)
EVENT_DURATION = Instrument(
    "multiagents.event.duration",
    HISTOGRAM,
    "s",
    "Time from an event's publication until its last handler in this process was done.",
    (EVENT_TYPE,),
    _DURATION,
)
EVENT_QUEUE_TIME = Instrument(
    "multiagents.event.queue_time",
    HISTOGRAM,
    "s",
    "Time from a command's publication until a worker process picked it up.",
    (WORKER_NAME,),
    _QUEUE,
)
EVENTS_UNDELIVERED = Instrument(
    "multiagents.events.undelivered",
    COUNTER,
    "{event}",
    "Commands, results and compensations that were published and that no subscriber received.",
    (EVENT_TYPE, WORKER_NAME),
)
EVENTS_STALE = Instrument(
    "multiagents.events.stale",
    COUNTER,
    "{event}",
    "Results that no step of a workflow was waiting for: late, doubled, or of another orchestrator.",
    (WORKER_NAME,),
)
EVENTS_PUBLISH_ERRORS = Instrument(
    "multiagents.events.publish_errors",
    COUNTER,
    "{event}",
    "Events whose publication raised.",
    (EVENT_TYPE, ERROR_TYPE),
)
COMMANDS_DUPLICATED = Instrument(
    "multiagents.commands.duplicated",
    COUNTER,
    "{command}",
    "Commands that reached more than one receiver: each of them runs the command.",
    (WORKER_NAME,),
)
EVENTS_IN_FLIGHT = Instrument(
    "multiagents.events.in_flight",
    UP_DOWN_COUNTER,
    "{event}",
    "Commands that this process published, that were delivered and that are not answered yet.",
    (WORKER_NAME,),
)
EVENT_SIZE = Instrument(
    "multiagents.event.size",
    HISTOGRAM,
    "By",
    "Size of a published event as serialised, without this package's carrier.",
    (EVENT_TYPE,),
    _SIZE,
)
LISTENER_ACTIVE = Instrument(
    "multiagents.event_bus.listener.active",
    GAUGE,
    "",
    "1 while the listener task of every started event bus of this process lives, else 0.",
)
WORKER_EXECUTIONS = Instrument(
    "multiagents.worker.executions",
    COUNTER,
    "{execution}",
    "Executions of a worker that ended.",
    (WORKER_NAME, STATUS),
)
WORKER_ERRORS = Instrument(
    "multiagents.worker.errors",
    COUNTER,
    "{error}",
    "Executions of a worker that failed, by the class of the cause.",
    (WORKER_NAME, ERROR_TYPE),
)
WORKER_DURATION = Instrument(
    "multiagents.worker.duration",
    HISTOGRAM,
    "s",
    "Time that a worker's execution took.",
    (WORKER_NAME,),
    _DURATION,
)
WORKER_ACTIVE = Instrument(
    "multiagents.worker.active",
    UP_DOWN_COUNTER,
    "{execution}",
    "Executions of a worker under way.",
    (WORKER_NAME,),
)
WORKER_HEALTH = Instrument(
    "multiagents.worker.health",
    GAUGE,
    "",
    "Health of a worker as a WorkerMonitor of this process sees it: 0 healthy, 1 degraded, 2 failed.",
    (WORKER_NAME,),
)
WORKFLOWS_STARTED = Instrument(
    "multiagents.workflows.started",
    COUNTER,
    "{workflow}",
    "Workflows that this process started.",
    (WORKFLOW_ID,),
)
WORKFLOWS = Instrument(
    "multiagents.workflows",
    COUNTER,
    "{workflow}",
    "Workflows that ended in this process, by status; one that ends after it stalled counts as both.",
    (WORKFLOW_ID, STATUS),
)
WORKFLOW_DURATION = Instrument(
    "multiagents.workflow.duration",
    HISTOGRAM,
    "s",
    "Time from a workflow's start to its end, whichever processes it ran in.",
    (WORKFLOW_ID, STATUS),
    _WORKFLOW,
)
WORKFLOW_STALLS = Instrument(
    "multiagents.workflow.stalls",
    COUNTER,
    "{workflow}",
    "Workflows that were found unable to go on: a command, a result or a compensation was lost.",
    (WORKFLOW_ID,),
)
WORKFLOWS_STALLED = Instrument(
    "multiagents.workflows.stalled",
    GAUGE,
    "{workflow}",
    "Stalled workflows of this process that have not ended after all.",
    (WORKFLOW_ID,),
)
ACTIVE_WORKFLOWS = Instrument(
    "multiagents.active_workflows",
    GAUGE,
    "{workflow}",
    "Workflows that this process holds, adopted ones included.",
    (WORKFLOW_ID,),
)
STEP_DURATION = Instrument(
    "multiagents.step.duration",
    HISTOGRAM,
    "s",
    "Time from before a step's command was published until its result was recorded.",
    (WORKFLOW_ID, STEP_NAME),
    _DURATION,
)
COMPENSATIONS = Instrument(
    "multiagents.compensations",
    COUNTER,
    "{compensation}",
    "Compensations requested, and whether anybody received the request.",
    (WORKFLOW_ID, STATUS),
)
SYSTEM_CPU = Instrument(
    "multiagents.system.cpu",
    GAUGE,
    "%",
    "CPU of the machine in use since the last collection, of all its cores.",
)
SYSTEM_MEMORY = Instrument("multiagents.system.memory", GAUGE, "%", "Memory of the machine in use.")
SYSTEM_DISK = Instrument(
    "multiagents.system.disk",
    GAUGE,
    "%",
    "Space in use on the root file system, as a MetricsCollector that is on last saw it.",
)
SYSTEM_NETWORK_IO = Instrument(
    "multiagents.system.network.io",
    COUNTER,
    "By",
    "Bytes through the machine's network interfaces, while a MetricsCollector is on.",
    (NETWORK_IO_DIRECTION,),
)
REDIS_CONNECTIONS = Instrument(
    "multiagents.redis.connections",
    GAUGE,
    "{connection}",
    "Clients of the Redis servers in use, as a MetricsCollector that is on last saw them.",
)
PROCESS_RUNNING = Instrument(
    "multiagents.process.running",
    GAUGE,
    "",
    "1, and 0 in the last export of a process that ends in order (not killed, and not by an exception), while all "
    "its event loops are closed, and while the framework is no longer instrumented.",
)
EVENT_LOOP_LAG = Instrument(
    "multiagents.event_loop.lag",
    HISTOGRAM,
    "s",
    "How late an event loop calls what is due, probed once a second.",
    (),
    _LAG,
)
OTEL_ERRORS = Instrument(
    "multiagents.otel.errors",
    COUNTER,
    "{error}",
    "Faults inside multiagents_otel, caught before they reached the application.",
    (COMPONENT,),
)
OTEL_DROPPED = Instrument(
    "multiagents.otel.dropped",
    COUNTER,
    "{item}",
    "Spans, log records and data points that were recorded and not exported.",
    (SIGNAL, REASON),
)
QUEUE_FULL: Final = "queue_full"
"""The queue of a batch processor discarded its oldest item."""
EXPORT_FAILED: Final = "export_failed"
"""The exporter gave a batch up, after its own retries."""
REJECTED: Final = "rejected"
"""The backend accepted a request and rejected a part of it (OTLP's ``partial_success``)."""
SHUTDOWN: Final = "shutdown"
"""Still queued when the pipeline was shut down, or recorded after that."""

INSTRUMENTS: Final[tuple[Instrument, ...]] = (
    EVENTS,
    EVENT_DURATION,
    EVENT_QUEUE_TIME,
    EVENTS_UNDELIVERED,
    EVENTS_STALE,
    EVENTS_PUBLISH_ERRORS,
    COMMANDS_DUPLICATED,
    EVENTS_IN_FLIGHT,
    EVENT_SIZE,
    LISTENER_ACTIVE,
    WORKER_EXECUTIONS,
    WORKER_ERRORS,
    WORKER_DURATION,
    WORKER_ACTIVE,
    WORKER_HEALTH,
    WORKFLOWS_STARTED,
    WORKFLOWS,
    WORKFLOW_DURATION,
    WORKFLOW_STALLS,
    WORKFLOWS_STALLED,
    ACTIVE_WORKFLOWS,
    STEP_DURATION,
    COMPENSATIONS,
    SYSTEM_CPU,
    SYSTEM_MEMORY,
    SYSTEM_DISK,
    SYSTEM_NETWORK_IO,
    REDIS_CONNECTIONS,
    PROCESS_RUNNING,
    EVENT_LOOP_LAG,
    OTEL_ERRORS,
    OTEL_DROPPED,
)

CUSTOM_BOUNDARIES: Final = _CUSTOM


def custom_metric(name: str) -> str:
    """``multiagents.custom.<name>``: the histogram of a user's own metric."""
    return f"multiagents.custom.{name}"


# The conventions' messaging instruments, off by default (``messaging_metrics=True``).
_MESSAGING_ATTRIBUTES: Final = (MESSAGING_OPERATION_NAME, MESSAGING_SYSTEM, MESSAGING_DESTINATION, ERROR_TYPE)
MESSAGING_PROCESS_DURATION = Instrument(
    "messaging.process.duration",
    HISTOGRAM,
    "s",
    "Duration of processing operation.",
    _MESSAGING_ATTRIBUTES,
    _MESSAGING,
)
MESSAGING_OPERATION_DURATION = Instrument(
    "messaging.client.operation.duration",
    HISTOGRAM,
    "s",
    "Duration of messaging operation initiated by a producer or consumer client.",
    (*_MESSAGING_ATTRIBUTES, MESSAGING_OPERATION_TYPE),
    _MESSAGING,
)
MESSAGING_SENT = Instrument(
    "messaging.client.sent.messages",
    COUNTER,
    "{message}",
    "Number of messages producer attempted to send to the broker.",
    _MESSAGING_ATTRIBUTES,
)
MESSAGING_CONSUMED = Instrument(
    "messaging.client.consumed.messages",
    COUNTER,
    "{message}",
    "Number of messages that were delivered to the application.",
    _MESSAGING_ATTRIBUTES,
)
MESSAGING_INSTRUMENTS: Final = (
    MESSAGING_PROCESS_DURATION,
    MESSAGING_OPERATION_DURATION,
    MESSAGING_SENT,
    MESSAGING_CONSUMED,
)

# --- log events ------------------------------------------------------------------------------

LOG_WORKFLOW_STARTED: Final = "multiagents.workflow.started"
LOG_WORKFLOW_STALLED: Final = "multiagents.workflow.stalled"
LOG_WORKFLOW_RECOVERED: Final = "multiagents.workflow.recovered"
"""A workflow that had been reported as stalled ended after all."""
