"""Redis, Collector, Prometheus and Alertmanager on this machine, with an application under load.

Everything is started from the files of collector-config/, as `multiagents-otel config export` writes them, and stopped
by Ctrl-C. Alerts go where SLACK_WEBHOOK_URL, PAGERDUTY_INTEGRATION_KEY, ALERT_TO_EMAILS and the like say, and traces
where BACKEND_EXPORTER (otlp_http, otlp_grpc) and BACKEND_ENDPOINT say; without them both stay here.
"""

import argparse
import fcntl
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from programs import Program, StackError, Stop, answers, find, ports, running

from multiagents_otel.stack.export import exported, write
from multiagents_otel.stack.parameters import values
from multiagents_otel.stack.secrets import SecretError, channels, write_secrets

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / "demo"
sys.path.append(str(DEMO))
import redis_server  # noqa: E402 (the demo's own)

HOST = "127.0.0.1"
PORTS = {  # those that people know; a free one where somebody has it already
    "redis": 6379,
    "otlp_grpc": 4317,
    "otlp_http": 4318,
    "collector_metrics": 9464,
    "collector_own_metrics": 8888,
    "health": 13133,
    "prometheus": 9090,
    "alertmanager": 9093,
}
EXPORT_INTERVAL = "5000"  # ms: a page that somebody looks at should not lag half a minute behind


def main() -> int:
    """Run the stack until its end is asked for, and return its exit status."""
    args = arguments()
    stop = Stop()
    try:
        with claimed(args.folder), ExitStack() as stack:
            programs = start(args.folder, stack, stop)
            deadline = time.monotonic() + args.seconds
            while not stop.asked and time.monotonic() < deadline:
                for program in programs:
                    program.check()
                time.sleep(0.1)
            print("\nstopping", flush=True)
    except (StackError, SecretError) as error:
        print(f"make stack: {error}", file=sys.stderr)
        return 1
    print("all is stopped")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make stack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after so long (default: when asked to)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=HERE.parents[1] / ".stack",
        help="for config/, data/ and logs/, which are written anew (default: .stack)",
    )
    return parser.parse_args()


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder for us alone, with nothing of a last run in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StackError(f"another stack runs in {folder}: stop it, or give --folder") from error
        for name in ("config", "data", "logs"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir()
        yield


def start(folder: Path, stack: ExitStack, stop: Stop) -> list[Program]:
    """Start all, each when what it needs is ready, and say where they are. They end in the opposite order."""
    config, data, logs = (folder.resolve() / name for name in ("config", "data", "logs"))
    at = ports(PORTS)
    address = {name: f"{HOST}:{port}" for name, port in at.items()}
    chosen = values(parameters(at, address) | channels(os.environ))
    write(config, exported(chosen))
    write_secrets(config / "alertmanager" / chosen["alert_secrets"], chosen, os.environ)
    url = {name: f"http://{at}" for name, at in address.items()} | {"redis": f"redis://{address['redis']}"}
    programs = []

    def run(name: str, ready: str, *argv: str, cwd: Path = data, **env: str) -> None:
        if stop.asked:
            return
        program = stack.enter_context(running(name, argv, logs / f"{name}.log", cwd, {**environment(), **env}))
        programs.append(program)
        program.wait(lambda: answers(ready) if ready.startswith("http") else program.says(ready), stop)

    run("redis", "Ready to accept", redis_server.find(), "--bind", HOST, "--port", str(at["redis"]), "--save", "")
    run(
        "alertmanager",
        f"{url['alertmanager']}/-/ready",
        find("prometheus-alertmanager", "alertmanager"),
        f"--config.file={config}/alertmanager/alertmanager.yaml",
        f"--storage.path={data}/alertmanager",
        f"--web.listen-address={address['alertmanager']}",
        "--cluster.listen-address=",
        cwd=config / "alertmanager",  # it looks for its secrets from where it runs
    )
    run("collector", url["health"], find("otelcol", "otelcol-contrib"), f"--config={config}/collector.yaml")
    run(
        "prometheus",
        f"{url['prometheus']}/-/ready",
        find("prometheus"),
        f"--config.file={config}/prometheus/prometheus.yaml",
        f"--storage.tsdb.path={data}/prometheus",
        f"--web.listen-address={address['prometheus']}",
        "--enable-feature=exemplar-storage",
    )
    for script in (DEMO / "warehouse.py", HERE / "orders.py"):
        run(
            script.stem,
            "open\n",
            sys.executable,
            str(script),
            REDIS_URL=url["redis"],
            OTEL_SERVICE_NAME=script.stem,
            OTEL_EXPORTER_OTLP_ENDPOINT=url["otlp_http"],
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_METRIC_EXPORT_INTERVAL=EXPORT_INTERVAL,
        )
    if not stop.asked:
        print(welcome(folder, url), flush=True)
    return programs


def parameters(at: dict[str, int], address: dict[str, str]) -> dict[str, str]:
    """Where each part listens, and where the others find it."""
    listens = {f"{name}_port": str(at[name]) for name in ("otlp_grpc", "otlp_http", "health")}
    listens |= {"export_port": str(at["collector_metrics"]), "collector_metrics_port": str(at["collector_own_metrics"])}
    found = {name: address[name] for name in ("collector_metrics", "collector_own_metrics")}
    return listens | found | {f"{name}_address": address[name] for name in ("prometheus", "alertmanager")}


def environment() -> dict[str, str]:
    """Ours, without what would change the stack's own settings."""
    foreign = ("OTEL_", "MULTIAGENT", "COLLECTOR_")
    return {key: value for key, value in os.environ.items() if not key.startswith(foreign)}


def welcome(folder: Path, url: dict[str, str]) -> str:
    return f"""\
An order saga in two processes, under load; some orders fail, and alerts come in their time.

  Prometheus     {url["prometheus"]}
  Alertmanager   {url["alertmanager"]}
  Collector      {url["otlp_http"]} (OTLP over HTTP), {url["otlp_grpc"]} (over gRPC)
                 {url["collector_metrics"]}/metrics (the application's)
                 {url["collector_own_metrics"]}/metrics (its own)
  Redis          {url["redis"]}
  files          {os.path.relpath(folder)}: config, data, logs

Ctrl-C stops it all."""


if __name__ == "__main__":
    sys.exit(main())
