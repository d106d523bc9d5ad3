"""One end for each workflow where several orchestrators of a definition see it: the owner's, or the first claim's.

Redis delivers a result to every subscriber, so two orchestrators on the same channels (two web workers are enough)
both bring each workflow to its end. The one that started a workflow owns it: its instance id stands in the saga. The
others wait for the owner, and record the end only if nothing has claimed it in the state store by then.

A claim is a key of its own, which Redis sets once (``SET NX``). It can't stand in the saga: the orchestrators overwrite
each other's saga, and a mark in it would be lost with every second save. A process that is alone on its channels claims
nothing; where Redis does not say whether it is, the process claims all the same. A store that is not Redis can't tell:
there every process records what it sees.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

from opentelemetry.context import Context

from multiagents_otel import semconv
from multiagents_otel.core.bounded import BoundedMap
from multiagents_otel.semconv import WorkflowStatus
from multiagents_otel.telemetry.background import Background
from multiagents_otel.telemetry.failure import Failure
from multiagents_otel.telemetry.in_flight import running_loop
from multiagents_otel.telemetry.subscribers import client_of, subscribers

if TYPE_CHECKING:
    from multiagents_otel.telemetry.core import Telemetry
    from multiagents_otel.telemetry.workflow import Workflow

_logger = logging.getLogger("multiagents_otel")

_CLAIM: Final = "multiagents_otel:ended:"
_CLAIM_SECONDS: Final = 3600
"""An orchestrator may see an end long after another one: it may have executed the last steps again."""
_CAPACITY: Final = 10_000
_SHORTEST_INTERVAL: Final = 0.5
_LONGEST_INTERVAL: Final = 2.5
_HANDLED: Final = 200


class End(NamedTuple):
    """A workflow's end as this process has seen it."""

    workflow: Workflow
    status: WorkflowStatus
    failure: Failure | None
    seconds: float
    end_ns: int
    measured: bool
    context: Context


class _Peers:
    """What is known of the other orchestrators of one definition.

    Attributes:
        several: there is another one, as Redis last said, or Redis has not answered.
        shared_until: until then (monotonic seconds) ends are claimed also where this process is alone: commands and
            sagas that another one has left may bring a workflow to its end again.
        asked: when Redis was last asked (monotonic seconds).
        scheduled: it will be asked again.
        unclaimed: transactions that ended here while no other one was known of.
        results: by worker, results of other processes' workflows that were handled here since Redis was asked.
    """

    __slots__ = ("asked", "results", "scheduled", "several", "shared_until", "unclaimed")

    def __init__(self) -> None:
        self.several = False
        self.shared_until = float("-inf")
        self.asked = float("-inf")
        self.scheduled = False
        self.unclaimed: dict[str, None] = {}
        self.results: dict[str, int] = {}


class Ends:
    """Decides which ends this process records.

    Args:
        telemetry: what is recorded with.
        background: runs what asks Redis.
        record: records an end; called once for each that this process has to record, now or later.
    """

    def __init__(self, telemetry: Telemetry, background: Background, record: Callable[[End], None]) -> None:
        self._telemetry = telemetry
        self._background = background
        self._record = record
        grace = telemetry.options.stall_grace
        self._interval = min(max(grace / 4, _SHORTEST_INTERVAL), _LONGEST_INTERVAL)
        self._wait = max(grace, 4 * self._interval)
        self._peers: BoundedMap[str, _Peers] = BoundedMap(_HANDLED)
        self._pending: dict[str, End] = {}
        self._handled: BoundedMap[str, int] = BoundedMap(_HANDLED)
        self.instance = uuid4().hex

    def clear(self) -> None:
        """Forget everything; in a forked child this is another instance."""
        for known in (self._peers, self._pending, self._handled):
            known.clear()
        self.instance = uuid4().hex

    # --- a workflow's start and end --------------------------------------------------------------

    def started(self, workflow: Workflow) -> None:
        """Take note of a workflow of this process."""
        workflow.owner = self.instance
        self._look(workflow.workflow_id, workflow.orchestrator())

    def settle(self, end: End) -> None:
        """Record an end, now or when no other process has."""
        workflow = end.workflow
        orchestrator = workflow.orchestrator()
        store = _client(orchestrator, "state_store")
        own = self._owns(workflow.owner)
        if store is None or running_loop() is None or len(self._pending) >= _CAPACITY:
            self._record(end)
            return
        peers = self._peers_of(workflow.workflow_id)
        if own and not peers.several and time.monotonic() > peers.shared_until:
            self._record(end)
            if len(peers.unclaimed) < _CAPACITY and _client(orchestrator, "event_bus") is not None:
                peers.unclaimed[workflow.transaction_id] = None
            self._look(workflow.workflow_id, orchestrator)
            return
        self._pending[workflow.transaction_id] = end
        if not self._background.run(self._decide(end, orchestrator, store, own=own), "workflow"):
            self._decided(end, recorded=True)

    def _owns(self, owner: object) -> bool:
        return owner is None or owner == self.instance

    async def _decide(self, end: End, orchestrator: Any, store: Any, *, own: bool) -> None:
        peers = self._peers_of(end.workflow.workflow_id)
        if not own:
            try:
                if time.monotonic() - peers.asked > self._interval:
                    await self._ask(peers, orchestrator)
            except asyncio.CancelledError:  # the loop is being closed
                self._decided(end, recorded=not peers.several)
                raise
            if peers.several:
                loop = asyncio.get_running_loop()
                loop.call_later(self._wait, self._claim_later, end, store, context=contextvars.Context())
                return
        await self._claim(end, store, otherwise=own or not peers.several)

    def _claim_later(self, end: End, store: Any) -> None:
        if self._pending.get(end.workflow.transaction_id) is end:
            self._background.run(self._claim(end, store, otherwise=False), "workflow")

    async def _claim(self, end: End, store: Any, *, otherwise: bool) -> None:
        """Claim an end in the store and record it, if no other process has claimed it.

        Args:
            end: the end.
            store: the state store's Redis client.
            otherwise: whether to record it when the store can't be asked, or the loop is being closed.
        """
        recorded = otherwise
        try:
            claimed = await _set_claim(store, end.workflow.transaction_id, self.instance)
            recorded = otherwise if claimed is None else claimed
        finally:
            self._decided(end, recorded=recorded)

    def _decided(self, end: End, *, recorded: bool) -> None:
        if self._pending.pop(end.workflow.transaction_id, None) is end and recorded:
            try:
                self._record(end)
            except Exception:
                self._telemetry.guard.caught("workflow")
        end.workflow.saga = end.workflow.recorded_exception = None  # the application's

    # --- results that several orchestrators handle -----------------------------------------------

    def handled(self, orchestrator: Any, owner: object, workflow_id: str, worker: str, result_id: str | None) -> None:
        """Take note of a result that an orchestrator here handles, and another one perhaps too."""
        label = self._telemetry.ledger.worker(worker)
        if self._owns(owner):
            # Another orchestrator of the definition in this process?
            if result_id is None:
                return
            if self._handled.setdefault(result_id, id(orchestrator)) != id(orchestrator):
                self._duplicated(label, 1)
            return
        peers = self._peers_of(workflow_id)
        peers.results[label] = peers.results.get(label, 0) + 1
        self._look(workflow_id, orchestrator)

    def _duplicated(self, worker: str, count: int) -> None:
        self._telemetry.ledger.add(semconv.RESULTS_DUPLICATED, (worker,), count)
        self._telemetry.warn_once(
            "results duplicated",
            "results reach more than one orchestrator (worker %r first): pub/sub delivers to every subscriber, so each "
            "of them executes the next step, and steps run twice; run one orchestrator process for each workflow "
            "definition, for example one web worker",
            worker,
        )

    # --- other orchestrators ---------------------------------------------------------------------

    def _peers_of(self, workflow_id: str) -> _Peers:
        peers = self._peers.get(workflow_id)
        if peers is None:
            peers = self._peers[workflow_id] = _Peers()
        return peers

    def _look(self, workflow_id: str, orchestrator: Any) -> None:
        """Ask Redis for other orchestrators, in the background and not before the interval has passed."""
        loop = running_loop()
        if loop is None or _client(orchestrator, "event_bus") is None:
            return
        peers = self._peers_of(workflow_id)
        delay = peers.asked + self._interval - time.monotonic()
        if delay <= 0:
            peers.scheduled = False
            self._background.run(self._ask(peers, orchestrator), "workflow")
        elif not peers.scheduled and (peers.unclaimed or peers.results):
            with suppress(TypeError):  # no weak references to it
                # Weakly: the timer must not keep what the application has dropped.
                ref = weakref.ref(orchestrator)
                loop.call_later(delay, self._look_again, peers, ref, context=contextvars.Context())
                peers.scheduled = True

    def _look_again(self, peers: _Peers, ref: Callable[[], Any]) -> None:
        orchestrator = ref()
        if peers.scheduled and orchestrator is not None:
            self._background.run(self._ask(peers, orchestrator), "workflow")
        peers.scheduled = False

    async def _ask(self, peers: _Peers, orchestrator: Any) -> None:
        peers.asked = time.monotonic()
        unclaimed, results = list(peers.unclaimed), peers.results
        peers.results = {}
        counts: dict[str, int] | None = {}
        if (client := _client(orchestrator, "event_bus")) is not None:
            prefix = getattr(orchestrator.event_bus, "channel_prefix", "")
            steps = orchestrator.workflow.get_steps()
            counts = await subscribers(client, {f"{prefix}result.{step.worker_type}" for step in steps})
        # An orchestrator of another definition may share some of the workers, and hardly all of them.
        # Where Redis does not answer, or must not, there may be others: a claim decides then too.
        peers.several = counts is None or (bool(counts) and min(counts.values()) > 1)
        if peers.several:
            peers.shared_until = time.monotonic() + _CLAIM_SECONDS
        for transaction_id in [*peers.unclaimed] if peers.several else unclaimed:
            store = _client(orchestrator, "state_store") if peers.several else None
            if store is not None and await _set_claim(store, transaction_id, self.instance) is None:
                break  # Redis is out of reach; the next question tries again
            peers.unclaimed.pop(transaction_id, None)
        if counts is not None and peers.several:
            for worker, count in results.items():
                self._duplicated(worker, count)


def _client(orchestrator: Any, part: str) -> Any:
    """Return the Redis client of an orchestrator's bus or store, while the orchestrator runs."""
    running = getattr(orchestrator, "_running", True)
    return client_of(getattr(orchestrator, part, None)) if running else None


async def _set_claim(store: Any, transaction_id: str, instance: str) -> bool | None:
    """Return whether this process has claimed an end; None where Redis is out of reach, or refuses."""
    try:
        return bool(await store.set(f"{_CLAIM}{transaction_id}", instance, nx=True, ex=_CLAIM_SECONDS))
    except Exception:
        _logger.debug("the end of a workflow could not be claimed", exc_info=True)
        return None
