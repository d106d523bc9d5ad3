"""The next SDK, in which something internal has another name: the public API is used, one line says so, no data lost.

A copy of the installed SDK in which one name is replaced everywhere stands for it; the program runs on it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry import sdk

from tests.sdk.test_exports import assert_same_exports, run

_SDK: Final = Path(next(iter(sdk.__path__)))
_TRACE: Final = "trace/__init__.py"

SPANS: Final = {
    "a parameter of Span": (_TRACE, r"\btrace_config\b", "its_config"),
    "a new parameter of Span": (_TRACE, "trace_config: None = None", "trace_config: None = None, more: object = None"),
    "Tracer._instrumentation_scope": (_TRACE, "self._instrumentation_scope", "self._its_scope"),
    "Tracer._span_limits": (_TRACE, "_span_limits", "_the_limits"),
    "Tracer.resource": (_TRACE, r"(?<=resource=)self\.resource|self\.resource(?= = resource)", "self.its_resource"),
    "Tracer.span_processor": (_TRACE, r"\bself\.span_processor\b", "self.its_processor"),
    "Tracer.instrumentation_info": (_TRACE, r"\bself\.instrumentation_info\b", "self.its_info"),
    "SpanLimits.max_span_attribute_length": (_TRACE, "max_span_attribute_length", "max_length"),
    "Span._name": (_TRACE, r"\b_name\b", "_its_name"),
    "Span._context": (_TRACE, r"\b_context\b", "_its_context"),
    "Span._parent": (_TRACE, r"\b_parent\b", "_its_parent"),
    "Span._kind": (_TRACE, r"\b_kind\b", "_its_kind"),
    "Span._status": (_TRACE, r"\b_status\b", "_its_status"),
    "Span._start_time": (_TRACE, r"\b_start_time\b", "_begin_time"),
    "Span._end_time": (_TRACE, r"\b_end_time\b", "_last_time"),
    "Span._resource": (_TRACE, r"\b_resource\b", "_its_resource"),
    "Span._lock": (_TRACE, r"\b_lock\b", "_its_lock"),
    "Span._span_processor": (_TRACE, r"\b_span_processor\b", "_its_processor"),
    "a new call of a processor": (
        _TRACE,
        "self._span_processor.on_end(self._readable_span())",
        "self._span_processor.force_flush(1); self._span_processor.on_end(self._readable_span())",
    ),
    "a new field of what is exported": (
        _TRACE,
        r'"resource": json.loads',
        '"events_lock": type(self._events).__name__, "resource": json.loads',
    ),
}
_METRICS: Final = "metrics/_internal/**/*.py"
HISTOGRAMS: Final = {
    name: (_METRICS, rf"\b{name}\b", f"{name}_of_the_next")
    for name in (
        "_ExplicitBucketHistogramAggregation",
        "_DropAggregation",
        "AlignedHistogramBucketExemplarReservoir",
        "TraceBasedExemplarFilter",
        "_measurement_consumer",
        "_reader_storages",
        "_sdk_config",
        "_instrument_view_instrument_matches",
        "_attributes_aggregation",
        "_aggregation",
        "_boundaries",
        "_record_min_max",
        "_reservoir",
        "_attributes",
        "_value",
        "_sum",
        "_min",
        "_max",
    )
} | {
    "_Aggregation._lock": ("metrics/_internal/aggregation.py", r"\b_lock\b", "_its_lock"),
    "another sum": (
        "metrics/_internal/aggregation.py",
        r"self\._sum \+= measurement_value",
        "self._sum += 2 * measurement_value",
    ),
}
QUICK: Final = (
    "a parameter of Span",
    "Span._end_time",
    "a new call of a processor",
    "_ExplicitBucketHistogramAggregation",
    "_sum",
)
ALL: Final = {**SPANS, **HISTOGRAMS}


def next_sdk(path: Path, files: str, old: str, new: str) -> None:
    """Copy the SDK, and replace in its files."""
    shutil.copytree(_SDK, path / "opentelemetry" / "sdk", ignore=shutil.ignore_patterns("__pycache__"))
    changed = 0
    for file in (path / "opentelemetry" / "sdk").glob(files):
        text, count = (re.subn if "\\" in old else replaced)(old, new, file.read_text())
        file.write_text(text)
        changed += count
    assert changed, f"this SDK has no {old}"
    if (
        files == _METRICS and new.endswith("_of_the_next") and not old.startswith(r"\b_")
    ):  # a public name stays where it was
        public = path / "opentelemetry" / "sdk" / "metrics" / "__init__.py"
        name = new.removesuffix("_of_the_next")
        public.write_text(re.sub(rf"^(\s+){name},$", rf"\1{new} as {name},", public.read_text(), flags=re.MULTILINE))


def replaced(old: str, new: str, text: str) -> tuple[str, int]:
    return text.replace(old, new), text.count(old)


@pytest.fixture(scope="module")
def today() -> Any:
    """What is exported with the installed SDK."""
    return run("light", "default")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALL]
)
def test_an_sdk_that_has_changed_is_used_by_its_public_api(name: str, today: Any, tmp_path: Path) -> None:
    next_sdk(tmp_path, *ALL[name])
    seen = run("light", "default", path=tmp_path)
    part, way = ("spans", "spans are made by") if name in SPANS else ("histograms", "histograms are recorded")
    (line,) = seen["lines"]
    assert line.startswith("multiagents_otel: opentelemetry-sdk ")
    assert way in line, part
    assert seen["light"] == (name in HISTOGRAMS)
    expected = today if name != "another sum" else run("ordinary", "default", path=tmp_path)
    assert_same_exports(seen, expected)
