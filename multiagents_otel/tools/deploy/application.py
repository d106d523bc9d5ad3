"""What an application has to know of the pipeline: the variables of ``application.env``."""

from __future__ import annotations

import re
from typing import Final

from multiagents_otel.tools.deploy.parameter import Values

_BARE: Final = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


def variables(values: Values) -> list[str]:
    """Lines of an environment file, without comments behind the values: not every reader knows these."""
    return [
        f"OTEL_SERVICE_NAME={_quoted(values['service_name'])}",
        f"OTEL_EXPORTER_OTLP_ENDPOINT={_quoted(values['otlp_endpoint'])}",
        "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        f"OTEL_METRIC_EXPORT_INTERVAL={values['metric_export_ms']}",
    ]


def _quoted(value: str) -> str:
    """Quote a value so that a shell, docker-compose and systemd read the same, without quotes where it needs none."""
    if _BARE.fullmatch(value):
        return value
    if "`" in value:  # docker-compose knows no escape for it
        return f"'{value}'"
    return '"' + re.sub(r'["\\$]', r"\\\g<0>", value) + '"'
