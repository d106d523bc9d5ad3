"""Whatever a parameter is given: each file means it to its own reader, or nothing is written."""

from __future__ import annotations

import re
import string
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from multiagents_otel.tools.deploy.export import exported, write
from multiagents_otel.tools.deploy.forms import (
    ADDRESS,
    ADDRESSES,
    EMAIL,
    EMAILS,
    FOLDER,
    HOST,
    IMAGE,
    LABEL,
    LINE,
    PATH,
    RUNBOOK,
    URL,
    VARIABLE,
    Form,
)
from multiagents_otel.tools.deploy.parameters import PARAMETERS, ParameterError, values
from multiagents_otel.tools.deploy.parameters.relations import RELATIONS
from multiagents_otel.tools.deploy.render import render
from tests.cli.conftest import run  # noqa: F401 - a fixture
from tests.cli.shown import Run
from tests.support.services import find

QUICKLY: Final = settings(
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    database=None,
)

# --- values

NASTY: Final = (
    "a; touch pwned", "$(touch pwned)", "`touch pwned`", "Orders (EU)", "a & b", "a && touch pwned", "a | b", "it's",
    'say "x"', "100 %", "50%off", "{{ .Labels.x }}", "{{", "}}", "${HOME}", "$HOME", "$$", "#x", "a #b", "a: b", "a:",
    "-x", "- x", "!x", "*x", "&x", "?x", "@x", "%x", "|", ">", "~", "null", "Null", "yes", "no", "on", "y", "n",
    "true", "1e3", "0x10", "0o17", "010", "1_000", "12:30", ".5", ".inf", ".nan", "2020-01-01", "<<", "=", "[a]",
    "{a: b}", "a,b", "a\nb", "a\r\nb", "a\tb", "a\0b", "a\u2028b", "\ufeffa", "a\x7fb", "\udc80", "ünï ☃ 🎉", "a\\",
    "a\\nb", "\\", "'", '"', "'''", " a", "a ", "  ", "", "a" * 5000, "a/" * 900, "`'", "'`", "`\\", "$`'\"\\!",
    "\\$x", "!!", "!event", "A=b", "a\\'b", "--help", "::1", "[::1]", "[::1]:9090", "1.2.3.4:99999",
    "http://[::1]:4318", "http://a/?b=c&d=e;f#g", "http://a/$x", "http://a/{x}", "http://a b/", "http://user:pass@a/",
    "https://", "ftp://a/", "a@example.com;b@example.com", "a@example.com,", "@example.com", "a b <a@example.com>",
    "Team: a@example.com;", "٣s", "٣", "1٣",
)  # fmt: skip
"""Texts that mean something to one of the readers, or nothing to any."""

_name = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4})?(\.[a-z]{2,5}){0,2}", fullmatch=True)
_host = st.one_of(
    _name,
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"),
)
_port = st.integers(1, 65535).map(str)
_address = st.builds("{}:{}".format, _host, _port)
_rest = st.text(string.ascii_letters + string.digits + "-._~!&()*+,;=:@/?", max_size=20)
_url = st.builds("{}://{}:{}/{}".format, st.sampled_from(["http", "https"]), _host, _port, _rest)
_line = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=40
)
_email = st.builds("{}@{}".format, st.from_regex(r"[a-z0-9!#$%&'*+/=?^_|~-]{1,12}", fullmatch=True), _name)
_quoted = _line.map(lambda text: '"' + re.sub(r'["\\]', r"\\\g<0>", text.strip() or "x") + '"')
_mailbox = st.one_of(_email, st.builds("{} <{}>".format, st.one_of(_name, _quoted), _email))
_path = st.text(string.ascii_letters + string.digits + "./:@+(),=~% -_é", min_size=1, max_size=30)

LIKELY: Final[Mapping[Form, st.SearchStrategy[str]]] = {
    HOST: _host,
    ADDRESS: _address,
    ADDRESSES: st.lists(_address, min_size=1, max_size=3, unique=True).map(",".join),
    URL: _url,
    RUNBOOK: st.one_of(_url, _path),
    EMAIL: _mailbox,
    EMAILS: st.lists(_mailbox, min_size=1, max_size=3).map(", ".join),
    PATH: _path,
    FOLDER: _path,
    LINE: _line,
    VARIABLE: _line,
    IMAGE: st.builds("{}/{}:{}".format, _name, _name, _port),
    LABEL: st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True),
}
TEXTS: Final = [row for row in PARAMETERS.values() if row.form]


def _form(row: Any) -> Form:
    """The form of a parameter, also of one that may be empty."""
    expected = row.form.expected.removesuffix(", or empty")
    return next(form for form in LIKELY if form.expected == expected)


def text_for(row: Any) -> st.SearchStrategy[str]:
    return st.one_of(LIKELY[_form(row)], LIKELY[_form(row)], st.sampled_from(NASTY), st.text(max_size=20))


everything: Final = st.fixed_dictionaries({row.name: text_for(row) for row in TEXTS})


def accepted(drawn: Mapping[str, str]) -> dict[str, str]:
    """Every parameter's value: of those drawn the ones that are accepted, one after another."""
    taken: dict[str, str] = {}
    refusals: list[str] = []
    for name, value in drawn.items():
        try:
            exportable(taken | {name: value})
        except ParameterError as error:
            refusals.append(str(error))
        else:
            taken[name] = value
    assert all(re.split(r"[: ]", message)[0] in {*PARAMETERS, "Grafana"} for message in refusals)
    return exportable(taken)


def exportable(chosen: Mapping[str, str]) -> dict[str, str]:
    found = values(chosen)
    addresses = found["gateways"].split(", ")
    if len(set(addresses)) < len(addresses):
        raise ParameterError("gateways: twice the same")
    return found


# --- readers

FOUND: Final = {
    "collector_host": ("collector.yaml", "receivers otlp protocols grpc endpoint"),
    "backend_endpoint": ("collector.yaml", "exporters otlp_http endpoint"),
    "collector_storage": ("collector.yaml", "extensions file_storage directory"),
    "collector_cert_file": ("security/tls.yaml", "receivers otlp protocols http tls cert_file"),
    "collector_tokens_file": ("security/token.yaml", "extensions bearertokenauth filename"),
    "collector_client_ca_file": ("security/mutual-tls.yaml", "receivers otlp protocols http tls client_ca_file"),
    "backend_token_file": ("security/backend-token.yaml", "extensions bearertokenauth/backend filename"),
    "runbook": ("prometheus/rules/slo.yaml", "groups 0 rules 3 annotations runbook_url"),
    "smtp_smarthost": ("alertmanager/alertmanager.yaml", "global smtp_smarthost"),
    "alert_from_email": ("alertmanager/alertmanager.yaml", "global smtp_from"),
    "smtp_user": ("alertmanager/alertmanager.yaml", "global smtp_auth_username"),
    "pagerduty_url": ("alertmanager/alertmanager.yaml", "global pagerduty_url"),
    "watchdog_url": ("alertmanager/alertmanager.yaml", "receivers 1 webhook_configs 0 url"),
    "alert_secrets": ("alertmanager/alertmanager.yaml", "receivers 2 slack_configs 0 api_url_file"),
    "alert_to_emails": ("alertmanager/alertmanager.yaml", "receivers 3 email_configs 0 to"),
    "escalation_to_emails": ("alertmanager/alertmanager.yaml", "receivers 5 email_configs 0 to"),
    "collector_image": ("docker-compose.yaml", "services collector image"),
    "grafana_image": ("docker-compose.yaml", "services grafana image"),
    "busybox_image": ("docker-compose.yaml", "services pipeline image"),
    "prometheus_release": ("kubernetes/rules.yaml", "metadata labels release"),
}
"""Where the value of a parameter is read back, with more around it in some."""
JOBS: Final = {
    "multiagents": "collector_metrics",
    "otel-collector": "collector_own_metrics",
    "alertmanager": "alertmanager_address",
    "prometheus": "prometheus_address",
}


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*path, str(key)))
    elif isinstance(node, list) and path[-1:] != ("targets",):
        for number, value in enumerate(node):
            yield from leaves(value, (*path, str(number)))
    else:
        yield path, node


def at(document: Any, path: str) -> Any:
    return dict(leaves(document)).get(tuple(path.split(" ")))


def shape(text: str) -> list[tuple[tuple[str, ...], type]]:
    return [(path, type(leaf)) for document in yaml.safe_load_all(text) for path, leaf in leaves(document)]


def variables(folder: Path, shell: str) -> dict[str, str]:
    """What a shell has of application.env, byte for byte."""
    script = "set -a; . ./application.env; exec env -0"
    done = subprocess.run([shell, "-c", script], cwd=folder, env={}, capture_output=True, check=True, timeout=60)
    assert done.stderr == b""
    pairs = (entry.partition("=") for entry in done.stdout.decode().split("\0"))
    return {name: value for name, _, value in pairs if name.startswith("OTEL_")}


def dotenv(text: str) -> dict[str, str]:
    """What docker-compose reads: its rules for quotes, which differ from a shell's."""
    found = {}
    for line in text.splitlines():
        name, equals, raw = line.partition("=")
        if line.startswith("#") or not equals:
            continue
        if raw[:1] not in ("'", '"'):
            assert not re.search(r"[\s$#'\"\\]", raw)
            found[name] = raw
            continue
        body = re.fullmatch(rf"{raw[0]}((?:\\.|[^{raw[0]}\\])*){raw[0]}", raw)
        assert body, raw
        value = body[1]
        if raw[0] == '"':
            assert not re.search(r"(?<!\\)(?:\\\\)*\$", value)  # it would be a variable
            value = re.sub(r"\\(.)", r"\1", value)
        found[name] = value
    return found


BEFORE: Final = exported(values())


def check_meaning(found: Mapping[str, str], texts: Mapping[str, str]) -> None:
    for path, text in texts.items():
        if path.endswith(".yaml") and not path.startswith(("agent", "kubernetes/", "docker")):
            empty = any(found[row.name] == "" for row in TEXTS)
            assert empty or shape(text) == shape(BEFORE[path]), path
    documents = {path: next(yaml.safe_load_all(texts[path])) for path, _ in FOUND.values()}
    for name, (path, place) in FOUND.items():
        if found[name]:
            leaf = at(documents[path], place)
            assert isinstance(leaf, str), (name, leaf)
            assert found[name] in leaf, (name, leaf)
    scraped = yaml.safe_load(texts["prometheus/prometheus.yaml"])["scrape_configs"]
    for job in scraped:
        [group] = job["static_configs"]
        assert group["targets"] == found[JOBS[job["job_name"]]].split(", ")
    exporters = yaml.safe_load(texts["agent.yaml"])["exporters"]
    assert [each["endpoint"] for each in exporters.values()] == found["gateways"].split(", ")
    read = dotenv(texts["application.env"])
    assert read["OTEL_SERVICE_NAME"] == found["service_name"]
    assert read["OTEL_EXPORTER_OTLP_ENDPOINT"] == found["otlp_endpoint"]


# --- tests


def refusal(row: Any, text: str) -> str:
    """Why the text is refused; empty where it is accepted, and spelled once and for all."""
    try:
        spelled = row.check(text)
    except ParameterError as error:
        return str(error)
    assert row.check(spelled) == spelled
    assert spelled.isprintable()
    return ""


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: row.name)
def test_a_form_accepts_its_own_spelling_or_names_the_parameter_and_the_value(row: Any) -> None:
    @settings(QUICKLY, max_examples=25)
    @given(text_for(row))
    def accepts(text: str) -> None:
        message = refusal(row, text)
        assert not message or message.startswith(f"{row.name}: {text!r} is not ")

    accepts()
    for text in NASTY:
        message = refusal(row, text)
        assert not message or message.startswith(f"{row.name}: {text!r} is not ")


def test_each_file_means_what_was_given(tmp_path: Path) -> None:
    @settings(QUICKLY, max_examples=8)
    @given(everything)
    def means(drawn: dict[str, str]) -> None:
        found = accepted(drawn)
        texts = exported(found)
        check_meaning(found, texts)
        (tmp_path / "application.env").write_bytes(texts["application.env"].encode())
        for shell in ("sh", "dash", "bash"):
            read = variables(tmp_path, shell)
            assert read["OTEL_SERVICE_NAME"] == found["service_name"]
            assert read["OTEL_EXPORTER_OTLP_ENDPOINT"] == found["otlp_endpoint"]
        assert [path.name for path in tmp_path.iterdir()] == ["application.env"]

    means()


def test_a_shell_and_docker_compose_read_any_service_name_alike(tmp_path: Path) -> None:
    @settings(QUICKLY, max_examples=40)
    @given(st.one_of(_line, st.text("ab'\"`\\$!# &;()|<>*?~%{}=", min_size=1, max_size=8)))
    def alike(name: str) -> None:
        try:
            found = values({"service_name": name})
        except ParameterError:
            assert "`" in name or not name.isprintable()
            return
        text = render(BEFORE["application.env"], found)
        (tmp_path / "application.env").write_bytes(text.encode())
        assert dotenv(text)["OTEL_SERVICE_NAME"] == name
        assert variables(tmp_path, "sh")["OTEL_SERVICE_NAME"] == name

    alike()


def check_programs(folder: Path, texts: Mapping[str, str]) -> None:
    write(folder, texts)
    commands = [
        [find("promtool"), "check", "config", "prometheus/prometheus.yaml"],
        [find("amtool"), "check-config", "alertmanager/alertmanager.yaml"],
        *(
            [find("otelcol", "otelcol-contrib"), "validate", *(f"--config={file}" for file in files.split())]
            for files in (
                "collector.yaml security/mutual-tls.yaml security/backend-tls.yaml",
                "collector.yaml agent.yaml agent-tls.yaml agent-token.yaml",
                "collector.yaml tail-sampling.yaml gateway.yaml security/token.yaml",
            )
        ),
    ]
    for argv in commands:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    PyCompose.from_yaml(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", texts["docker-compose.yaml"])).validate()
    for path, text in texts.items():
        for made in yaml.safe_load_all(text) if path.startswith("kubernetes/") else ():
            if not made["apiVersion"].startswith("monitoring"):
                kubernetes_validate.validate(made, kubernetes_validate.latest_version(), strict=True)


def numbers() -> st.SearchStrategy[dict[str, str]]:
    """A value at the edge of what each number may be, or between its edges."""
    drawn = {}
    for row in PARAMETERS.values():
        if row.kind in ("integer", "number") and not row.choices and not row.name.endswith("port"):
            least, most = int(row.least or 0), int(10**15 if row.most is None else row.most)
            drawn[row.name] = st.one_of(st.sampled_from([least, most]), st.integers(least, most)).map(str)
        elif "duration" in row.kind:
            units = ["ms", "s", "m", "h"] + ([] if row.kind.startswith("collector") else ["d"])
            drawn[row.name] = st.builds("{}{}".format, st.integers(0, 4000), st.sampled_from(units))
        elif row.kind == "flag":
            drawn[row.name] = st.sampled_from(["true", "false"])
    return st.fixed_dictionaries(drawn)


@pytest.mark.parametrize("count", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_the_programs_take_what_the_export_takes(tmp_path: Path, count: int) -> None:
    number = iter(range(10**6))

    @settings(QUICKLY, max_examples=count)
    @given(everything, numbers())
    def takes(texts: dict[str, str], others: dict[str, str]) -> None:
        # A Collector checks both exporters of a backend, and that for gRPC refuses the path that one for HTTP may have.
        texts = {**texts, "backend_endpoint": re.sub(r"(?<=[^/:])/.*", "", texts["backend_endpoint"])}
        check_programs(tmp_path / str(next(number)), exported(accepted({**texts, **others})))

    takes()


SIX: Final = {
    HOST: "::1",
    ADDRESS: "[::1]:{}",
    ADDRESSES: "[::1]:{}, [2001:db8::2]:7",
    URL: "http://[::1]:{}/x?y=1&z=(2)",
}


def test_the_programs_take_ipv6_wherever_there_is_an_address(tmp_path: Path) -> None:
    chosen = {row.name: SIX[_form(row)].format(20000 + number) for number, row in enumerate(TEXTS) if _form(row) in SIX}
    found = values({**chosen, "backend_endpoint": "http://[::1]:4318"})
    assert found["collector_host"] == "[::1]"
    texts = exported(found)
    check_meaning(found, texts)
    check_programs(tmp_path, texts)


@pytest.mark.parametrize("image", ["localhost:5000/team/image:1", "busybox", "a.example/b@sha256:" + 64 * "0"])
def test_an_image_may_come_from_any_registry(image: str) -> None:
    assert values({"busybox_image": image})["busybox_image"] == image


def test_the_commands_that_are_printed_are_quoted(run: Run, tmp_path: Path) -> None:  # noqa: F811
    urls = {"prometheus_url": "http://p.example/?a=b&c=(d)", "alertmanager_address": "[::1]:9093, other:9093"}
    shown = run("config", "export", str(tmp_path / "out"), *(f"--set={name}={url}" for name, url in urls.items()))
    assert "--web.external-url 'http://p.example/?a=b&c=(d)' " in shown.out
    assert "--web.listen-address '[::1]:9093' " in shown.out
    assert "--web.external-url 'http://[::1]:9093' " in shown.out


EDGES: Final = {
    row.name: [
        *([f"{row.least:.0f}"] if row.least else []),
        f"{10**15 if row.most is None else row.most:.0f}",
    ]
    for row in PARAMETERS.values()
    if row.kind in ("integer", "number") and not row.choices and not row.name.endswith("port")
}


def test_the_programs_take_the_least_and_the_greatest_numbers(tmp_path: Path) -> None:
    for which in (0, -1):
        found = accepted({name: edges[which] for name, edges in EDGES.items()})
        check_programs(tmp_path / str(which), exported(found))


@pytest.mark.parametrize("text", ["a\nb", "\udc80", "٣", ""], ids=["lines", "surrogate", "digit", "empty"])
def test_what_is_refused_leaves_no_file(run: Run, tmp_path: Path, text: str) -> None:  # noqa: F811
    for name, row in PARAMETERS.items():
        if row.form and (text == "٣" or (not text and row.form.expected.endswith("or empty"))):
            continue  # a name may hold any letter
        shown = run("config", "export", str(tmp_path / "out"), "--set", f"{name}={text}")
        assert (shown.status, shown.out) == (2, "")
        assert shown.err.startswith(f"config export: {name}: ")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda each: f"{each.name}-{each.other}")
def test_every_relation_is_checked_and_named(relation: Any) -> None:
    factor = {"<": 1, "<=": 1.01, ">": 1, ">=": 0.99}[relation.sign] * relation.times
    row = PARAMETERS[relation.name]
    seconds_of_other = _plain(relation.other, values()[relation.other])
    amount = factor * seconds_of_other
    if "duration" in row.kind:
        text = f"{amount * 1000:.0f}ms"
    else:
        text = f"{amount:.0f}" if row.kind == "integer" else f"{amount:.3f}".rstrip("0").rstrip(".")
    with pytest.raises(ParameterError) as caught:
        values({relation.name: text})
    broken = [each for each in RELATIONS if each.name == relation.name or each.other == relation.name]
    assert any(each.name in str(caught.value) and each.other in str(caught.value) for each in broken)


def _plain(name: str, text: str) -> float:
    from multiagents_otel.tools.deploy.parameter import seconds

    if text[-1].isalpha():
        return seconds(text)
    return float(text) / {"ms": 1000, "bytes": 2**20}.get(name.rpartition("_")[2], 1)
