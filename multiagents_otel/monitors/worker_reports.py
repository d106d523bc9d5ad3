"""What a worker monitor answers: plain dicts that JSON can hold, with the guide's keys and the framework's."""

from __future__ import annotations

from typing import Any, Final

from multiagents_otel.monitors.figures import Figures, sum_of
from multiagents_otel.monitors.health import FAILED, LEVELS, RECENT_MINUTES, Recent
from multiagents_otel.monitors.reports import now
from multiagents_otel.monitors.traces import iso
from multiagents_otel.monitors.workers import Worker, Workers

_TOP: Final = 5


def _when(workers: Workers, moment: float | None) -> str | None:
    return iso(workers.wall(moment)) if moment is not None else None


def _latest(workers: Workers, found: list[Worker], what: str) -> str | None:
    return _when(workers, max((at for worker in found if (at := getattr(worker, what)) is not None), default=None))


def _figures(figures: Figures) -> dict[str, Any]:
    median, p95, p99 = figures.quantiles(0.5, 0.95, 0.99)
    return {
        "total_executions": figures.finished,
        "success_count": figures.success,
        "error_count": figures.failed,
        "timeout_count": figures.timeout,
        "success_rate": figures.success_rate,
        "error_rate": figures.error_rate,
        "avg_duration_ms": figures.average,
        "p50_duration_ms": median,
        "p95_duration_ms": p95,
        "p99_duration_ms": p99,
    }


def performance(workers: Workers, name: str, asked: Any) -> dict[str, Any]:
    """``get_worker_performance``."""
    minutes, found = workers.windows.minutes(asked), workers.named(name)
    figures = sum_of(workers.windows.window(minutes, [worker.key for worker in found]))
    return {
        "worker_name": name,
        "time_window_minutes": asked if asked == minutes else minutes,
        **_figures(figures),
        "active_executions": sum(len(worker.running) for worker in found),
        "last_execution": _latest(workers, found, "last_execution"),
        "last_seen": _latest(workers, found, "last_seen"),
    }


def summary(workers: Workers, asked: Any) -> dict[str, Any]:
    """``get_worker_performance_summary``."""
    minutes = workers.windows.minutes(asked)
    table, recent = workers.windows.window(minutes), workers.windows.window(RECENT_MINUTES)
    by_name: dict[str, Figures] = {}
    lines: list[dict[str, Any]] = []
    for worker in workers:
        figures = table.get(worker.key) or Figures()
        by_name.setdefault(worker.label, Figures()).add(figures)
        status = workers.examine(worker, recent).status
        lines.append(
            {
                "worker_key": worker.key,
                "worker_type": worker.label,
                "worker_instance": worker.instance,
                "recent_commands": figures.finished,
                "success_rate": figures.success_rate,
                "failure_rate": figures.error_rate,
                "average_processing_time": figures.average / 1e3,
                "health_status": status,
                "last_activity": _when(workers, worker.last_seen),
            }
        )
    whole = sum_of(by_name)
    active = [line for line in lines if line["recent_commands"]]
    return {
        "time_window_minutes": asked if asked == minutes else minutes,
        "total_workers": len(by_name),
        "worker_metrics": {
            name: {**_figures(figures), "last_execution": _latest(workers, workers.named(name), "last_execution")}
            for name, figures in by_name.items()
        },
        "aggregated_metrics": {
            "total_commands": whole.finished,
            "successful_commands": whole.success,
            "failed_commands": whole.error,
            "timeout_commands": whole.timeout,
            "average_success_rate": whole.success_rate,
            "average_duration_ms": whole.average,
            "average_processing_time": whole.average / 1e3,
        },
        "workers": {line["worker_key"]: line for line in lines},
        "top_performers": sorted(active, key=lambda line: (-line["success_rate"], line["average_processing_time"]))[
            :_TOP
        ],
        "problem_workers": sorted(
            (line for line in lines if line["failure_rate"] > 10 or line["health_status"] != LEVELS[0]),
            key=lambda line: -line["failure_rate"],
        ),
        "metrics_collected_at": now(),
    }


def health(workers: Workers, name: str) -> dict[str, Any]:
    """``check_worker_health``."""
    found = workers.named(name)
    if not found:
        names = ", ".join(workers.names) or "none yet"
        issue = f"no worker of this name has been seen here; the known ones: {names}"
        return _health(workers, name, FAILED, [issue], Recent(0, 0, 0.0, 0.0), [])
    examined = [(workers.examine(worker), worker) for worker in found]
    level = max(findings.level for findings, _worker in examined)
    issues = [
        issue if len(found) == 1 else f"{worker.key}: {issue}"
        for findings, worker in examined
        for issue in findings.issues
    ]
    recents = [workers.recent(worker) for worker in found]
    executions, failed = sum(recent.executions for recent in recents), sum(recent.failed for recent in recents)
    rate = 100.0 * failed / executions if executions else 0.0
    p95 = max(recent.p95 for recent in recents)
    return _health(workers, name, LEVELS[level], issues, Recent(executions, failed, rate, p95), found)


def _health(
    workers: Workers, name: str, status: str, issues: list[str], recent: Recent, found: list[Worker]
) -> dict[str, Any]:
    return {
        "worker_name": name,
        "status": status,
        "last_seen": _latest(workers, found, "last_seen"),
        "last_execution": _latest(workers, found, "last_execution"),
        "recent_error_rate": recent.error_rate,
        "recent_executions": recent.executions,
        "recent_p95_duration_ms": recent.p95,
        "active_executions": sum(len(worker.running) for worker in found),
        "issues": issues,
        "checked_at": now(),
    }


def totals(workers: Workers, worker: Worker) -> dict[str, Any]:
    """``get_worker_metrics``: the fields of the framework's ``WorkerMetrics.to_dict()``, times in seconds."""
    figures = worker.totals
    return {
        "worker_type": worker.label,
        "worker_instance": worker.instance,
        "total_commands": figures.finished,
        "successful_commands": figures.success,
        "failed_commands": figures.error,
        "timeout_commands": figures.timeout,
        "success_rate": figures.success_rate,
        "failure_rate": figures.error_rate,
        "total_processing_time": figures.total / 1e3,
        "average_processing_time": figures.average / 1e3,
        "min_processing_time": worker.least / 1e3 if worker.least is not None else None,
        "max_processing_time": worker.most / 1e3 if worker.most is not None else None,
        "last_activity": _when(workers, worker.last_seen),
        "health_status": workers.examine(worker).status,
        "error_details": [
            {"timestamp": _when(workers, at), "error_message": error, "details": {}} for at, error in worker.errors
        ],
        "created_at": iso(worker.created),
    }


def health_status(workers: Workers, worker: Worker) -> dict[str, Any]:
    """``get_worker_health_status``, as the framework's monitor tells it."""
    told = totals(workers, worker)
    named = ("health_status", "last_activity", "total_commands", "success_rate", "failure_rate")
    return {"worker_key": worker.key, **{name: told[name] for name in named}}
