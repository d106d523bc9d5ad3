"""Ways from a metric to its traces. The data source is the reader's choice, of the kind that speaks TraceQL."""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import quote

from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DataSourceRef

SOURCE: Final = DataSourceRef(type_val="tempo", uid="${traces}")

TRANSACTION: Final = '{ span.workflow.transaction_id = "${transaction}" }'
NOT_COMPLETED: Final = '{ span.workflow.status =~ "failed|compensated|stalled" }'

OF_STATUS: Final = '{ span.workflow.status = "${__field.labels.status}" }'
OF_WORKFLOW: Final = '{ name = "workflow.${__field.labels.workflow_id}" }'
OF_STEP: Final = '{ span.multiagents.step.name = "${__field.labels.multiagents_step_name}" }'
OF_WORKER: Final = '{ name = "worker.${__field.labels.worker_name}" }'
OF_FAILED_WORKER: Final = '{ name = "worker.${__field.labels.worker_name}" && status = error }'
OF_EVENT: Final = '{ span.event.type = "${__field.labels.event_type}" }'

_VARIABLE: Final = re.compile(r"(\$\{[^}]+\})")


def link(title: str, traceql: str) -> DashboardLink:
    """Give a link to what the query finds; ``${__field.labels.NAME}`` in it is a label of the series clicked."""
    return DashboardLink(title).type(DashboardLinkType.LINK).url(_explore(traceql)).target_blank(True)


def _explore(traceql: str) -> str:
    source = "${traces}"
    query = {
        "refId": "A",
        "datasource": {"type": "tempo", "uid": source},
        "queryType": "traceql",
        "query": traceql,
        "tableType": "traces",
        "limit": 20,
    }
    pane = {"datasource": source, "queries": [query], "range": {"from": "${__from}", "to": "${__to}"}}
    # Grafana puts its variables in before it opens the address: they stay as they are.
    parts = _VARIABLE.split(json.dumps({"traces": pane}, separators=(",", ":")))
    encoded = "".join(part if _VARIABLE.fullmatch(part) else quote(part, safe="") for part in parts)
    return f"/explore?schemaVersion=1&orgId=1&panes={encoded}"
