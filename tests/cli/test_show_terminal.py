"""``multiagents-otel show`` on terminals, and the command around it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from multiagents_otel import semconv
from multiagents_otel.tools import main
from tests.cli.otlp_lines import (
    WORKER_A,
    Call,
    Data,
    exception,
    log,
    many,
    metrics,
    point,
    spans,
    total,
    workflow,
    write,
)
from tests.cli.shown import Run, Show

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "import sys; from multiagents_otel.tools import main; sys.exit(main())")

NASTY = "\x1b]0;owned\x07\x1b[2J\r\n\t\x9b31m\u202e\u2028\ud800\x00"


def nasty_lines() -> list[Data]:
    nasty = Call(
        1, 0, NASTY, 0, 9, (NASTY, NASTY), error=NASTY, message=NASTY, transaction=NASTY,
        extra=((semconv.WORKFLOW_ID, NASTY), (semconv.WORKFLOW_STATUS, NASTY), (semconv.FAILED_STEP, NASTY)),
        events=(exception(NASTY, f"other{NASTY}"), {"name": NASTY}),
    )  # fmt: skip
    return [
        spans(nasty, Call(2, 1, "b", 1, 2, WORKER_A)),
        log(semconv.LOG_WORKFLOW_STALLED, extra={NASTY: NASTY, semconv.WORKFLOW_ID: NASTY}),
        metrics(total(f"m{NASTY}", point({"asInt": "1"}, {NASTY: NASTY}), unit=NASTY), process=(NASTY, NASTY)),
        metrics({"name": f"g{NASTY}", "gauge": {"dataPoints": [point({"asInt": "1"})]}}, process=(NASTY, f"{NASTY}2")),
    ]


@pytest.mark.parametrize("color", ["always", "never"])
def test_control_characters_of_the_telemetry_do_not_reach_the_terminal(show: Show, color: str) -> None:
    shown = show(nasty_lines(), "--color", color)
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.out) if color == "always" else shown.out
    assert {character for character in text if unicodedata.category(character)[0] in "CZ"} == {" ", "\n"}
    assert r"\x1b]0;owned\x07" in text
    unknown = show(nasty_lines(), "--transaction", "\x1b[2Jx")
    assert "\x1b" not in unknown.err


@pytest.mark.parametrize("width", [60, 61, 72, 80, 100, 137, 250])
def test_lines_fit_and_bars_stay_aligned_whatever_the_names(show: Show, width: int) -> None:
    names = ["翻訳する", "🚀 launch 🚀", "e\u0301clair", "👩\u200d💻 coder", "a" * 300, "", "한국어 이름"]
    calls = [Call(n + 2, 1 if n % 2 else n + 1, name, 0, 100, (name or "x", str(n))) for n, name in enumerate(names)]
    shown = show([*nasty_lines(), spans(workflow(), *calls)], "--width", str(width), "--limit", "0")
    for line in shown.out.splitlines():
        assert columns(line) <= width, line
    starts = {columns(line[: line.index("━")]) for line in shown.out.split("─" * width)[0].splitlines() if "━" in line}
    assert len(starts) == 1


def columns(text: str) -> int:
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colors_are_for_terminals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "otlp.jsonl"
    write(path, [spans(workflow(status="failed", error="ValueError"))])

    def colored(stream: io.StringIO, *options: str) -> bool:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["show", str(path), *options]) == 0
        return "\x1b[31m" in stream.getvalue()

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colored(Terminal())
    assert not colored(io.StringIO())
    assert not colored(Terminal(), "--color", "never")
    assert colored(io.StringIO(), "--color", "always")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colored(Terminal())
    assert colored(Terminal(), "--color", "always")


def process(*argv: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *argv],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_an_output_that_has_only_ascii_gets_ascii(tmp_path: Path) -> None:
    write(tmp_path / "f", [spans(workflow(), Call(2, 1, "翻訳", 1, 50))])
    out, err = process("show", str(tmp_path / "f"), PYTHONIOENCODING="ascii", PYTHONUTF8="0").communicate()
    assert err == b""
    assert out.isascii()
    assert rb"`- \u7ffb\u8a33" in out


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path) -> None:
    write(tmp_path / "f", many(2000))
    running = process("show", str(tmp_path / "f"), "--limit", "0")
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.readline()
    running.stdout.close()
    assert running.stderr.read() == b""
    running.stderr.close()
    assert running.wait(timeout=60) == 0


def test_the_command_does_not_load_what_it_does_not_need() -> None:
    code = (
        "import sys, multiagents_otel.tools\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'multiagents', 'dspy', 'redis', 'rich'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["unknown"],
        ["show"],
        ["show", "f", "--limit", "-1"],
        ["show", "f", "--width", "59"],
        ["show", "f", "--color", "pink"],
    ],
)
def test_wrong_usage(run: Run, argv: list[str]) -> None:
    shown = run(*argv)
    assert (shown.status, shown.out) == (2, "")
    assert "usage: multiagents-otel" in shown.err


def test_help(run: Run) -> None:
    shown = run("show", "--help")
    assert (shown.status, shown.err) == (0, "")
    for option in ("--transaction ID", "--errors", "--limit N", "--no-metrics", "--width N", "--color"):
        assert option in shown.out
