"""What a command prints that the README shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile

from tests.docs.tables import README, REPOSITORY


def export() -> re.Match[str]:
    """The export in the README: what is set before it, its arguments, and what it prints."""
    pattern = r"^\$ export (\w+)=(\S+)\n\$ multiagents-otel (config export .*)\n((?:.*\n)*?)```"
    match = re.search(pattern, README.read_text(), re.MULTILINE)
    assert match, "the README shows no export"
    return match


def printed_by_the_export() -> str:
    """What it prints now, in a folder of its own and without another channel for alerts."""
    variable, value, arguments, _ = export().groups()
    channels = ("ALERT_", "SMTP_", "PAGERDUTY_", "ESCALATION_", "WATCHDOG_", "SLACK_", "MULTIAGENT")
    environ = {name: text for name, text in os.environ.items() if not name.startswith(channels)}
    program = "import sys; from multiagents_otel.tools import main; sys.exit(main())"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", program, *shlex.split(arguments)],
            cwd=folder,
            env=environ | {variable: value, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    return done.stdout


def rewrite() -> None:
    """Put it into the README."""
    found, text = export(), README.read_text()
    README.write_text(text[: found.start(4)] + printed_by_the_export() + text[found.end(4) :])
