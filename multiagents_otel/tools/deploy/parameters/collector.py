"""Parameters of the Collector."""

from __future__ import annotations

from typing import Final

from multiagents_otel.tools.deploy.forms import HOST, PATH, URL
from multiagents_otel.tools.deploy.parameter import Parameter

_PORT: Final = (1, 65535)
_MEMORY: Final = 2**30  # a Collector counts it in 32 bits

ROWS: Final[tuple[Parameter, ...]] = (
    Parameter(
        "collector_host", "text", "127.0.0.1", "the address that the Collector listens on; 0.0.0.0 for all", form=HOST
    ),
    Parameter("otlp_grpc_port", "integer", "4317", "the port for OTLP over gRPC", *_PORT),
    Parameter("otlp_http_port", "integer", "4318", "the port for OTLP over HTTP", *_PORT),
    Parameter("export_prometheus", "flag", "true", "the Collector serves the metrics for Prometheus"),
    Parameter("export_port", "integer", "9464", "the port where Prometheus finds the application's metrics", *_PORT),
    Parameter(
        "metric_expiration", "collector duration", "90s", "a metric without news goes: three times metric_export_ms"
    ),
    Parameter("health_port", "integer", "13133", "the port that says whether the Collector is well", *_PORT),
    Parameter("collector_metrics_port", "integer", "8888", "the port of the Collector's own metrics", *_PORT),
    Parameter("max_request_mib", "integer", "16", "the largest request over gRPC, in MiB, decompressed", 1, 2047),
    Parameter(
        "max_request_bytes",
        "integer",
        "16777216",
        "the largest request over HTTP, in bytes, decompressed",
        1,
        2**31 - 1,
    ),
    Parameter(
        "collector_memory_mib", "integer", "512", "memory from which on the Collector refuses, in MiB", 2, _MEMORY
    ),
    Parameter(
        "collector_memory_spike_mib", "integer", "128", "the part of it that one second may need, in MiB", 1, _MEMORY
    ),
    Parameter(
        "backend_exporter",
        "text",
        "nop",
        "how to send on: otlp_http, otlp_grpc, or nop for no backend",
        choices=("otlp_http", "otlp_grpc", "nop"),
    ),
    Parameter("backend_endpoint", "text", "http://backend.invalid:4318", "the URL of the OTLP backend", form=URL),
    Parameter(
        "backend_retry_interval",
        "collector duration",
        "5s",
        "the longest pause before a backend is tried again, 500ms or more",
        0.5,
    ),
    Parameter("queue_size", "integer", "500000", "spans, records or points that wait for a backend, each signal", 2000),
    Parameter("collector_storage", "text", "collector-storage", "the folder of the queues", form=PATH),
    Parameter("collector_cert_file", "text", "certs/collector.pem", "the Collector's certificate, PEM", form=PATH),
    Parameter("collector_key_file", "text", "certs/collector-key.pem", "the key of it", form=PATH),
    Parameter(
        "collector_client_ca_file", "text", "certs/ca.pem", "the authority of the clients' certificates", form=PATH
    ),
    Parameter("collector_tokens_file", "text", "certs/tokens", "tokens that clients may send, one a line", form=PATH),
    Parameter("certificate_reload", "collector duration", "1m", "how often certificates are looked at for new ones"),
    Parameter("backend_ca_file", "text", "certs/ca.pem", "the authority of the backend's certificate", form=PATH),
    Parameter("backend_cert_file", "text", "certs/client.pem", "the certificate that the backend is shown", form=PATH),
    Parameter("backend_key_file", "text", "certs/client-key.pem", "the key of it", form=PATH),
    Parameter(
        "backend_token_file", "text", "certs/backend-token", "the token for the backend, in its first line", form=PATH
    ),
)
