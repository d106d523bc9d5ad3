"""Parameters of Alertmanager."""

from __future__ import annotations

from typing import Final

from multiagents_otel.tools.deploy.forms import ADDRESS, EMAIL, EMAILS, FOLDER, LINE, URL, optional
from multiagents_otel.tools.deploy.parameter import Parameter

ROWS: Final[tuple[Parameter, ...]] = (
    Parameter("slack", "flag", "true", "send alerts to Slack"),
    Parameter(
        "alert_to_emails",
        "text",
        "oncall@example.com",
        "who gets alerts by e-mail, a list with commas; empty: none",
        form=optional(EMAILS),
    ),
    Parameter("alert_from_email", "text", "alerts@example.com", "the sender of these e-mails", form=EMAIL),
    Parameter("smtp_smarthost", "text", "localhost:587", "host and port of the mail server", form=ADDRESS),
    Parameter(
        "smtp_user",
        "text",
        "alerts",
        "the name to log in to the mail server with; empty: no login",
        form=optional(LINE),
    ),
    Parameter("smtp_require_tls", "flag", "true", "send no e-mail over a connection that is not encrypted"),
    Parameter("pagerduty", "flag", "true", "send errors and critical alerts to PagerDuty"),
    Parameter(
        "pagerduty_url", "text", "https://events.pagerduty.com/v2/enqueue", "where PagerDuty takes events", form=URL
    ),
    Parameter(
        "escalation_to_emails",
        "text",
        "lead@example.com",
        "who gets escalated alerts by e-mail; empty: none",
        form=optional(EMAILS),
    ),
    Parameter("pagerduty_escalation", "flag", "true", "send escalated alerts to a PagerDuty service of their own"),
    Parameter(
        "watchdog_url",
        "text",
        "https://watchdog.example/ping",
        "the dead man's switch to ping; empty: none",
        form=optional(URL),
    ),
    Parameter("watchdog_interval", "duration", "1m", "time between two pings of the dead man's switch, 2s or more", 2),
    Parameter(
        "alert_group_wait", "duration", "10s", "how long a first alert waits for others of its rule and subject", 0
    ),
    Parameter("alert_cooldown", "duration", "15m", "least time between two messages about one rule and subject"),
    Parameter("alert_repeat", "duration", "14m", "what still fires is told again after this; less than alert_cooldown"),
    Parameter(
        "prometheus_url", "text", "http://localhost:9090", "Prometheus's address in the links of messages", form=URL
    ),
    Parameter(
        "alertmanager_url", "text", "http://localhost:9093", "Alertmanager's address in the links of messages", form=URL
    ),
    Parameter(
        "alert_secrets", "text", "secrets", "the folder of the secret files, as Alertmanager sees it", form=FOLDER
    ),
)
