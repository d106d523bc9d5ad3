"""Parameters of tail sampling and of the gateways."""

from __future__ import annotations

from typing import Final

from multiagents_otel.stack.parameter import Parameter

ROWS: Final[tuple[Parameter, ...]] = (
    Parameter("decision_wait", "duration", "10m", "How long the spans of a transaction are held in memory."),
    Parameter(
        "decision_wait_after_root",
        "duration",
        "0s",
        'How long they are held once the root has come; 0s: no shorter. Only with workflow_parent="link".',
    ),
    Parameter("held_transactions", "integer", "30000", "The most that are held; then the oldest is let go.", least=1),
    Parameter("kept_transactions", "integer", "200000", "How many kept ones are remembered.", least=1),
    Parameter("healthy_percent", "number", "10", "The share of healthy transactions that is kept.", least=0, most=100),
    Parameter("slow_transaction_ms", "integer", "30000", "A transaction is kept from this duration on.", least=1),
    Parameter(
        "gateways",
        "text",
        "gateway-0:4317, gateway-1:4317",
        "Where the agents send to: the gateways' addresses, always in the same order, separated by commas.",
    ),
    Parameter("sampling_memory_mib", "integer", "4096", "Memory from which on a sampling Collector refuses.", least=64),
    Parameter("sampling_memory_spike_mib", "integer", "512", "The part of it that one second may need.", least=16),
    Parameter("gateway_request_mib", "integer", "64", "The largest request that a gateway takes, in MiB.", least=1),
)
