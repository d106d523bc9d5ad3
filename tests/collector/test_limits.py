"""What no client may do: requests that are too large, that swell, or that are no OTLP. The Collector lives on."""

from __future__ import annotations

import gzip
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc  # type: ignore[import-untyped,unused-ignore]
import pytest

from tests.collector.sending import attributes, call, logs, post, traces, value
from tests.support.collectors import Running, collector
from tests.support.receiver import OtlpReceiver
from tests.support.services import fetch, wait_until

MIB: Final = 1 << 20


@pytest.fixture(scope="module")
def backend() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as started:
        yield started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, backend: OtlpReceiver) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("collector")
    with collector(folder, backend=backend, max_request_mib=1, max_request_bytes=MIB) as started:
        yield started


@pytest.fixture(autouse=True)
def lives(running: Running, backend: OtlpReceiver) -> Iterator[None]:
    """After each test the same process takes a good request by each protocol, and nothing else has got through."""
    pid = running.service.process.pid
    backend.clear()
    yield
    good = traces({"name": "good"}).SerializeToString()
    assert (call(address(running), good), post(running, "traces", good)) == ("OK", 200)
    backend.wait_for(lambda seen: len(seen.spans) == 2)
    assert [span.name for span in backend.spans] == ["good", "good"]
    assert running.service.process.pid == pid
    assert "Server available" in fetch(f"http://127.0.0.1:{running.ports['health_port']}/")
    assert running.counted("otelcol_receiver_refused_spans") == 0  # refused before it is a span: not counted there


def address(running: Running) -> str:
    return running.grpc.removeprefix("http://")


def large(size: int) -> bytes:
    return bytes(traces({"name": "large", "attributes": attributes({"text": "x" * size})}).SerializeToString())


def test_a_request_beyond_the_limit_is_refused(running: Running) -> None:
    assert call(address(running), large(MIB)) == "RESOURCE_EXHAUSTED"
    assert post(running, "traces", large(MIB)) == 400


def test_a_request_up_to_the_limit_is_taken(running: Running, backend: OtlpReceiver) -> None:
    body = large(MIB - 1000)
    assert (call(address(running), body), post(running, "traces", body)) == ("OK", 200)
    backend.wait_for(lambda seen: len(seen.spans) == 2)
    backend.clear()


def test_a_small_request_that_swells_to_a_gigabyte_is_refused_and_takes_no_memory(running: Running) -> None:
    bomb = gzip.compress(bytes(MIB)) * 1024  # members of one stream: about a megabyte
    assert len(bomb) < 2 * MIB
    assert post(running, "traces", bomb, {"Content-Encoding": "gzip"}) == 400
    assert call(address(running), bytes(64 * MIB), compression=grpc.Compression.Gzip) == "RESOURCE_EXHAUSTED"
    status = Path(f"/proc/{running.service.process.pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak
    assert int(peak[1]) < 512 * 1024


@pytest.mark.parametrize("body", [b"\xff" * 64, b"not protobuf at all", large(100)[:-7]], ids=["bytes", "text", "cut"])
def test_what_is_no_otlp_is_refused(running: Running, body: bytes) -> None:
    assert call(address(running), body) == "INTERNAL"
    assert [post(running, signal, body) for signal in ("traces", "metrics", "logs")] == [400, 400, 400]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"not gzip", {"Content-Encoding": "gzip"}),
        (gzip.compress(large(100))[:-9], {"Content-Encoding": "gzip"}),
        (b"x", {"Content-Encoding": "br"}),
        (b"x", {"Content-Encoding": "zstd"}),
        (b"{", {"Content-Type": "application/json"}),
        (b'{"resourceSpans": 7}', {"Content-Type": "application/json"}),
        (b"[" * 100_000, {"Content-Type": "application/json"}),
    ],
    ids=["no gzip", "cut gzip", "unknown encoding", "closed encoding", "cut JSON", "other JSON", "deep JSON"],
)
def test_a_body_that_is_not_what_its_headers_say_is_refused(
    running: Running, body: bytes, headers: dict[str, str]
) -> None:
    assert post(running, "traces", body, headers) == 400


def test_a_wrong_type_path_or_method_is_refused(running: Running) -> None:
    good = traces({"name": "x"}).SerializeToString()
    assert post(running, "traces", good, {"Content-Type": "text/plain"}) == 415
    assert post(running, "spans", good) == 404
    assert post(running, "traces", good, method="PUT") == 405


def test_otlp_as_json_is_taken(running: Running, backend: OtlpReceiver) -> None:
    span = {"name": "json", "traceId": "0" * 31 + "1", "spanId": "0" * 15 + "1"}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    assert post(running, "traces", body, {"Content-Type": "application/json"}) == 200
    assert [span.name for span in backend.wait_for(lambda seen: seen.spans)] == ["json"]
    backend.clear()


HOSTILE: Final = {
    "names": "password:" * 100_000,
    "quotes": '"\\' * 400_000,
    "brackets": "<password" * 100_000,
    "schemes": "://" * 300_000,
    "keys": "-----BEGIN PRIVATE KEY" * 40_000,
    "digits": "4111 1111 " * 90_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_text_made_to_be_hard_to_search_is_searched_in_time(
    running: Running, backend: OtlpReceiver, text: str
) -> None:
    assert post(running, "logs", logs({"body": value(text)}).SerializeToString()) == 200  # within the client's 20 s
    assert len(backend.wait_for(lambda seen: seen.logs)) == 1
    backend.clear()


def test_beyond_the_memory_limit_clients_are_told_to_come_again(tmp_path: Path) -> None:
    with collector(tmp_path, collector_memory_mib=2, collector_memory_spike_mib=1) as full:
        good = traces({"name": "x"}).SerializeToString()
        wait_until(lambda: post(full, "traces", good) == 503, "a refusal")
        assert call(address(full), good) == "UNAVAILABLE"
        assert full.counted("otelcol_receiver_refused_spans") >= 2


@pytest.mark.slow
def test_a_client_that_never_ends_its_headers_is_cut_off(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.ports["otlp_http_port"]), timeout=60) as slow:
        slow.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nX-Half: ")
        began = time.monotonic()
        assert slow.recv(1000)[:12] in (b"", b"HTTP/1.1 408", b"HTTP/1.1 400")
        assert time.monotonic() - began < 30
