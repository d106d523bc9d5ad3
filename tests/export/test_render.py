"""What the markers in the pipeline's files mean."""

from __future__ import annotations

import pytest

from multiagents_otel.tools.deploy import generated, render
from multiagents_otel.tools.deploy.parameter import Parameter
from multiagents_otel.tools.deploy.parameters import PARAMETERS

ROWS = (
    Parameter("ratio", "number", "0.1", ""),
    Parameter("window", "duration", "5m", ""),
    Parameter("slack", "flag", "true", ""),
)
DEFAULTS = {row.name: row.default for row in ROWS}


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in ROWS:
        monkeypatch.setitem(PARAMETERS, row.name, row)
    monkeypatch.setitem(generated.GENERATED, "doors", lambda values: [f"- door of {values['window']}", "", "- last"])


TEXT = """\
a: x > 0.1  # parameter: ratio
b: |
  increase(x[5m]) > 0.1 or (x unless x offset 5m) > 0.15  # parameter: window, ratio
  more than {{ 0.1 | humanize }}{{/* parameter: ratio */}} in 5m
c:
  # >>> only with: slack
  - slack
  # >>> generated: doors
  - door of 5m

  - last
  # <<<
  # <<<
  - mail
"""


def test_with_all_defaults_a_file_comes_out_as_it_went_in() -> None:
    assert render.render(TEXT, DEFAULTS) == TEXT


def test_values_take_the_place_of_whole_words_in_marked_lines_and_regions_come_and_go() -> None:
    assert render.render(TEXT, {"ratio": "0.15", "window": "10s", "slack": "false"}) == (
        "a: x > 0.15  # parameter: ratio\n"
        "b: |\n"
        "  increase(x[10s]) > 0.15 or (x unless x offset 10s) > 0.15  # parameter: window, ratio\n"
        "  more than {{ 0.15 | humanize }}{{/* parameter: ratio */}} in 5m\n"
        "c:\n"
        "  - mail\n"
    )
    assert "  - door of 1h\n\n  - last\n" in render.render(TEXT, DEFAULTS | {"window": "1h"})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 0.2  # parameter: ratio\n", "is not in its line"),
        ("a: 0.1  # parameter: rate\n", "no parameter rate"),
        ("# >>> only with: slack\n", "no end"),
        ("# <<<\n", "never began"),
    ],
)
def test_a_marker_that_cannot_be_right_is_an_error(text: str, fault: str) -> None:
    with pytest.raises(render.MarkerError, match=fault):
        render.render(text, DEFAULTS)
