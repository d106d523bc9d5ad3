"""The page: whole without the network and without script, the same figures as the text, and safe whatever the names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.cli.shown import Run
from tests.report.conftest import END, HOUR, prometheus_with
from tests.report.history import History
from tests.report.reading import table
from tests.report.shop import shop
from tests.support.services import Prometheus

EVIL = '<script>alert("1")</script>'
_VOID = {"meta", "br", "link", "img", "input", "hr"}
_LOADING = {
    "script",
    "link",
    "img",
    "iframe",
    "object",
    "embed",
    "video",
    "audio",
    "source",
    "base",
    "form",
    "use",
    "image",
}


class Page(HTMLParser):
    """Elements, attributes, text and tables of a page; an element that is not closed in its place is an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text: list[str] = []
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._title = ""
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)
        named = dict(attrs).get("aria-label")
        if tag == "div" and named:
            self._title = named
        if tag == "table":
            self._rows = self.tables[self._title] = []
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if {"td", "th"} & set(self._open):
            self._rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for each, attributes in self.elements if each == tag]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with prometheus_with(shop(), tmp_path_factory.mktemp("shop")) as running:
        yield running


ASKED = ("--since", "4h", "--until", "2026-11-24T12:00")


def written(run: Run, url: str, path: Path, *options: str) -> str:
    shown = run("report", "--prometheus", url, *ASKED, "-o", str(path), *options)
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.splitlines()[-1] == f"wrote {path}"
    return path.read_text(encoding="utf-8")


@pytest.fixture
def html(run: Run, prometheus: Prometheus, tmp_path: Path) -> str:
    return written(run, prometheus.url, tmp_path / "report.html")


def test_it_loads_nothing_runs_nothing_and_forbids_both(html: str, prometheus: Prometheus) -> None:
    page = Page(html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & _LOADING
    attributes = [(name, value or "") for _, found in page.elements for name, value in found.items()]
    assert not [name for name, _ in attributes if name.startswith("on") or name.endswith(("href", "src", "action"))]
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    # The one address in it is written as text: whose figures they are.
    assert re.findall(r"https?://[^\s<\"']+", html) == [f"{prometheus.url}."]
    policies = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]


def test_it_can_be_mailed(html: str) -> None:
    assert len(html.encode()) < 200_000


def test_its_tables_say_what_the_text_says(run: Run, prometheus: Prometheus, html: str) -> None:
    page = Page(html)
    shown = run("report", "--prometheus", prometheus.url, *ASKED, "--width", "200")
    for title in ("Workflows", "Slowest steps", "Workers", "Error spikes", "Delivery", "Events"):
        rows = table(shown.out, title)
        assert page.tables[title] == [list(rows[0]), *(list(row.values()) for row in rows)]
    patterns = [list(row.values()) for row in table(shown.out, "Error patterns")]
    assert [row[:5] for row in page.tables["Error patterns"][1:]] == [row[:5] for row in patterns]


def test_its_plots_are_there_without_script_and_in_words(html: str) -> None:
    page = Page(html)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    assert captions == [
        "Workflows ended, by status",
        "Workflow success rate",
        "Workflow duration",
        "Queue time",
        "Slowest steps, by p95",
        "Costliest steps, by total time",
    ]
    pictures = page.all("svg")
    assert [each["aria-label"] for each in pictures[:6]] == captions
    assert {each["role"] for each in pictures} == {"img"}
    assert sum(tag == "polyline" for tag, _ in page.elements) >= 7
    strips = [each["aria-label"] for each in pictures if each.get("class") == "strip"]
    assert len(strips) == 3
    assert "oldest first: 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0" in strips
    figures = page.tables["Over time"]
    assert len(figures) == 1 + 24
    assert figures[1][0] == "2026-11-24 08:00"


def test_the_columns_of_the_plot_are_the_figures(html: str) -> None:
    """Each column's title tells its part; together they are what the table has."""
    titles = re.findall(r"<g><title>(.*?)</title>", html)
    drawn = [sum(map(int, re.findall(r"[a-z]+ (\d+)", title.partition("UTC: ")[2]))) for title in titles]
    figures = Page(html).tables["Over time"]
    assert drawn == [int(row[1]) for row in figures[1:]]


def test_it_is_made_for_readers_printers_and_both_colour_schemes(html: str) -> None:
    page = Page(html)
    assert page.elements[0] == ("html", {"lang": "en"})
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert "@media (prefers-color-scheme: dark)" in html
    assert "@media print" in html
    assert {each.get("scope") for each in page.all("th")} == {"col", "row"}
    boxes = [each for each in page.all("div") if each.get("role") == "region"]
    assert all(each["tabindex"] == "0" and each["aria-label"] for each in boxes)
    assert len(boxes) == len(page.all("table"))


def test_names_are_text_whatever_they_are(run: Run, tmp_path: Path) -> None:
    history = History((END - 9 * HOUR, END))
    process = history.process(f"{EVIL}&amp;", "a", END - 9 * HOUR, END)
    names = {EVIL: 0.2, '"><img src=x onerror=alert(1)>': 0.3, "\x1b]0;title\x07 ‮evil ": 0.1}
    process.workflow(END - HOUR, f"order{EVIL}", "failed", 0.6, names, "</style><b onclick='x'>Boom")
    with prometheus_with(history, tmp_path) as running:
        html = written(run, running.url, tmp_path / "report.html")
        page = Page(html)
        assert not {tag for tag, _ in page.elements} & {*_LOADING, "b onclick"}
        assert not [name for _, found in page.elements for name in found if name.startswith("on")]
        assert [row[0] for row in page.tables["Workers"][1:]] == [
            "\\x1b]0;title\\x07 \\u202eevil ",
            '"><img src=x onerror=alert(1)>',
            EVIL,
        ]
        assert page.tables["Error patterns"][1][1] == "</style><b onclick='x'>Boom"
        assert page.tables["Workflows"][1][0] == f"order{EVIL}"
        shown = run("report", "--prometheus", running.url, *ASKED)
        assert "\x1b" not in shown.out
        assert "‮" not in shown.out


def test_a_period_without_anything_makes_a_page_too(run: Run, tmp_path: Path) -> None:
    history = History((END - 9 * HOUR, END))
    process = history.process("shop", "a", END - 9 * HOUR, END)
    process.declare("multiagents_events_total", event_type="Event", status="success")
    with prometheus_with(history, tmp_path) as running:
        page = Page(written(run, running.url, tmp_path / "report.html"))
    assert "No workflow ended in this period that counts as a success or not." in page.text
    assert len(page.all("figure")) == 4
