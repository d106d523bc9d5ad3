"""An agent and its gateway know each other by certificates and a token, or nothing passes between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.sampling.backend import Backend
from tests.sampling.running import AGENT, GATEWAY, client, figure
from tests.support.certificates import Authority
from tests.support.collectors import collector
from tests.support.expected import COMPENSATED
from tests.support.services import wait_until
from tests.support.traffic import Shape, trace_ids, traces

SECURE_AGENT: Final = (*AGENT, "agent-tls.yaml", "agent-token.yaml")
SECURE_GATEWAY: Final = (*GATEWAY, "security/mutual-tls.yaml", "security/token.yaml")
SHAPE: Final = Shape(COMPENSATED)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    ours, stranger = Authority(folder, "ours"), Authority(folder, "stranger")
    server, agent, foreign = ours.issue("gateway"), ours.issue("agent"), stranger.issue("agent")
    for name in ("token", "other"):
        (folder / name).write_text(f"the-{name}\n")
    return {
        "ca": ours.cert,
        "server": server.cert,
        "server-key": server.key,
        "agent": agent.cert,
        "agent-key": agent.key,
        "token": folder / "token",
        "stranger": stranger.cert,
        "foreign": foreign.cert,
        "foreign-key": foreign.key,
        "other": folder / "other",
    }


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as receiver:
        yield receiver


FAULTS: Final = {
    "trusts another authority": {"GATEWAY_CA_FILE": "stranger"},
    "shows a stranger's certificate": {"GATEWAY_CERT_FILE": "foreign", "GATEWAY_KEY_FILE": "foreign-key"},
    "sends a wrong token": {"GATEWAY_TOKEN_FILE": "other"},
}
RIGHT: Final = {
    "GATEWAY_CA_FILE": "ca",
    "GATEWAY_CERT_FILE": "agent",
    "GATEWAY_KEY_FILE": "agent-key",
    "GATEWAY_TOKEN_FILE": "token",
    "COLLECTOR_CERT_FILE": "server",
    "COLLECTOR_KEY_FILE": "server-key",
    "COLLECTOR_CLIENT_CA_FILE": "ca",
    "COLLECTOR_TOKENS_FILE": "token",
}


@pytest.mark.parametrize("fault", [{}, *FAULTS.values()], ids=["knows its gateway", *FAULTS])
def test_an_agent_gets_through_to_its_gateway_if_it_is_right_and_not_if_it(
    fault: dict[str, str], keys: dict[str, Path], backend: Backend, tmp_path: Path
) -> None:
    env = {name: str(keys[key]) for name, key in {**RIGHT, **fault}.items()}
    trace_id = next(trace_ids(3))
    with collector(tmp_path / "gateway", *SECURE_GATEWAY, backend=backend, env=env) as gateway:
        address = f"127.0.0.1:{gateway.ports['otlp_grpc_port']}"
        with collector(tmp_path / "agent", *SECURE_AGENT, env=env, gateways=address) as agent:
            sender = client(agent)
            assert sender.send("traces", traces(SHAPE.stamped(trace_id))) == 200
            sender.close()
            if not fault:
                backend.wait_whole(trace_id, SHAPE.names)
                return
            wait_until(lambda: [line for line in agent.service.process.lines if "Exporting failed" in line], "refusal")
            assert figure(gateway, "receiver_accepted_spans") == 0
