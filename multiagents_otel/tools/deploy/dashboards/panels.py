"""How a panel is made. Each says what it shows in its description; a query's legend names what its series are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Final, TypeAlias

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, statetimeline, table, tempo
from grafana_foundation_sdk.builders import timeseries as graphs
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from multiagents_otel.tools.deploy.dashboards import traces

Panel: TypeAlias = "graphs.Panel | heatmap.Panel | stat.Panel | statetimeline.Panel | table.Panel"
Steps: TypeAlias = "Mapping[float, str]"
"""Colours by the value from which on they hold; green below the first."""

METRICS: Final = DataSourceRef(type_val="prometheus", uid="${metrics}")

STATUS_COLORS: Final = {
    "completed": "green", "success": "green", "delivered": "green",
    "failed": "red", "error": "red", "undelivered": "red",
    "compensated": "orange", "stalled": "purple", "cancelled": "#8e8e8e",
}  # fmt: skip

_STEP: Final = "$export"  # nothing new comes more often than the application exports
_HEIGHT: Final = 8


@dataclass(frozen=True)
class Query:
    """One query of a graph. With ``exemplars`` each dot on the graph is the trace of one measurement."""

    expr: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a table: a query with the table's keys as labels."""

    title: str
    expr: str
    unit: str = "none"
    decimals: int | None = None
    steps: Steps | None = None


def graph(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = 12,
    stacked: bool = False,
    bars: bool = False,
    steps: Steps | None = None,
    most: float | None = None,
    links: Sequence[dashboard.DashboardLink] = (),
) -> graphs.Panel:
    """Lines over time, or ``bars`` for what happened in each interval.

    They are ``stacked`` where the sum means something. ``steps`` are drawn as lines.
    """
    panel = graphs.Panel().title(title).description(description).datasource(METRICS).unit(unit).min(0)
    panel = panel.span(width).height(_HEIGHT).fill_opacity(60 if bars else 30 if stacked else 8).line_width(1)
    panel = panel.draw_style(looks.GraphDrawStyle.BARS if bars else looks.GraphDrawStyle.LINE)
    panel = panel.show_points(looks.VisibilityMode.AUTO).legend(_legend()).tooltip(_tooltip()).no_value("none")
    if stacked or bars:
        panel = panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL))
    if most is not None:
        panel = panel.max(most)
    if steps:
        style = common.GraphThresholdsStyleConfig().mode(looks.GraphTresholdsStyleMode.DASHED)
        panel = panel.thresholds(_thresholds(steps)).thresholds_style(style)
    if links:
        panel = panel.data_links(list(links))
    for name, color in STATUS_COLORS.items():
        if any(query.legend == "{{status}}" for query in queries):
            panel = panel.override_by_name(name, [_color(color)])
    return panel.targets([_over_time(query, ref) for ref, query in zip(ascii_uppercase, queries, strict=False)])


def number(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "none",
    width: int = 4,
    steps: Steps | None = None,
    decimals: int | None = None,
    none: str = "none",
) -> stat.Panel:
    """A number for each query, as of the end of the time range; ``none`` is shown where there is nothing to count."""
    panel = stat.Panel().title(title).description(description).datasource(METRICS).unit(unit).no_value(none)
    panel = panel.span(width).height(4).graph_mode(looks.BigValueGraphMode.NONE).thresholds(_thresholds(steps or {}))
    panel = panel.color_mode(looks.BigValueColorMode.VALUE)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    if decimals is not None:
        panel = panel.decimals(decimals)
    for ref, query in zip(ascii_uppercase, queries, strict=False):
        panel = panel.with_target(_query(query.expr, ref).instant().legend_format(query.legend))
    return panel


def listing(
    title: str, description: str, keys: Mapping[str, str], *columns: Column, width: int = 24, sort: str | None = None
) -> table.Panel:
    """A table with a line for each set of ``keys`` (labels, and the titles of their columns)."""
    panel = _table(title, description, METRICS, width)
    referred = list(zip(ascii_uppercase, columns, strict=False))
    names = {f"Value #{ref}" if len(columns) > 1 else "Value": column.title for ref, column in referred}
    shown = {"excludeByName": {"Time": True}, "renameByName": {**keys, **names}}
    panel = panel.transformations(
        [
            DataTransformerConfig(id_val="merge", options={}),
            DataTransformerConfig(id_val="organize", options=shown),
        ]
    )
    for column in columns:
        panel = panel.override_by_name(column.title, _cells(column))
    if sort:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])
    for ref, column in referred:
        panel = panel.with_target(_query(column.expr, ref).instant().format(PromQueryFormat.TABLE))
    return panel


def heat(title: str, description: str, histogram: str, *, width: int = 12, exemplars: bool = True) -> heatmap.Panel:
    """How many measurements fell into each bucket of a histogram (a selector of ``..._bucket``)."""
    panel = heatmap.Panel().title(title).description(description).datasource(METRICS).span(width).height(_HEIGHT)
    panel = panel.color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
    panel = panel.y_axis(heatmap.YAxisConfig().unit("s")).calculate(False).show_tooltip().show_legend()
    counted = f"sum by (le) (increase({histogram}[$__rate_interval]))"
    target = _query(counted, "A").range().interval(_STEP).legend_format("{{le}}").format(PromQueryFormat.HEATMAP)
    return panel.with_target(target.exemplar(exemplars))


def states(
    title: str, description: str, query: Query, meaning: Mapping[str, tuple[str, str]], *, width: int = 12
) -> statetimeline.Panel:
    """A band for each series; ``meaning`` has a text and a colour for each value."""
    panel = statetimeline.Panel().title(title).description(description).datasource(METRICS).span(width)
    shown = {
        value: ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(meaning.items())
    }
    panel = panel.height(_HEIGHT).mappings([ValueMap(options=shown)]).merge_values(True).legend(_legend())
    return panel.no_value("none").with_target(_over_time(query, "A"))


def found(title: str, description: str, traceql: str, *, width: int = 12) -> table.Panel:
    """The traces that a search finds, each with a link to itself."""
    panel = _table(title, description, traces.SOURCE, width)
    query = tempo.TempoQuery().ref_id("A").query_type("traceql").query(traceql).limit(20).datasource(traces.SOURCE)
    return panel.with_target(query)


def _table(title: str, description: str, source: DataSourceRef, width: int) -> table.Panel:
    panel = table.Panel().title(title).description(description).datasource(source).span(width).height(_HEIGHT)
    return panel.show_header(True).no_value("none")


def _query(expr: str, ref: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expr).ref_id(ref).datasource(METRICS)


def _over_time(query: Query, ref: str) -> prometheus.Dataquery:
    target = _query(query.expr, ref).range().interval(_STEP).legend_format(query.legend)
    return target.exemplar(query.exemplars)


def _legend() -> common.VizLegendOptions:
    options = common.VizLegendOptions().display_mode(looks.LegendDisplayMode.LIST)
    return options.placement(looks.LegendPlacement.BOTTOM).show_legend(True)


def _tooltip() -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING)


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    rows = [Threshold(value=None, color="green"), *(Threshold(value=at, color=color) for at, color in steps.items())]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(rows)


def _color(color: str) -> DynamicConfigValue:
    return DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})


def _cells(column: Column) -> list[DynamicConfigValue]:
    cells = [DynamicConfigValue(id_val="unit", value=column.unit)]
    if column.decimals is not None:
        cells.append(DynamicConfigValue(id_val="decimals", value=column.decimals))
    if column.steps:
        cells.append(DynamicConfigValue(id_val="thresholds", value=_thresholds(column.steps).build()))
        cells.append(DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}))
    return cells
