"""``opentelemetry-instrument`` and ``multiagents-otel run``: telemetry for a program that has no code for it."""

from __future__ import annotations

import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.integration.conftest import Orders
from tests.integration.test_auto_instrument import has_configuration_file
from tests.support.expected import COMPLETED
from tests.support.processes import REPOSITORY, Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_payload
from tests.support.trees import roots, tree

BIN = Path(sys.executable).parent
INSTRUMENT = [str(BIN / "opentelemetry-instrument")]
RUN = [str(BIN / "multiagents-otel"), "run"]

APP = """
import logging, os, sys
from opentelemetry import metrics, trace
with trace.get_tracer("app").start_as_current_span("a-span"):
    metrics.get_meter("app").create_counter("a.counter").add(3)
from multiagents_otel import MultiAgentsInstrumentor
instrumentor = MultiAgentsInstrumentor()
print("instrumented", instrumentor.is_instrumented_by_opentelemetry)
print("detailed", instrumentor._active and instrumentor._active.telemetry.options.detailed_timing)
print("imported", sorted({"multiagents", "dspy", "redis"} & sys.modules.keys()))
print("arguments", sys.argv[1:])
"""
OURS, THEIRS = "multiagents_otel", "opentelemetry_distro"


@pytest.fixture
def app(tmp_path: Path) -> str:
    path = tmp_path / "app.py"
    path.write_text(APP)
    return str(path)


def metadata(directory: Path, name: str, entry_points: str) -> None:
    """Metadata of a distribution, which hides the installed one when its directory comes first on the path."""
    version = distribution(name).version
    folder = directory / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "entry_points.txt").write_text(entry_points)


def installed(tmp_path: Path, how: str) -> dict[str, str]:
    """The environment in which ours alone is installed, or both, with the entry points of one or the other first."""
    directory = tmp_path / "site"
    directory.mkdir()
    if how == "ours alone":
        metadata(directory, THEIRS, "")
    elif how != "as it is":
        first = OURS if how == "ours first" else THEIRS
        own = distribution(first).entry_points
        groups = {entry.group for entry in own}
        text = "".join(
            f"[{group}]\n" + "".join(f"{e.name} = {e.value}\n" for e in own if e.group == group) for group in groups
        )
        metadata(directory, first, text)
    # Without it "redis" is imported by its instrumentation.
    return {
        "PYTHONPATH": f"{directory}:{REPOSITORY}",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "redis,logging",
    }


def launched(argv: list[str], env: dict[str, str]) -> str:
    with Process(argv, env=env) as process:
        return process.wait_ok()


def check(receiver: OtlpReceiver, output: str) -> None:
    assert "instrumented True" in output.splitlines()
    assert "imported []" in output.splitlines()
    assert "Traceback" not in output
    assert [span.name for span in receiver.spans] == ["a-span"]
    assert receiver.total("a.counter") == 3


@pytest.mark.parametrize("how", ["ours alone", "ours first", "theirs first", "as it is"])
def test_opentelemetry_instrument_needs_no_code_and_no_settings(
    receiver: OtlpReceiver, tmp_path: Path, app: str, how: str
) -> None:
    environment = {**receiver.environment("http/protobuf", 3_600_000), **installed(tmp_path, how)}
    output = launched([*INSTRUMENT, sys.executable, app], environment)
    check(receiver, output)
    if how != "theirs first":  # their configurator builds another resource
        assert receiver.spans[0].resource["telemetry.distro.name"] == "multiagents-otel"


@pytest.mark.parametrize("distro", ["multiagents", "distro"])
@pytest.mark.parametrize("how", ["ours first", "theirs first"])
def test_the_distro_may_be_named(receiver: OtlpReceiver, tmp_path: Path, app: str, how: str, distro: str) -> None:
    environment = {**receiver.environment("http/protobuf", 3_600_000), **installed(tmp_path, how)}
    output = launched([*INSTRUMENT, sys.executable, app], environment | {"OTEL_PYTHON_DISTRO": distro})
    check(receiver, output)
    if distro == "multiagents":
        assert receiver.spans[0].resource["telemetry.distro.name"] == "multiagents-otel"


@pytest.mark.parametrize("how", ["ours alone", "ours first", "theirs first"])
def test_multiagents_otel_run_needs_nothing_set(receiver: OtlpReceiver, tmp_path: Path, app: str, how: str) -> None:
    environment = {**installed(tmp_path, how), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint}
    output = launched([*RUN, sys.executable, app, "--flag", "--", "-x"], environment)
    check(receiver, output)
    assert "arguments ['--flag', '--', '-x']" in output.splitlines()
    assert receiver.spans[0].resource["telemetry.distro.name"] == "multiagents-otel"
    assert receiver.spans[0].resource["telemetry.auto.version"]


def test_options_are_flags_of_the_launcher(receiver: OtlpReceiver, tmp_path: Path, app: str) -> None:
    environment = {**receiver.environment("http/protobuf"), **installed(tmp_path, "as it is")}
    flags = ["--multiagents_detailed_timing", "false", "--multiagents_flush_timeout", "3"]
    output = launched([*INSTRUMENT, *flags, sys.executable, app], environment)
    assert "detailed False" in output.splitlines()
    check(receiver, output)


def test_a_wrong_flag_is_one_error_and_the_default_holds(receiver: OtlpReceiver, tmp_path: Path, app: str) -> None:
    environment = {**receiver.environment("http/protobuf"), **installed(tmp_path, "as it is")}
    output = launched([*INSTRUMENT, "--multiagents_detailed_timing", "perhaps", sys.executable, app], environment)
    assert len([line for line in output.splitlines() if "'perhaps'" in line]) == 1
    assert "detailed True" in output.splitlines()


@has_configuration_file
def test_the_launcher_reads_the_configuration_file_without_a_word(
    receiver: OtlpReceiver, tmp_path: Path, app: str
) -> None:
    config = tmp_path / "otel.yaml"
    exporter = f"{{otlp_http: {{endpoint: '{receiver.http_endpoint}/v1/traces'}}}}"
    config.write_text(
        "file_format: '1.0'\n"
        f"tracer_provider: {{processors: [{{simple: {{exporter: {exporter}}}}}]}}\n"
        "instrumentation/development: {python: {multiagents: {detailed_timing: false}}}\n"
    )
    output = launched(
        [*RUN, sys.executable, app], {**installed(tmp_path, "ours alone"), "OTEL_CONFIG_FILE": str(config)}
    )
    assert output.splitlines() == ["instrumented True", "detailed False", "imported []", "arguments []"]
    assert [span.name for span in receiver.spans] == ["a-span"]


def test_an_instrumentation_that_fails_does_not_stop_ours(receiver: OtlpReceiver, tmp_path: Path, app: str) -> None:
    environment = {**receiver.environment("http/protobuf"), **installed(tmp_path, "ours alone")}
    site = tmp_path / "site"
    (site / "broken_instrumentation.py").write_text(
        "class Broken:\n    def instrument(self, **options):\n        raise RuntimeError('broken on purpose')\n"
    )
    folder = site / "aaa_broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: aaa-broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[opentelemetry_instrumentor]\naaa = broken_instrumentation:Broken\n")
    output = launched([*INSTRUMENT, sys.executable, app], environment)
    assert "broken on purpose" in output
    assert "instrumented True" in output.splitlines()
    assert [span.name for span in receiver.spans] == ["a-span"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "no program is given"),
        (["--"], "no program is given"),
        (["no-such-program", "app.py"], "there is no program 'no-such-program' on the PATH"),
        (["app.py"], "there is no program 'app.py': did you mean 'multiagents-otel run python app.py'?"),
    ],
)
def test_run_without_a_program_says_what_to_do(arguments: list[str], why: str) -> None:
    with Process([*RUN, *arguments]) as process:
        assert process.wait() == 2
        assert process.lines == [f"multiagents-otel run: {why}", "usage: multiagents-otel run python app.py"]


def test_run_has_a_help_and_the_programs_own_help_is_the_programs(tmp_path: Path) -> None:
    with Process([*RUN, "--help"]) as process:
        assert "example: multiagents-otel run python app.py" in process.wait_ok()
    with Process([*RUN, "--", sys.executable, "-c", "import sys; print(sys.argv)", "--help"]) as process:
        assert "['-c', '--help']" in process.wait_ok().splitlines()


def test_the_exit_status_of_run_is_the_programs(tmp_path: Path) -> None:
    env = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    with Process([*RUN, sys.executable, "-c", "raise SystemExit(7)"], env=env) as process:
        assert process.wait() == 7
    with Process([*RUN, sys.executable, "-c", "print('up', flush=True); input()"], env=env) as process:
        process.wait_line("up")
        assert process.terminate() == -15


@pytest.mark.parametrize("launcher", [INSTRUMENT, RUN], ids=["opentelemetry-instrument", "multiagents-otel run"])
def test_an_order_saga_without_any_code_of_ours_is_one_trace(orders: Orders, launcher: list[str]) -> None:
    worker = orders.worker(launcher=launcher)
    orchestrator = orders.orchestrator(launcher=launcher)
    orders.order(orchestrator, order_payload())
    orders.receiver.wait_for(
        lambda received: roots([span for span in received.spans if span.scope_name == "multiagents_otel"])
    )
    orders.stop(orchestrator, worker)
    assert tree([span for span in orders.receiver.spans if span.scope_name == "multiagents_otel"]) == COMPLETED
    assert orders.receiver.total("multiagents.workflows", {"status": "completed"}) == 1


NO_CODE = str(REPOSITORY / "examples" / "no_code" / "app.py")
DETAILED = """\
workflow.word_count INTERNAL
  step.count INTERNAL
    send command.find_words PRODUCER
      process command.find_words CONSUMER
        worker.find_words INTERNAL
        send result.find_words PRODUCER
          process result.find_words CONSUMER"""
BRIEF = """\
workflow.word_count INTERNAL
  step.count PRODUCER
    worker.find_words CONSUMER"""


@pytest.mark.parametrize(
    ("flags", "variables", "shown"),
    [
        ([], {"OTEL_PYTHON_DISTRO": "distro"}, DETAILED),
        ([], {"OTEL_PYTHON_DISTRO": "distro", "OTEL_PYTHON_CONFIGURATOR": "configurator"}, DETAILED),
        (["--multiagents_detailed_timing", "false"], {}, BRIEF),
    ],
    ids=["the other distro", "the other configurator too", "a flag"],
)
def test_a_program_without_any_code_of_ours_whichever_distro_launches_it_is_one_trace(
    redis: RedisServer, receiver: OtlpReceiver, flags: list[str], variables: dict[str, str], shown: str
) -> None:
    environment = {**receiver.environment("http/protobuf"), "REDIS_URL": redis.url, **variables}
    with Process([*INSTRUMENT, *flags, sys.executable, NO_CODE], env=environment) as process:
        assert process.wait_ok(60).splitlines()[-1] == "7 words"
    ours = [span for span in receiver.spans if span.scope_name == "multiagents_otel"]
    assert tree(ours) == shown
    assert receiver.total("multiagents.workflows", {"status": "completed"}) == 1
