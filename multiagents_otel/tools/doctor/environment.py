"""What can be seen without the program: versions, exporters, resource, other instrumentations."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution, entry_points, requires, version
from typing import Any, Final

from multiagents_otel import semconv
from multiagents_otel.config.environment import corrected_environment, wrong_values
from multiagents_otel.diagnostics.finding import FAULT, FINE, WARNING, Finding

FRAMEWORK: Final = "multiagents-framework"
_OURS: Final = "multiagents-otel"
_TESTED_FRAMEWORKS: Final = ">=0.1.0,<0.2"
_PATIENCE_SECONDS: Final = "3"


def examine() -> Iterator[Finding]:
    """Look at this environment; the variables and packages are those that a program started here would have."""
    for wrong in wrong_values(os.environ):
        if wrong.message:
            yield Finding(WARNING, wrong.name, wrong.message, "correct it, or unset it")
    with corrected_environment():
        yield from _examine()


def _examine() -> Iterator[Finding]:
    yield from _versions()
    yield from _exporters()
    yield from _resource()
    yield from _other_instrumentations()


# --- versions -------------------------------------------------------------------------------


def _versions() -> Iterator[Finding]:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    wrong = False
    for line in requires(_OURS) or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            wrong = True
            yield Finding(FAULT, "versions", f"{requirement.name} is not installed", f"pip install '{line}'")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong = True
            yield Finding(
                FAULT,
                "versions",
                f"{requirement.name} {installed} is outside the range {requirement.specifier}",
                f"pip install '{requirement.name}{requirement.specifier}'",
            )
    try:
        framework = version(FRAMEWORK)
    except PackageNotFoundError:
        yield Finding(
            FAULT, "versions", f"{FRAMEWORK} is not installed in this environment", f"pip install {FRAMEWORK}"
        )
        return
    if not SpecifierSet(_TESTED_FRAMEWORKS).contains(framework, prereleases=True):
        wrong = True
        yield Finding(
            WARNING,
            "versions",
            f"{FRAMEWORK} {framework} is not known here ({_TESTED_FRAMEWORKS} is)",
            "look for a warning in the program's log: it names what this version lacks and is not recorded",
        )
    if not wrong:
        yield Finding(
            FINE,
            "versions",
            f"{_OURS} {version(_OURS)}, {FRAMEWORK} {framework}, OpenTelemetry {version('opentelemetry-sdk')}",
        )


# --- exporters ------------------------------------------------------------------------------


def _exporters() -> Iterator[Finding]:
    from multiagents_otel import pipeline

    if os.environ.get("OTEL_CONFIG_FILE", "").strip():
        yield from _config_file(os.environ["OTEL_CONFIG_FILE"].strip())
        return
    if not pipeline.exports_by_environment():
        yield Finding(
            FAULT, "export", f"nothing is exported: {pipeline.why_nothing()}", "unset it, or name an exporter in it"
        )
        return
    os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", _PATIENCE_SECONDS)
    for signal in pipeline.SIGNALS:
        yield _try_exporter(signal, pipeline.exporter_names(signal), pipeline.exporters)


def _config_file(path: str) -> Iterator[Finding]:
    if os.path.isfile(path):  # noqa: PTH113 - as OpenTelemetry itself looks at it
        yield Finding(
            FINE, "export", f"OTEL_CONFIG_FILE={path} decides on everything; give the doctor your program to try it"
        )
    else:
        yield Finding(FAULT, "export", f"OTEL_CONFIG_FILE={path} is no file: nothing is exported", "name a file in it")


def _try_exporter(signal: str, names: list[str], make: Callable[[str], list[Any]]) -> Finding:
    """Send an empty batch through the very exporters that a program would have."""
    if not names:
        return Finding(
            WARNING,
            signal,
            f"not exported (OTEL_{signal.upper()}_EXPORTER=none)",
            "unset it if you want them",
        )
    told: list[str] = []
    try:
        with _listening(told):
            for exporter in make(signal):
                if hasattr(exporter, "export") and not _succeeded(exporter.export(_nothing(signal))):
                    where = getattr(exporter, "_endpoint", "")
                    raise ConnectionError(f"{where}: {_reason(told)}" if where else _reason(told))
                exporter.shutdown()
    except Exception as exception:
        return Finding(
            FAULT,
            signal,
            f"can't be exported ({', '.join(names)}): {exception}",
            "start a Collector or backend there, or set OTEL_EXPORTER_OTLP_ENDPOINT (and _PROTOCOL, _HEADERS) to yours",
        )
    return Finding(FINE, signal, f"{', '.join(names)} takes them")


def _nothing(signal: str) -> Any:
    if signal != "metrics":
        return []
    from opentelemetry.sdk.metrics.export import MetricsData

    return MetricsData([])


def _succeeded(result: Any) -> bool:
    return getattr(result, "name", "") == "SUCCESS"


@contextmanager
def _listening(told: list[str]) -> Iterator[None]:
    """Hear what OpenTelemetry logs meanwhile, in the place of the terminal: it knows why an export failed."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logger, listener = logging.getLogger("opentelemetry"), Listener(logging.WARNING)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagate


def _reason(told: list[str]) -> str:
    """The innermost reason out of what was logged."""
    text = told[0] if told else "it gave no reason"
    for mark in ("Failed to establish a new connection: ", "last error: ", "Caused by "):
        _before, found, after = text.rpartition(mark)
        if found:
            return after.split('")')[0].rstrip(").")
    return text


# --- resource, other instrumentations ---------------------------------------------------------


def _resource() -> Iterator[Finding]:
    from opentelemetry.sdk.resources import Resource

    name = str(Resource.create().attributes.get(semconv.SERVICE_NAME, ""))
    if name.startswith("unknown_service"):
        yield Finding(
            WARNING,
            semconv.SERVICE_NAME,
            f"the service has no name: backends will show {name!r}",
            "set OTEL_SERVICE_NAME, one for each program (order-orchestrator, order-workers)",
        )
    else:
        yield Finding(FINE, semconv.SERVICE_NAME, f"the service is {name!r}")


def _other_instrumentations() -> Iterator[Finding]:
    ours = {entry.value for entry in distribution(_OURS).entry_points}
    found = False
    for entry in entry_points(group="opentelemetry_instrumentor"):
        name = entry.dist.name if entry.dist else entry.module
        if entry.value not in ours and _instruments_the_framework(entry):
            found = True
            yield Finding(
                WARNING,
                "other instrumentation",
                f"{name} instruments {FRAMEWORK} too: every call would have two spans",
                f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS={entry.name}, or uninstall it",
            )
    if not found:
        yield Finding(FINE, "other instrumentation", f"none that is installed instruments {FRAMEWORK} too")


def _instruments_the_framework(entry: Any) -> bool:
    """Whether another package says of itself that it is for the framework; its code is not loaded for that."""
    metadata = entry.dist.metadata if entry.dist else None
    lines = [] if metadata is None else (metadata.get_all("Requires-Dist") or [])
    return any(line.lower().startswith(FRAMEWORK) for line in lines)
