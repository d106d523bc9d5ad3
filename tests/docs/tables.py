"""The tables of the documents that are made of the code, and where each stands.

In a document `<!-- table:NAME -->` stands before a table, and `<!-- /table -->` behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from multiagents_otel import semconv
from multiagents_otel.config import ENV_PREFIXES, MONITORING, OPTIONS, Option
from multiagents_otel.config.sources import FRAMEWORK_PREFIX
from multiagents_otel.semconv import Instrument
from multiagents_otel.tools.deploy.files import folder
from multiagents_otel.tools.deploy.parameters import (
    PARAMETERS,
    Parameter,
    alertmanager,
    collector,
    containers,
    prometheus,
)
from multiagents_otel.tools.deploy.parameters import sampling as tail_sampling
from tests.rules.rule_files import alerts

REPOSITORY: Final = Path(__file__).parents[2]
README: Final = REPOSITORY / "README.md"
PARAMETERS_PAGE: Final = folder() / "parameters.md"


def _default(option: Option) -> str:
    return {None: "-", (): "none"}.get(option.default, f"`{_text(option.default)}`")  # type: ignore[call-overload,no-any-return]


def _text(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _options() -> list[str]:
    rows = []
    for option in OPTIONS:
        environment = f"`{ENV_PREFIXES[0]}{option.name.upper()}`" if option.env else "-"
        rows.append(f"| `{option.name}` | {environment} | {_default(option)} | {option.help} ({option.expected}) |")
    return rows


def _monitoring() -> list[str]:
    rows = []
    for option in MONITORING:
        names = [option.path, *([f"{option.section}.{option.alias.name}"] if option.alias else [])]
        variables = [f"{ENV_PREFIXES[0]}{option.section}_{option.name}".upper()]
        variables += [FRAMEWORK_PREFIX + option.framework_variable] if option.framework_variable else []
        cells = [", ".join(f"`{name}`" for name in cell) for cell in (names, variables)]
        rows.append(f"| {' | '.join(cells)} | {_default(option)} | {option.help} ({option.expected}) |")
    return rows


def _instruments(table: Iterable[Instrument]) -> list[str]:
    return [
        f"| `{row.name}` | {row.kind} | {f'`{row.unit}`' if row.unit else '-'} | "
        f"{', '.join(f'`{name}`' for name in row.attributes) or '-'} | {row.description} |"
        for row in table
    ]


def _parameters(table: Iterable[Parameter]) -> list[str]:
    return [
        f"| `{row.name}` | {row.kind} | {f'`{row.default}`' if row.default else '(empty)'} | "
        f"{row.help[0].upper()}{row.help[1:].removesuffix('.')}. |"
        for row in table
    ]


def _alerts() -> list[str]:
    runbook = (folder() / "runbook.md").read_text()
    rows = []
    for name, alert in alerts().items():
        link = f"[`{name}`](collector-config/runbook.md#{name.lower()})"
        rows.append(f"| {link} | {alert['labels']['severity']} | {_meaning(runbook, name)} |")
    return rows


def _meaning(runbook: str, name: str) -> str:
    """The first sentence of an alert's section, with the defaults of the parameters that it names."""
    [paragraph] = re.findall(rf"^## {name}\n\n\*\*Means\.\*\* (.*?)\n\n", runbook, re.MULTILINE | re.DOTALL)
    first = re.split(r"(?<=[a-z0-9`)])\. ", paragraph.replace("\n", " "))[0].removesuffix(".") + "."
    return re.sub(
        r"`(\w+)`",
        lambda found: f"`{found[1]}={PARAMETERS[found[1]].default}`" if found[1] in PARAMETERS else found[0],
        first,
    )


TABLES: Final[dict[str, tuple[Path, list[str]]]] = {
    "options": (README, _options()),
    "monitoring": (README, _monitoring()),
    "metrics": (README, _instruments(semconv.INSTRUMENTS)),
    "messaging": (README, _instruments(semconv.MESSAGING_INSTRUMENTS)),
    "alerts": (README, _alerts()),
    "collector": (PARAMETERS_PAGE, _parameters(collector.ROWS)),
    "sampling": (PARAMETERS_PAGE, _parameters(tail_sampling.ROWS)),
    "prometheus": (PARAMETERS_PAGE, _parameters(prometheus.ROWS)),
    "alertmanager": (PARAMETERS_PAGE, _parameters(alertmanager.ROWS)),
    "containers": (PARAMETERS_PAGE, _parameters(containers.ROWS)),
}
"""By its name: the document, and the rows."""


def find(name: str, document: Path = README) -> re.Match[str]:
    """A table of a document; its rows are the second group."""
    pattern = rf"(<!-- table:{name} -->\n\|[^\n]*\n\|[-|]+\n)(.*?)(<!-- /table -->)"
    match = re.search(pattern, document.read_text(), re.DOTALL)
    assert match, f"{document.name} has no table {name}"
    return match


def rewrite() -> None:
    """Put what the code says into the documents."""
    for name, (document, rows) in TABLES.items():
        found, text = find(name, document), document.read_text()
        document.write_text(text[: found.start(2)] + "\n".join(rows) + "\n" + text[found.end(2) :])
