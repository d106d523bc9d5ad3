"""What is written into sagas and onto the wire: JSON that any strict reader and any store accepts."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, IntEnum
from typing import Any

import pytest
from multiagents.core.saga_context import SagaContext
from multiagents.orchestrator.orchestrator import Orchestrator
from multiagents.orchestrator.workflow import WorkflowBuilder
from multiagents.worker_sdk.decorators import worker
from multiagents.worker_sdk.worker_manager import WorkerManager
from opentelemetry import baggage, context, propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import TraceState

from tests.contract.observed import Observed
from tests.contract.test_survival import handed_over, merged
from tests.support.badinput import HUGE, SURROGATE
from tests.support.buses import MemoryBus, MemoryStore
from tests.support.sagas import SilentLogger, order_system


class Text(str):
    """A string type of the application's, that neither a strict reader nor another process knows."""


class Tier(str, Enum):
    GOLD = "gold"


class Level(IntEnum):
    HIGH = 3


class Real(float):
    """As numpy's float64 is one."""


class Lazy(Sequence[Any]):
    """A sequence that fails when it is read."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: Any) -> Any:
        raise RuntimeError("not loaded")


class Opaque:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
DEEP: Any = "x"
for _ in range(5_000):
    DEEP = [DEEP]


class Stated(Sampler):
    """Samples, with attributes and a trace state of the test's."""

    def __init__(self, attributes: Mapping[Any, Any] | None = None, state: Any = None) -> None:
        self.attributes = attributes or {}
        self.state = state

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        *_: Any,
        **__: Any,
    ) -> SamplingResult:
        state = self.state if name.startswith("workflow.") else None
        return SamplingResult(Decision.RECORD_AND_SAMPLE, {**(attributes or {}), **self.attributes}, state)

    def get_description(self) -> str:
        return "Stated"


def strict(value: object, depth: int = 0) -> int:
    """Check that a value is JSON of builtin types that every reader accepts, and return its size."""
    assert depth < 5
    if isinstance(value, dict):
        assert all(type(key) is str and key.encode() for key in value)
        return sum(len(key) + strict(item, depth + 1) for key, item in value.items())
    if isinstance(value, list):
        return sum(strict(item, depth + 1) for item in value)
    assert type(value) in (str, int, float, bool, type(None)), repr(type(value))
    if isinstance(value, int):
        assert -(1 << 63) <= value < 1 << 63
    return len(json.dumps(value, allow_nan=False).encode("utf-8", "strict")) + len(str(value).encode())


class PicklingStore(MemoryStore):
    """Keeps contexts pickled, as stores do whose author never thought of JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.pickled: dict[str, bytes] = {}

    async def save_context(self, context: SagaContext) -> None:
        self.pickled[context.transaction_id] = pickle.dumps(context)
        strict(context.metadata)
        await super().save_context(context)


class StrictStore(MemoryStore):
    """Refuses what JSON does not have, as a database's JSON column does."""

    async def save_context(self, context: SagaContext) -> None:
        assert strict(context.metadata) < 40_000
        await super().save_context(context)


async def order_is_exported(observed: Observed, store: MemoryStore | None = None) -> dict[str, Any]:
    """Run an order, check all that was saved and sent, and return the attributes of the one root."""
    observed.instrument()
    bus, store = MemoryBus(), store or StrictStore()
    async with order_system(bus, store, monitors=False) as system:
        transaction = await system.run()
        await bus.drain()
        assert (await system.orchestrator.get_status(transaction))["state"] == "completed"
    for message in bus.wire:
        assert strict(message.event.get("_otel", {})) < 40_000
    strict(json.loads(store.rows[transaction])["metadata"])
    root = observed.root()
    assert root.name == "workflow.order_processing"
    assert len(observed.spans) == 19
    return dict(root.attributes)


VALUES: dict[str, Any] = {
    "bytes": b"tenant-7",
    "bytearray": bytearray(b"x"),
    "range": range(3),
    "set": {1},
    "frozenset": frozenset(),
    "nan in a list": [1.5, float("-inf")],
    "infinity": float("inf"),
    "huge integer": HUGE,
    "65 bits": 1 << 63,
    "65 bits in a list": [1 << 64],
    "surrogate": SURROGATE,
    "surrogate in a list": [SURROGATE],
    "string subclass": Text("gold"),
    "enumeration": Tier.GOLD,
    "integer enumeration": Level.HIGH,
    "float subclass": Real(0.5),
    "subclasses in a tuple": (Text("a"), Text("b")),
    "mixed list": [1, "a", None],
    "mapping": {1: 2},
    "nested mapping": {"a": {"b": [1]}},
    "class": object,
    "complex": 1j,
    "long text": "x" * 1_000_000,
    "long list": list(range(100_000)),
    "none": None,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", VALUES)
async def test_an_attribute_of_a_sampler_is_json_in_the_saga_and_the_sdks_on_the_span(name: str) -> None:
    value = VALUES[name]
    observed = Observed(sampler=Stated({"sampler.rule": value, "sampler.other": 7}))
    attributes = await order_is_exported(observed)
    observed.close()
    assert attributes["sampler.other"] == 7
    # The span has what the SDK makes of it, as a span of the application's own has.
    own = Observed(sampler=Stated({"sampler.rule": value}))
    with own.tracers.get_tracer("app").start_as_current_span("own"):
        pass
    (span,) = own.exported.get_finished_spans()
    own.close()
    [root] = [one for one in observed.spans if one.name.startswith("workflow.")]
    assert (root.attributes or {}).get("sampler.rule") == (span.attributes or {}).get("sampler.rule")


async def test_nan_is_on_the_span_alone() -> None:
    observed = Observed(sampler=Stated({"sampler.rule": float("nan")}))
    assert str((await order_is_exported(observed))["sampler.rule"]) == "nan"
    observed.close()


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value", [CYCLE, DEEP, Lazy(), Opaque()], ids=["cycle", "deep", "lazy", "opaque"])
async def test_an_attribute_that_fails_in_the_sdk_too_does_not_stop_the_workflow(value: Any) -> None:
    observed = Observed(sampler=Stated({"sampler.rule": value})).instrument()
    bus = MemoryBus()
    async with order_system(bus, StrictStore(), monitors=False) as system:
        transaction = await system.run()
        await bus.drain()
        assert (await system.orchestrator.get_status(transaction))["state"] == "completed"
    observed.close()
    assert len(bus.wire) == 8


@pytest.mark.parametrize(
    "keys",
    [{5: "x"}, {Tier.GOLD: "x"}, {SURROGATE: "x"}, {("a", 1): "x"}, {"k" * 10_000: "x"}, {None: 1}, {b"b": 1}],
    ids=["int", "enum", "surrogate", "tuple", "long", "none", "bytes"],
)
async def test_a_name_of_an_attribute_is_a_short_text_in_the_saga(keys: Mapping[Any, Any]) -> None:
    observed = Observed(sampler=Stated({**keys, "sampler.other": 7}))
    assert (await order_is_exported(observed))["sampler.other"] == 7
    observed.close()


async def test_attributes_in_a_saga_are_bounded_all_together() -> None:
    observed = Observed(sampler=Stated({f"sampler.rule_{number}": "x" * 4000 for number in range(100)}))
    attributes = await order_is_exported(observed)
    observed.close()
    assert len([key for key in attributes if key.startswith("sampler.rule_")]) == 100  # the span has all of them


@pytest.mark.parametrize("state", [{"a": "b"}, "a=b", 5, object(), TraceState([("a", "b")]), TraceState([("A", "\n")])])
async def test_a_trace_state_that_is_none_is_left_out(state: Any) -> None:
    observed = Observed(sampler=Stated(state=state))
    await order_is_exported(observed)
    observed.close()


@pytest.mark.parametrize("value", [Text("gold"), Tier.GOLD, Level.HIGH, Real(0.5), (1, 2), True, range(3), "é"])
async def test_what_json_can_hold_is_on_the_root_that_another_process_emits(value: Any) -> None:
    first, heir = Observed(sampler=Stated({"sampler.rule": value, "sampler.bytes": b"x"})), Observed()
    await handed_over(first, heir)
    attributes = merged(first, heir).root().attributes
    first.close()
    heir.close()
    assert attributes["sampler.rule"] == (tuple(value) if isinstance(value, range) else value)
    assert "sampler.bytes" not in attributes


async def test_a_saga_can_be_pickled_and_copied_without_classes_of_the_samplers() -> None:
    observed = Observed(sampler=Stated({"sampler.tier": Tier.GOLD, "sampler.text": Text("x")}))
    store = PicklingStore()
    await order_is_exported(observed, store)
    observed.close()
    assert all(b"Tier" not in row and b"Text" not in row for row in store.pickled.values())
    for row in store.pickled.values():
        copy.deepcopy(pickle.loads(row))


# --- propagators and baggage ---------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("k", SURROGATE),
        (SURROGATE, "v"),
        ("k", Opaque()),
        ("k", float("nan")),
        ("k", b"\xff"),
        ("k", "v" * 100_000),
        ("k\n", "v"),
        (5, "v"),
        ("k", CYCLE),
    ],
    ids=["surrogate", "surrogate key", "opaque", "nan", "bytes", "huge", "newline", "int key", "cycle"],
)
async def test_baggage_of_any_kind_costs_itself_at_most(observed: Observed, key: Any, value: Any) -> None:
    token = context.attach(baggage.set_baggage(key, value))
    try:
        await order_is_exported(observed)
    finally:
        context.detach(token)


class Injecting(TextMapPropagator):
    """A propagator of the user's, beside W3C's, that writes no matter what."""

    def __init__(self, fields: Mapping[Any, Any], error: Exception | None = None, extract: bool = False) -> None:
        self._w3c = propagate.get_global_textmap()
        self._fields, self._error, self._extract = fields, error, extract

    def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
        self._w3c.inject(carrier, context)
        carrier.update(self._fields)
        if self._error is not None:
            raise self._error

    def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Context:
        if self._extract:
            raise RuntimeError("extract")
        return self._w3c.extract(carrier, context)

    @property
    def fields(self) -> set[str]:
        return {"traceparent"}


@pytest.fixture
def propagator() -> Iterator[Any]:
    before = propagate.get_global_textmap()
    yield propagate.set_global_textmap
    propagate.set_global_textmap(before)


async def test_fields_of_a_propagator_are_short_texts_on_the_wire(observed: Observed, propagator: Any) -> None:
    odd = {
        "int": 5, "bytes": b"x", "list": ["a"], "nan": float("nan"), "none": None, 7: "x", "huge": "x" * 100_000,
        "tier": Tier.GOLD, "text": Text("t"), "surrogate": SURROGATE, "deep": DEEP, ("a",): "x",
        "ts": "1", "t": "other", "k": True, "s": "other", "w": "other", "q": "1", "e": "x",
    }  # fmt: skip
    propagator(Injecting({**odd, **{f"x-{number}": "x" * 8000 for number in range(100)}}))
    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, StrictStore(), monitors=False) as system:
        transaction = await system.run()
        await bus.drain()
    for message in bus.wire:
        carrier = message.event["_otel"]
        assert strict(carrier) < 32 * 20_000
        assert (carrier["tier"], carrier["text"], carrier["t"]) == ("gold", "t", transaction)
        assert carrier.keys().isdisjoint({"int", "bytes", "list", "nan", "none", "7", "huge", "deep"})
        assert carrier.get("k") is None
        assert carrier.get("w") in (None, "order_processing")
    assert observed.root().name == "workflow.order_processing"


@pytest.mark.faults
async def test_a_propagator_that_raises_costs_its_own_fields(observed: Observed, propagator: Any) -> None:
    propagator(Injecting({"mine": "x"}, RuntimeError("inject")))
    await order_is_exported(observed)


@pytest.mark.faults
async def test_an_event_whose_carrier_a_propagator_fails_on_is_handled(observed: Observed, propagator: Any) -> None:
    propagator(Injecting({}, extract=True))
    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, StrictStore(), monitors=False) as system:
        transaction = await system.run()
        await bus.drain()
        assert (await system.orchestrator.get_status(transaction))["state"] == "completed"
    assert len(observed.named("process command.charge_payment")) == 1


# --- names ---------------------------------------------------------------------------------------


class Named(str, Enum):
    WORKFLOW = "refunds"
    STEP = "refund"


@pytest.mark.parametrize(
    ("workflow", "step", "name", "span", "step_span"),
    [
        (Named.WORKFLOW, Named.STEP, "refunder", "workflow.refunds", "step.refund"),
        (Text("refunds"), Text("refund"), Text("refunder"), "workflow.refunds", "step.refund"),
        ("refunds", 5, "refunder", "workflow.refunds", "step.5"),
        ("refunds" * 100, "refund" * 100, "refunder", "workflow." + ("refunds" * 100)[:256], None),
        (SURROGATE, "refund", "refunder", "workflow.lone ? surrogate", "step.refund"),
        ("\u0627\u0644", "\U0001f600", "refunder", "workflow.\u0627\u0644", "step.\U0001f600"),
    ],
    ids=["enumeration", "subclass", "number", "long", "surrogate", "unicode"],
)
async def test_names_of_any_type_are_plain_text_in_saga_and_carrier(
    observed: Observed, workflow: Any, step: Any, name: Any, span: str, step_span: str | None
) -> None:
    observed.instrument()
    bus, store = MemoryBus(), PicklingStore()
    done: Any = worker(str.__str__(name))(lambda _context: {})
    definition = WorkflowBuilder(workflow).add_step(step, name).build()
    manager = WorkerManager(bus, logger=SilentLogger())
    manager.register(done)
    orchestrator = Orchestrator(definition, bus, store, logger=SilentLogger())
    await bus.start()
    await manager.start()
    await orchestrator.start()
    transaction = await orchestrator.execute_workflow(workflow, {})
    await bus.drain()
    assert (await orchestrator.get_status(transaction))["state"] == "completed"
    await manager.stop()
    await orchestrator.stop()
    await bus.stop()
    for message in bus.wire:
        strict(message.event["_otel"])
    [root] = observed.named(span)
    assert root.attributes["workflow.status"] == "completed"
    [recorded] = [one for one in observed.spans if one.name.startswith("step.")]
    assert step_span in (None, recorded.name)
    assert recorded.start_time is not None
    assert recorded.end_time is not None
    assert "error.type" not in (recorded.attributes or {})
    assert asyncio.get_running_loop().is_running()
