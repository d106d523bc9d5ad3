"""Where alerts go, as the environment says it: which channels there are, and their secrets in files of their own.

Alertmanager reads no environment, and what stands in its configuration is shown on a page of it. The variables are
those of the guide's notification handlers, and like there a channel without its variable is off.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from multiagents_otel.tools.deploy.forms import ADDRESS, HOST, URL, Form, split_address
from multiagents_otel.tools.deploy.parameter import Values

__all__ = ["SECRETS", "Secret", "SecretError", "channels", "write_secrets"]


def _key(text: str) -> str:
    if not re.fullmatch(r"[!-z|~]+", text):  # Alertmanager would take braces for a template
        raise ValueError(text)
    return text


def _password(text: str) -> str:
    if not re.fullmatch(r"[^\r\n]+", text):
        raise ValueError(text)
    return text


class Secret(NamedTuple):
    """One secret of Alertmanager's."""

    file: str
    variable: str
    """The environment variable that holds it."""
    needed_by: str
    """The parameter that asks for it, unless it is off or empty."""
    form: Form = Form("a key", _key)
    """What it looks like."""


SECRETS: Final = (
    Secret("slack_webhook_url", "SLACK_WEBHOOK_URL", "slack", URL),
    Secret("smtp_password", "SMTP_PASSWORD", "smtp_user", Form("one line", _password)),
    Secret("pagerduty_integration_key", "PAGERDUTY_INTEGRATION_KEY", "pagerduty"),
    Secret("pagerduty_escalation_key", "PAGERDUTY_ESCALATION_KEY", "pagerduty_escalation"),
)

_FLAGS: Final = {secret.needed_by: secret.variable for secret in SECRETS if secret.needed_by != "smtp_user"}
_SMTPS: Final = "465"


def _port(text: str) -> str:
    return str(split_address(ADDRESS.spelling(f"localhost:{text}"))[1])


_FORMS: Final = {
    "SMTP_SERVER": HOST,
    "SMTP_PORT": Form("a port", _port),
    "WATCHDOG_URL": URL,
}
"""What these variables hold. With another value Alertmanager would not start, or lose messages."""


class SecretError(ValueError):
    """A secret or an address that a channel needs is missing, or can't be one.

    The message names variables, never a value.
    """


def channels(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the parameters of alerting that the environment decides: every channel, on or off, and its addresses.

    As with the guide's handlers, mail goes to ``ALERT_TO_EMAILS`` through ``SMTP_SERVER`` (``localhost``) and
    ``SMTP_PORT`` (587), encrypted where there is a ``SMTP_USER`` to log in as. Beside them: ``ESCALATION_TO_EMAILS``,
    ``WATCHDOG_URL``. SecretError: one of them can't be an address.
    """
    chosen = {flag: "true" if environ.get(variable) else "false" for flag, variable in _FLAGS.items()}
    chosen["alert_to_emails"] = environ.get("ALERT_TO_EMAILS", "")
    chosen["escalation_to_emails"] = environ.get("ESCALATION_TO_EMAILS", "")
    chosen["watchdog_url"] = _address(environ, "WATCHDOG_URL")
    return chosen | _mail_server(environ, mails=bool(chosen["alert_to_emails"] or chosen["escalation_to_emails"]))


def _mail_server(environ: Mapping[str, str], *, mails: bool) -> dict[str, str]:
    if not mails:
        environ = {}  # these names are common: somebody else's values are no fault
    server, port = _address(environ, "SMTP_SERVER") or "localhost", _address(environ, "SMTP_PORT") or "587"
    user = environ.get("SMTP_USER", "")
    # On port 465 all is encrypted from the first byte on, and asking for it once more fails.
    encrypt = "true" if user and port != _SMTPS else "false"
    chosen = {"smtp_smarthost": f"{server}:{port}", "smtp_user": user, "smtp_require_tls": encrypt}
    sender = environ.get("ALERT_FROM_EMAIL")
    return chosen | ({"alert_from_email": sender} if sender else {})


def _address(environ: Mapping[str, str], variable: str) -> str:
    value = environ.get(variable, "").strip()
    return _check(variable, _FORMS[variable], value) if value else ""


def _check(variable: str, form: Form, value: str) -> str:
    try:
        return form.spelling(value)
    except ValueError:
        # Without its cause, which holds the value.
        raise SecretError(f"{variable} does not hold what its name says") from None


def write_secrets(folder: Path, values: Values, environ: Mapping[str, str]) -> list[Path]:
    """Write the secrets of the channels that are on, each into a file that only its owner can read; give the files.

    A secret that the environment does not hold may be in its file already. SecretError: one is missing altogether, or
    is none, or the folder (or the one it is in) is a link, which may lead anywhere; nothing is written then.
    """
    needed = [secret for secret in SECRETS if values[secret.needed_by] not in ("", "false")]
    given = {secret: environ.get(secret.variable, "").strip("\r\n") for secret in needed}
    for secret, value in given.items():
        if not value and not (folder / secret.file).is_file():
            raise SecretError(f"{secret.variable} is not set, and the parameter {secret.needed_by} needs it")
        if value:
            _check(secret.variable, secret.form, value)
    if any(given.values()):
        for place in (folder, folder.parent):
            if place.is_symlink():
                raise SecretError(f"{place} is a link: secrets are written into a folder of their own")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    for secret, value in given.items():
        if value:
            _write(folder / secret.file, value)
    return [folder / secret.file for secret in needed]


def _write(path: Path, value: str) -> None:
    # mkstemp's file is its owner's alone from the start, and takes the other's place in one step. No newline at the
    # end: Alertmanager 0.25 would take it for a part of the mail server's password.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(value)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
