"""The options as arguments of a call: for type checkers, for ``help()``, and when they are wrong."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multiagents_otel import MultiAgentsInstrumentor, OptionError, auto_instrument
from multiagents_otel.config import OPTIONS, OptionArguments, Options
from tests.support.processes import Process

CALLS = [auto_instrument, MultiAgentsInstrumentor.instrument]
OTHERS = ["config", "tracer_provider", "meter_provider", "logger_provider"]


def parts(kind: Any) -> set[Any]:
    """The types in a union, without their arguments."""
    return {typing.get_origin(part) or part for part in typing.get_args(kind)}


def test_the_table_the_arguments_and_the_resolved_options_have_the_same_names() -> None:
    names = [option.name for option in OPTIONS]
    assert list(OptionArguments.__annotations__) == names
    resolved = typing.get_type_hints(Options)
    assert [name for name in resolved if name != "arguments"] == names
    assert set(vars(Options())) == {*names, "arguments"}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_arguments_type_accepts_none_and_the_default_and_yields_the_resolved_type(option: Any) -> None:
    argument = parts(typing.get_type_hints(OptionArguments)[option.name])
    assert type(None) in argument
    assert any(issubclass(type(option.default), kind) for kind in argument)
    resolved = typing.get_type_hints(Options)[option.name]
    value = getattr(Options({}, {}), option.name)
    assert isinstance(value, tuple(parts(resolved)) if value is None else typing.get_origin(resolved) or resolved)


@pytest.mark.parametrize("function", CALLS)
def test_the_signature_and_help_show_every_option(function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters
    keywords = [name for name, one in parameters.items() if one.kind is inspect.Parameter.KEYWORD_ONLY]
    names = [option.name for option in OPTIONS]
    assert keywords[: len(OTHERS)] == OTHERS
    assert keywords[-len(names) :] == names
    assert not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    assert {parameters[name].default for name in (*OTHERS, *names)} == {None}
    hints = typing.get_type_hints(OptionArguments)
    assert {name: parameters[name].annotation for name in names} == hints
    shown = inspect.getdoc(function) or ""
    for option in OPTIONS:
        assert f"\n    {option.name}: {option.help} ({option.expected})" in shown


def test_a_bound_method_shows_the_options_without_self() -> None:
    parameters = list(inspect.signature(MultiAgentsInstrumentor().instrument).parameters)
    assert parameters[:2] == ["config", "tracer_provider"]
    assert parameters[-1] == OPTIONS[-1].name


@pytest.mark.parametrize("function", CALLS)
def test_annotations_can_be_read_at_run_time(function: Callable[..., Any]) -> None:
    assert {"config", "options", "return"} <= typing.get_type_hints(function).keys()


@pytest.mark.parametrize("call", [auto_instrument, MultiAgentsInstrumentor().instrument])
@pytest.mark.parametrize("error", [TypeError, OptionError])
def test_an_unknown_argument_is_a_type_error_that_names_the_closest_option(
    call: Callable[..., Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"^multiagents_otel has no option 'stal_grace': did you mean 'stall_grace'\?$"):
        call(stal_grace=3)


def test_an_unknown_name_in_a_configuration_is_no_type_error() -> None:
    with pytest.raises(OptionError) as caught:
        auto_instrument(config={"instrumentation": {"stal_grace": 3}})
    assert not isinstance(caught.value, TypeError)


# --- resolved once --------------------------------------------------------------------------------


def test_an_iterator_as_an_argument_holds_for_the_whole_call() -> None:
    code = """
    from multiagents_otel import MultiAgentsInstrumentor, auto_instrument
    auto_instrument(excluded_events=(name for name in ["command.noise"]), redact_keys=iter(["iban"]))
    options = MultiAgentsInstrumentor._active.telemetry.options
    print(options.excluded_events, options.redact_keys)
    """
    with Process.python(code, env=_NOTHING) as process:
        assert process.wait_ok(60).splitlines()[-1] == "('command.noise',) ('iban',)"


_NOTHING = dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "none")


def test_auto_instrument_reads_files_and_variables_once(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("instrumentation: {stall_grace: 7}\n")
    code = """
    import os, sys
    from multiagents_otel import MultiAgentsInstrumentor, auto_instrument
    opened, read = [], []
    sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" else None)

    class Environment(type(os.environ)):
        def __getitem__(self, key):
            read.append(key)
            return super().__getitem__(key)

    os.environ.__class__ = Environment
    auto_instrument(status_events=True)
    options = MultiAgentsInstrumentor._active.telemetry.options
    print(options.stall_grace, options.status_events)
    print(sum(str(name).endswith("m.yaml") for name in opened), read.count("MULTIAGENTS_OTEL_STALL_GRACE"))
    """
    with Process.python(code, env=_NOTHING | {"MULTIAGENTS_OTEL_CONFIG": str(path)}) as process:
        assert process.wait_ok(60).splitlines()[-2:] == ["7.0 True", "1 1"]


# --- type checkers --------------------------------------------------------------------------------

USER = """
import multiagents_otel
from multiagents_otel import MultiAgentsInstrumentor, auto_instrument
from multiagents_otel.config import OptionArguments

monitoring = auto_instrument(
    config="monitoring.yaml", detailed_timing=False, excluded_events=["a"], stall_grace=3, redact_keys=None,
    publish_hook=lambda span, event_type, event: None,
)
MultiAgentsInstrumentor().instrument(detailed_timing=True, skip_dep_check=True)
options: OptionArguments = {"keep_errors": False}
multiagents_otel.auto_instrument(**options)
reveal_type(monitoring)
reveal_type(multiagents_otel.flush(timeout=1))
"""

MISTAKES = {
    "auto_instrument(detailed_timin=True)": 'Unexpected keyword argument "detailed_timin" for "auto_instrument"',
    'auto_instrument(detailed_timing="no")': 'Argument "detailed_timing" to "auto_instrument" has incompatible type',
    "auto_instrument(excluded_events=[1])": "List item 0 has incompatible type",
    "auto_instrument(True)": "Too many positional arguments",
    "MultiAgentsInstrumentor().instrument(stal_grace=1)": 'Unexpected keyword argument "stal_grace" for "instrument"',
    'MultiAgentsInstrumentor().instrument(stall_grace="1")': 'Argument "stall_grace" to "instrument"',
    'wrong: OptionArguments = {"kep_errors": True}': 'Extra key "kep_errors"',
    "multiagents_otel.auto_instrumnt()": 'Module has no attribute "auto_instrumnt"',
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says of a user's program: right calls first, a mistake in each line behind them."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "program.py").write_text(USER + "\n".join(MISTAKES) + "\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "program.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.stdout.splitlines()


def of_line(checked: list[str], line: int) -> list[str]:
    return [text for text in checked if text.startswith(f"program.py:{line}: ")]


def test_a_type_checker_accepts_right_calls_and_knows_what_they_return(checked: list[str]) -> None:
    first = len(USER.splitlines())
    said = [text for line in range(1, first + 1) for text in of_line(checked, line)]
    assert said == [
        f'program.py:{first - 1}: note: Revealed type is "multiagents_otel.monitoring.Monitoring"',
        f'program.py:{first}: note: Revealed type is "bool"',
    ]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_type_checker_finds_a_wrong_call(checked: list[str], mistake: str) -> None:
    said = of_line(checked, len(USER.splitlines()) + 1 + list(MISTAKES).index(mistake))
    assert any(f"error: {MISTAKES[mistake]}" in text for text in said), said
