"""Parameters of tail sampling and of the gateways."""

from __future__ import annotations

from typing import Final

from multiagents_otel.tools.deploy.forms import ADDRESSES, PATH
from multiagents_otel.tools.deploy.parameter import Parameter

ROWS: Final[tuple[Parameter, ...]] = (
    Parameter("decision_wait", "collector duration", "10m", "how long the spans of a transaction are held in memory"),
    Parameter(
        "decision_wait_after_root",
        "collector duration",
        "0s",
        "how long they are held once their root has come; 0s: no shorter for that",
        0,
    ),
    Parameter("held_transactions", "integer", "30000", "the most that are held; then the oldest is let go", 1, 10**8),
    Parameter("kept_transactions", "integer", "200000", "how many kept ones are remembered", 1, 10**9),
    Parameter("healthy_percent", "number", "10", "the share of healthy transactions that is kept", 0, 100),
    Parameter("slow_transaction_ms", "integer", "30000", "a transaction is kept from this duration on", 1, 10**12),
    Parameter(
        "gateways",
        "text",
        "gateway-0:4317, gateway-1:4317",
        "the gateways' addresses, in the same order for every agent, separated by commas",
        form=ADDRESSES,
    ),
    Parameter(
        "sampling_memory_mib", "integer", "4096", "memory from which on a sampling Collector refuses, in MiB", 2, 2**30
    ),
    Parameter(
        "sampling_memory_spike_mib", "integer", "512", "the part of it that one second may need, in MiB", 1, 2**30
    ),
    Parameter(
        "gateway_request_mib",
        "integer",
        "64",
        "the largest request that a gateway takes, in MiB: more than an agent takes",
        1,
        2047,
    ),
    Parameter("gateway_ca_file", "text", "certs/ca.pem", "the authority of the gateways' certificates", form=PATH),
    Parameter("gateway_cert_file", "text", "certs/agent.pem", "the certificate that the gateways are shown", form=PATH),
    Parameter("gateway_key_file", "text", "certs/agent-key.pem", "the key of it", form=PATH),
    Parameter(
        "gateway_token_file", "text", "certs/gateway-token", "the token for the gateways, in its first line", form=PATH
    ),
)
