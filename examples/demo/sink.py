"""A small OTLP backend: takes OTLP over HTTP and appends it to files, as lines of OTLP JSON.

python sink.py FOLDER [PORT]        (4318, where OTLP/HTTP exporters send to by themselves)
multiagents-otel show FOLDER/*.jsonl
"""

import base64
import gzip
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}
IDS = ("traceId", "spanId", "parentSpanId")


def as_otlp_json(request):
    """The request as OTLP has it in JSON: protobuf's own mapping, but ids in hex and enums as numbers."""

    def with_hex_ids(value, key=""):
        if isinstance(value, dict):
            return {name: with_hex_ids(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [with_hex_ids(inner) for inner in value]
        return base64.b64decode(value).hex() if key in IDS else value

    return with_hex_ids(MessageToDict(request, use_integers_for_enums=True))


class Sink(ThreadingHTTPServer):
    """Listens from its creation on; leaving it as a context ends it."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.folder = folder
        self.writing = threading.Lock()
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def __exit__(self, *error) -> None:
        self.shutdown()
        super().__exit__(*error)

    def write(self, path: str, body: bytes) -> None:
        """Append a request to the file of its signal."""
        line = json.dumps(as_otlp_json(REQUESTS[path].FromString(body)), separators=(",", ":"))
        with self.writing, (self.folder / f"{Path(path).name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


class Handler(BaseHTTPRequestHandler):
    """One request: its answer is the empty message, which says that all of it was accepted."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path in REQUESTS:
            self.server.write(self.path, body)
        self.send_response(200 if self.path in REQUESTS else 404)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args) -> None:
        """Silent: a line for each request helps nobody."""


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with Sink(folder, int(sys.argv[2]) if len(sys.argv) > 2 else 4318) as sink:
        print(f"export OTEL_EXPORTER_OTLP_ENDPOINT={sink.endpoint}", flush=True)
        try:
            sink.thread.join()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
