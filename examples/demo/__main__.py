"""An order saga in two processes, and what can be seen of it afterwards.

Starts a Redis and an OTLP backend, runs three orders, shows their traces and metrics, and checks that they
are what they should be: the exit status is 0 only then.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import check
import redis_server
from sink import Sink

HERE = Path(__file__).resolve().parent
TIMEOUT = 60.0

STYLES = {"completed": "1;32", "compensated": "1;33", "stalled": "1;31", "bold": "1", "dim": "2"}
COMMENTS = {
    "completed": "validated, charged, shipped",
    "compensated": "out of stock at the last step, the payment refunded",
    "stalled": "charged, then sent to a worker that nobody runs",
}
METRICS = ("*.workflows", "*.compensations", "*.undelivered", "*.queue_time", "*.worker.duration")


def main() -> int:
    """Run the demo, and return its exit status."""
    args = arguments()
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR") if args.color == "auto" else args.color == "always"

    def paint(text: str, style: str) -> str:
        return f"\033[{STYLES[style]}m{text}\033[0m" if color and style in STYLES else text

    shutil.rmtree(args.folder, ignore_errors=True)
    args.folder.mkdir()
    print(paint("An order saga in two processes, over Redis", "bold"), end="\n\n", flush=True)
    for number, order, status in shop(args.folder):
        print(f"  {number}  {order:23} {paint(f'{status:12}', status)} {paint(COMMENTS.get(status, ''), 'dim')}")

    files = [os.path.relpath(args.folder / f"{signal}.jsonl") for signal in ("traces", "metrics", "logs")]
    print(paint(f"\n$ multiagents-otel show {' '.join(files)}\n", "dim"), flush=True)
    options = ["--color", "always" if color else "never", *(f"--metric={glob}" for glob in METRICS)]
    options += ["--width", args.width] if args.width else []
    command = Path(sys.executable).with_name("multiagents-otel")
    shown = subprocess.run([command, "show", *files, *options], check=False)
    print(paint("\nThe most telling metrics; without --metric the command shows all of them.\n", "dim"))

    faults = check.faults(args.folder)
    if shown.returncode:
        faults.append(f"multiagents-otel show ended with {shown.returncode}")
    for fault in faults:
        print(f"{paint('wrong:', 'stalled')} {fault}")
    if not faults:
        print(paint("checked:", "completed"), "3 orders, 3 traces, one root each, no span without its parent")
    return 1 if faults else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto")
    parser.add_argument("--width", metavar="N", help="columns (default: the terminal's)")
    parser.add_argument("--folder", type=Path, default=HERE.parents[1] / ".demo", help="removed, and written anew")
    return parser.parse_args()


def shop(folder: Path) -> Iterator[list[str]]:
    """Run shop.py and warehouse.py; gives number, order and end of each order as it ends."""
    with redis_server.running() as url, Sink(folder) as sink:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "MULTIAGENT"))}
        environment |= {
            "REDIS_URL": url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        with process("warehouse", environment, folder) as warehouse:
            if not warehouse.stdout.readline():  # it says that it is open
                finish(warehouse)
            with process("shop", environment, folder) as orders:
                for line in orders.stdout:
                    yield line.rstrip("\n").split("|")
                finish(orders)
            warehouse.terminate()
            finish(warehouse)


@contextmanager
def process(name: str, environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen]:
    """A script of this folder as a service of its own, ended whatever happens."""
    child = subprocess.Popen(
        [sys.executable, HERE / f"{name}.py"],
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, "OTEL_SERVICE_NAME": name},
        cwd=folder,  # the framework writes ./logs
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def finish(child: subprocess.Popen) -> None:
    if status := child.wait(TIMEOUT):
        raise SystemExit(f"{Path(child.args[1]).name} ended with {status}")


if __name__ == "__main__":
    sys.exit(main())
