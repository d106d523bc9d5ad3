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

from parts import PORTS, parameters, parts, urls
from programs import Program, StackError, Stop, free, running

from multiagents_otel.tools.deploy.export import exported, write
from multiagents_otel.tools.deploy.parameters import ParameterError, values
from multiagents_otel.tools.deploy.secrets import SecretError, channels, write_secrets

HERE = Path(__file__).resolve().parent


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
    except (StackError, SecretError, ParameterError, OSError) as error:
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
    """Start all, and say where it is. It ends in the opposite order."""
    config, data, logs = (folder.resolve() / name for name in ("config", "data", "logs"))
    ports = free(PORTS)
    chosen = values(parameters(ports) | channels(os.environ))
    write(config, exported(chosen))
    write_secrets(config / "alertmanager" / chosen["alert_secrets"], chosen, os.environ)
    programs = []
    for part in parts(config, data, ports):
        if not stop.asked:
            env = {**environment(), **part.env}
            program = running(part.name, part.argv, logs / f"{part.name}.log", part.cwd, env)
            programs.append(stack.enter_context(program))
            programs[-1].wait(part.ready, stop)
    if not stop.asked:
        print(welcome(folder, urls(ports)), flush=True)
    return programs


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
