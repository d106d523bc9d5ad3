"""What stands below a chart's axis."""

from __future__ import annotations

from multiagents_otel.tools.report.charts import Time


def names(slot: float) -> tuple[list[str], str]:
    time = Time([1795534140 + each * slot for each in range(24)], slot)
    return [time.name(0), time.name(1), time.name(23)], time.when(1)


def test_the_parts_of_a_period_have_names_that_tell_them_apart() -> None:
    assert names(6) == (["15:29:00", "15:29:06", "15:31:18"], "24 Nov 15:29:06 UTC")
    assert names(3600) == (["15:29", "16:29", "14:29"], "24 Nov 16:29 UTC")
    assert names(86_400) == (["24 Nov", "25 Nov", "17 Dec"], "25 Nov 15:29 UTC")
