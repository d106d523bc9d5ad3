"""The whole of the text, for a small case; what a narrow or plain terminal shows; and names that could steer one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.shown import Run
from tests.report.conftest import END, HOUR, prometheus_with
from tests.report.history import History
from tests.report.reading import table
from tests.support.processes import Process
from tests.support.services import Prometheus


def small() -> History:
    """A process, two hours, 22 orders in each; in the second two are declined and one command reaches nobody."""
    history = History((END - 3 * HOUR, END))
    process = history.process("shop", "a", END - 3 * HOUR, END)
    for hour in (2, 1):
        for number in range(20):
            at = END - hour * HOUR + 60 * number + 30
            process.workflow(at, "order", "completed", 0.3, {"check": 0.02, "charge": 0.2})
    for number in range(2):
        at = END - 1800 + 60 * number + 30
        process.workflow(at, "order", "compensated", 0.3, {"check": 0.02, "charge": 0.2}, "CardError")
        process.count(at, "multiagents_compensations_total", workflow_id="order", status="delivered")
        process.workflow(at - HOUR, "order", "completed", 0.3, {"check": 0.02, "charge": 0.2})
    process.count(
        END - 100, "multiagents_events_undelivered_total", event_type="CommandEvent", worker_name="\x1b[31mship"
    )
    return history


WHOLE = """\
multiagents report
2026-11-24 11:00 to 2026-11-24 12:00 UTC (1h), URL
services: shop (1 process)

90.9 % of workflows succeeded; the objective of 99 % is missed. 22 workflows ended.

Summary
                           now   before        change
  workflows ended           22       22          same
  workflow success      90.9 %    100 %  -9.09 points
  workflow p50          375 ms   375 ms          same
  workflow p95          487 ms   487 ms          same
  workflow p99          498 ms   498 ms          same
  stalled workflows          0        0          same
  compensations              2        0           new
  worker executions         44       44          same
  worker success        95.4 %    100 %  -4.55 points
  queue time p50       2.50 ms  2.50 ms          same
  queue time p95       23.5 ms  23.5 ms          same
  event success         95.4 %    100 %  -4.55 points
  undelivered events         1        0           new
  duplicated commands        0        0          same

Workflows
  workflow  completed  failed  compensated  cancelled  stalled  success     p50     p95     p99
  order            20       0            2          0        0   90.9 %  375 ms  487 ms  498 ms

Slowest steps
  By p95; share is of the time of all steps.
  step    workflow  runs      p50      p95      p99  total time   share
  charge  order       22   175 ms   242 ms   248 ms      4.40 s  90.9 %
  check   order       22  17.5 ms  24.3 ms  24.9 ms      440 ms   9.1 %

Workers
  worker  runs  errors  cancelled  success      p50      p95      p99  queue p95  total time
  charge    22       2          0   90.9 %   175 ms   242 ms   248 ms    24.3 ms      4.40 s
  check     22       0          0    100 %  17.5 ms  24.3 ms  24.9 ms    2.43 ms      440 ms

Error patterns
  Each mark under 'when' is 2m, the oldest first.
  worker  error type  errors  share  before  when
  charge  CardError        2  100 %       0  ···············█··············

Error spikes
  No worker had more than 10 errors of one type within 5 minutes.

Delivery
  fault        where                       count
  undelivered  CommandEvent, \\x1b[31mship      1

Events
  event         events  errors  success      p50     p95     p99
  CommandEvent      44       2   95.4 %  50.0 ms  475 ms  495 ms

Over time
  Each mark is 2m, the oldest first.
                   when                            highest
  workflows ended  ██████████·····█··············        2
    before         ██████████·····█··············        2
  not successful   ··········     █                  100 %
    before         ··········     ·                    0 %
  workflow p95     ██████████     █                 487 ms
    before         ██████████     █                 487 ms
  queue time p95   ██████████     █                23.5 ms
    before         ██████████     █                23.5 ms
  worker errors    ···············█··············        2
    before         ······························        0
"""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with prometheus_with(small(), tmp_path_factory.mktemp("small")) as running:
        yield running


def text(run: Run, prometheus: Prometheus, *options: str) -> str:
    shown = run(
        "report", "--prometheus", prometheus.url, "--since", "1h", "--until", "2026-11-24T13:00+01:00", *options
    )
    assert (shown.status, shown.err) == (0, "")
    return shown.out.replace(prometheus.url, "URL")


def test_the_whole_text(run: Run, prometheus: Prometheus) -> None:
    assert text(run, prometheus, "--width", "100") == WHOLE


def test_no_line_is_wider_than_the_terminal_and_what_matters_stays(run: Run, prometheus: Prometheus) -> None:
    narrow = text(run, prometheus, "--width", "60")
    assert max(map(len, narrow.splitlines())) == 60
    assert table(narrow, "Workflows") == [{"workflow": "order", **NARROW}]
    assert table(narrow, "Error patterns")[0]["when"] == "···············█··············"


NARROW = {"stalled": "0", "success": "90.9 %", "p50": "375 ms", "p95": "487 ms", "p99": "498 ms"}


def test_a_terminal_without_unicode_gets_plain_marks(prometheus: Prometheus) -> None:
    asked = ["report", "--prometheus", prometheus.url, "--since", "1h", "--until", "2026-11-24T12:00"]
    code = f"import sys; from multiagents_otel.tools import main; sys.exit(main({asked!r}))"
    with Process.python(code, env={"PYTHONIOENCODING": "ascii"}) as process:
        assert process.wait(30) == 0
        assert process.output.isascii()
        assert "...............8.............." in process.output


def test_colours_mark_what_is_bad_and_only_where_they_are_wanted(run: Run, prometheus: Prometheus) -> None:
    assert "\x1b[31mCardError\x1b[0m" in text(run, prometheus, "--color", "always")
    assert "\x1b" not in text(run, prometheus)
