"""``multiagents-otel config export``: the pipeline's files, with a user's own values."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from shlex import quote
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from multiagents_otel.config import OptionError
from multiagents_otel.tools.command import FAILED, OK, USAGE
from multiagents_otel.tools.deploy.monitoring import ParameterValue, parameters_in
from multiagents_otel.tools.deploy.parameters import PARAMETERS, ParameterError, Values, values
from multiagents_otel.tools.deploy.secrets import SecretError, channels, write_secrets
from multiagents_otel.tools.terminal import safe

if TYPE_CHECKING:
    from multiagents_otel.tools.command import Subparsers

_DESCRIPTION = """\
Write the files that run the pipeline behind an application: Collector,
Prometheus with its rules, Alertmanager, Grafana's dashboards, and all of it for
docker-compose and Kubernetes. Each works as it is; parameters change them."""

_EPILOG = """\
Alerts go where the environment says, and their secrets into files that only
you can read: SLACK_WEBHOOK_URL; PAGERDUTY_INTEGRATION_KEY; ALERT_TO_EMAILS with
ALERT_FROM_EMAIL, SMTP_SERVER, SMTP_PORT, SMTP_USER, SMTP_PASSWORD; for what still
fires much later PAGERDUTY_ESCALATION_KEY, ESCALATION_TO_EMAILS; for a dead man's
switch WATCHDOG_URL.

--set wins over the other options, those over --config. Of a configuration file
the parameters are taken that it sets (export_port, error_rate_threshold, ...).

exit status: 0 if the files are written, 1 if a file can't be read or written,
2 for wrong usage: an unknown parameter, a wrong value."""

_COMMON: Final = (
    "service_name",
    "otlp_endpoint",
    "backend_exporter",
    "backend_endpoint",
    "export_port",
    "scrape_interval",
    "high_error_percent",
    "high_latency_seconds",
    "slow_workflow_seconds",
    "alert_cooldown",
    "gateways",
    "decision_wait",
)
"""Parameters that are options too."""

_CHANNELS: Final = {"slack": "Slack", "alert_to_emails": "e-mail", "pagerduty": "PagerDuty"}
_VARIABLES: Final = ("SLACK_WEBHOOK_URL", "ALERT_TO_EMAILS", "PAGERDUTY_INTEGRATION_KEY")

_NEXT: Final = """\
next, in that directory:
  for the application  set -a; . ./application.env; set +a
  on this machine      otelcol-contrib --config collector.yaml
                       prometheus --config.file prometheus/prometheus.yaml --storage.tsdb.path prometheus-data \\
                         --web.listen-address {prometheus_address} --web.external-url {prometheus_url} \\
                         --web.route-prefix / --enable-feature=exemplar-storage
                       cd alertmanager && alertmanager --config.file alertmanager.yaml \\
                         --storage.path ../alertmanager-data --web.listen-address {alertmanager_address} \\
                         --web.external-url {alertmanager_url} --web.route-prefix / --cluster.listen-address=
                         (prometheus-alertmanager, as Debian and Ubuntu call it)
  or in containers     STACK_USER=$(id -u):$(id -g) docker compose up --detach
  or in a cluster      kubectl apply -f kubernetes/"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add ``config export`` and return its parser."""
    parser = subparsers.add_parser(
        "export",
        help="write the files of Collector, Prometheus, Alertmanager, Grafana",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", metavar="DIR", nargs="?", type=Path, help="where to; it is made if need be")
    parser.add_argument("--config", metavar="FILE", help="a monitoring configuration, YAML or JSON")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="any parameter")
    for row in (PARAMETERS[name] for name in _COMMON):
        parser.add_argument(_option(row.name), metavar=row.kind.split()[-1].upper(), help=row.help.replace("%", "%%"))
    parser.add_argument("--force", action="store_true", help="write into a directory that is not empty")
    parser.add_argument("--list", action="store_true", help="show every parameter and its default")
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the files, say what was written, and return the exit status."""
    if args.list:
        print("\n".join(_list()))
        return OK
    if args.directory is None:
        return _failed(USAGE, "a directory is needed, or --list")
    # Other commands, that start in the same way, don't wait for it: it loads a YAML library.
    from multiagents_otel.tools.deploy.export import exported, write

    directory: Path = args.directory
    try:
        chosen = _chosen(args)
        given = values(channels(os.environ) | {name: told.value for name, told in chosen.items()})
        texts = exported(given)
        if not args.force and directory.is_dir() and any(directory.iterdir()):
            return _failed(FAILED, f"{directory} is not empty: --force writes into it, and leaves what is not ours")
        secrets = _secrets(directory, given)
        write(directory, texts)
    except (ParameterError, SecretError) as error:
        return _failed(USAGE, str(error))
    except OptionError as error:
        return _failed(FAILED, str(error))
    except OSError as error:
        return _failed(FAILED, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    print("\n".join([*_told(directory, len(texts), chosen), *_alerts(given, secrets), "", _next(given)]))
    return OK


def _next(given: Values) -> str:
    first = {name: given[name].split(",")[0] for name in ("prometheus_address", "alertmanager_address")}
    return _NEXT.format(**{name: quote(value) for name, value in {**given, **first}.items()})


def _failed(status: int, message: str) -> int:
    for line in message.splitlines():
        print(safe(f"config export: {line}"), file=sys.stderr)
    return status


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _chosen(args: argparse.Namespace) -> dict[str, ParameterValue]:
    """The parameters that were given, with their values: the strongest source last."""
    chosen = parameters_in(args.config, os.environ) if args.config else {}
    for name in _COMMON:
        if (value := getattr(args, name, None)) is not None:
            chosen[name] = ParameterValue(value, _option(name))
    for text in args.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"--set {text}: NAME=VALUE is expected")
        chosen[name.strip()] = ParameterValue(value.strip(), "--set")
    return chosen


def _told(directory: Path, files: int, chosen: dict[str, ParameterValue]) -> list[str]:
    width = max(map(len, chosen), default=0)
    return [
        safe(f"wrote {files} files into {directory}"),
        *(safe(f"  {name:<{width}}  {told.value}  ({told.source})") for name, told in chosen.items()),
    ]


def _secrets(directory: Path, given: Values) -> list[Path]:
    from multiagents_otel.tools.deploy.export import write

    folder = Path(given["alert_secrets"])
    if folder.is_absolute() or ".." in folder.parts:
        return []  # a place in a container, or on another machine: nothing is written outside of the directory
    written = write_secrets(directory / "alertmanager" / folder, given, os.environ)
    if written:
        # The other files are made to be committed.
        write(directory, {"alertmanager/.gitignore": f"/{folder.as_posix()}/\n"})
    return written


def _alerts(given: Values, secrets: list[Path]) -> list[str]:
    used = [channel for name, channel in _CHANNELS.items() if given[name] not in ("", "false")]
    if not used:
        return [f"alerts go nowhere: the environment has none of {', '.join(_VARIABLES)}"]
    watched = [] if given["watchdog_url"] else ["nobody notices if alerting itself dies: WATCHDOG_URL is not set"]
    return [f"alerts go to {', '.join(used)}", *(safe(f"  {path}, mode 0600") for path in secrets), *watched]


def _list() -> list[str]:
    lines = []
    for row in PARAMETERS.values():
        lines.append(f"{row.name} = {row.default or '(empty)'}  ({row.kind})")
        lines += wrap(row.help, 96, initial_indent="    ", subsequent_indent="    ")
    return lines
