"""Scope of the running code: all context variables, and the active instrumentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar, Token
from typing import Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import Meter

from multiagents_otel import semconv
from multiagents_otel.core.trace_context import attach, detach, get_current, span_of


class Frame(NamedTuple):
    """Operations that the running code is inside; None for each that it is not inside.

    The classes are those of higher packages, which this module does not import.

    Attributes:
        call: the ``Call`` into an orchestrator; has a ``saga`` and a ``workflow``, once they are known.
        stage: the ``Stage`` of the orchestrator inside that call.
        sending: the ``Sending`` of a ``publish``.
        delivery: the ``Delivery`` to a handler.
        execution: the ``Execution`` of a worker.
        incoming: the raw message that a bus dispatches.
    """

    call: Any
    stage: Any
    sending: Any
    delivery: Any
    execution: Any
    incoming: Any

    def with_call(self, call: Any) -> Frame:
        """Copy the frame with another call."""
        return _frame(Frame, (call, *self[1:]))

    def with_stage(self, stage: Any) -> Frame:
        """Copy the frame with another stage."""
        return _frame(Frame, (self[0], stage, *self[2:]))

    def with_sending(self, sending: Any) -> Frame:
        """Copy the frame with another publication."""
        return _frame(Frame, (self[0], self[1], sending, *self[3:]))

    def with_delivery(self, delivery: Any) -> Frame:
        """Copy the frame with another delivery."""
        return _frame(Frame, (*self[:3], delivery, *self[4:]))

    def with_incoming(self, message: Any) -> Frame:
        """Copy the frame with another raw message."""
        return _frame(Frame, (*self[:5], message))

    def in_handler(self, delivery: Any, execution: Any = None) -> Frame:
        """Copy the frame for the code of a handler or of a worker.

        A bus may call handlers inside ``publish()``: the publisher's stage is not the handler's.
        """
        return _frame(Frame, (self[0], None, self[2], delivery, execution, self[5]))


_frame: Final = tuple.__new__  # NamedTuple's own constructor is a function of Python
NOWHERE: Final = Frame(None, None, None, None, None, None)
FRAME: Final[ContextVar[Frame]] = ContextVar("multiagents_otel_frame", default=NOWHERE)
LAST_COMMAND: Final[ContextVar[tuple[str, str] | None]] = ContextVar("multiagents_otel_last_command", default=None)
"""Id and outcome of the command whose end the framework's callbacks reported last in this task: what is published next
in this task is its result, whose event a callback does not show."""
EMITTING: Final[ContextVar[bool]] = ContextVar("multiagents_otel_emitting", default=False)
"""An ``OtelLogger`` emits a record: log processors may log too."""
LOG_TAKEN: Final[ContextVar[list[bool] | None]] = ContextVar("multiagents_otel_log_taken", default=None)
"""Inside a call of the framework's CompositeLogger: whether one of its loggers has exported the record."""


def restore(variable: ContextVar[Any], token: Token[Any]) -> bool:
    """Restore the earlier value of a variable; False if the coroutine now runs in another context, without it."""
    try:
        variable.reset(token)
    except ValueError:
        return False
    return True


class Entry:
    """Entry into a frame, into an OpenTelemetry context, or into both, from its making until :meth:`leave`.

    As a context manager it leaves on errors and on cancellation too, but not on GeneratorExit: a coroutine that the
    garbage collector closes runs in a context that is not its own.

    Entries may be left in another order than the reverse one. An eager task runs inside the handler that starts it
    until it waits for the first time; later it goes on without the handler.
    """

    __slots__ = ("_context_token", "_frame", "_token")

    def __init__(self, frame: Frame | None, context: Context | None = None) -> None:
        self._frame = frame
        self._context_token = attach(context) if context is not None else None
        self._token: Token[Frame] | None = FRAME.set(frame) if frame is not None else None

    def __enter__(self) -> Entry:
        return self

    def leave(self) -> bool:
        """Restore the earlier frame and context; False, and no change, if the coroutine now runs in another context."""
        token = self._token
        if token is not None:
            inner = FRAME.get()
            if not restore(FRAME, token):
                return False
            if inner is not self._frame:
                self._take_out_of(inner, token)
        if self._context_token is not None:
            detach(self._context_token)
        return True

    def _take_out_of(self, inner: Frame, token: Token[Frame]) -> None:
        """Keep what was entered after this entry and is not left yet."""
        outer = token.old_value if isinstance(token.old_value, Frame) else NOWHERE
        own = self._frame or NOWHERE
        fields = zip(outer, own, inner, strict=True)
        FRAME.set(Frame(*(after if mine is before else before for before, mine, after in fields)))

    def __exit__(self, kind: type[BaseException] | None, _exception: object, _traceback: object) -> None:
        if kind is None or not issubclass(kind, GeneratorExit):
            self.leave()


def transaction_id() -> str | None:
    """Return the ``workflow.transaction_id`` of the running code; None outside of every workflow.

    The frame has it, whether spans are recorded or not; else the current span may, where another library set it.
    """
    frame = FRAME.get()
    if frame.stage is not None:
        transaction = frame.stage.workflow.transaction_id
    elif (delivery := frame.execution.delivery if frame.execution is not None else frame.delivery) is not None:
        transaction = delivery.message.transaction_id
    else:
        transaction = getattr(getattr(frame.call, "saga", None) or frame.call, "transaction_id", None)
        if transaction is None and (attributes := getattr(trace.get_current_span(), "attributes", None)):
            transaction = attributes.get(semconv.TRANSACTION_ID)
    return transaction if isinstance(transaction, str) else None


def context() -> Context:
    """Return the current context; where no span is current inside a call for a workflow, the workflow's own."""
    current = get_current()
    if span_of(current).get_span_context().is_valid:
        return current
    frame = FRAME.get()
    workflow = getattr(frame.stage or frame.call, "workflow", None)
    within: Context = workflow.within(current) if workflow is not None else current
    return within


# --- the active instrumentation, for monitors -----------------------------------------------------


class Instrumentation(NamedTuple):
    """Parts of the active instrumentation that monitors read.

    Attributes:
        instruments: has its ``meter``.
        in_flight: ids of commands that this process published and that have no result yet.
        executing: worker and command id of each execution under way.
        buses: the event buses that it has seen and that are alive.
    """

    instruments: Any
    in_flight: Any
    executing: Mapping[Any, tuple[str, str | None]]
    buses: Iterable[Any]


_active: Instrumentation | None = None


def activate(instrumentation: Instrumentation | None) -> None:
    """Set the active instrumentation, or none."""
    global _active
    _active = instrumentation


def meter() -> Meter | None:
    """Return the meter of the active instrumentation's instruments."""
    found: Meter | None = _active.instruments.meter if _active is not None else None
    return found


def buses() -> list[Any]:
    """Return the event buses of the active instrumentation."""
    return list(_active.buses) if _active is not None else []


def unfinished_commands() -> int:
    """Count the commands that this process published or executes and that are not finished, each of them once."""
    if (active := _active) is None:
        return 0
    executing = list(active.executing.values())
    published: int = len(active.in_flight)
    return published + sum(command not in active.in_flight for _worker, command in executing)
