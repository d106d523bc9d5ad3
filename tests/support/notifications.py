"""Who gets the alerts: a Slack-compatible and a PagerDuty-compatible HTTP server and a mail server, on free ports.

They refuse what the real ones refuse, and keep what they took.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Generic, TypeAlias, TypeVar

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.support.deadline import DEADLINE
from tests.support.ports import free_port

__all__ = ["Inbox", "Mail", "PagerDutyEvent", "Receivers", "SlackMessage"]

T = TypeVar("T")
Json: TypeAlias = "dict[str, Any]"
Answer: TypeAlias = "tuple[int, str]"

SLACK_PATH: Final = "/services/T0/B0/slack-canary"
ROUTING_KEY: Final = "pagerduty-canary-0123456789abcde"
ESCALATION_KEY: Final = "escalation-canary-0123456789abcd"
SMTP_USER: Final = "mailer"
SMTP_PASSWORD: Final = "smtp canary"
SECRETS: Final = (SLACK_PATH.rpartition("/")[2], ROUTING_KEY, ESCALATION_KEY, SMTP_PASSWORD)
"""What must be found nowhere but in the secret files and on the wire to its receiver."""

_SEVERITIES: Final = ("critical", "error", "warning", "info")


@dataclass(frozen=True)
class SlackMessage:
    body: Json

    @property
    def attachment(self) -> Json:
        attachment: Json = self.body["attachments"][0]
        return attachment

    @property
    def title(self) -> str:
        return str(self.attachment["title"])

    @property
    def text(self) -> str:
        return str(self.attachment["text"])


@dataclass(frozen=True)
class PagerDutyEvent:
    body: Json

    @property
    def action(self) -> str:
        return str(self.body["event_action"])

    @property
    def payload(self) -> Json:
        payload: Json = self.body["payload"]
        return payload

    @property
    def summary(self) -> str:
        return str(self.payload["summary"])


@dataclass(frozen=True)
class Mail:
    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        return self._body("plain")

    @property
    def html(self) -> str:
        return self._body("html")

    def _body(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        assert part is not None, f"a mail without a text/{kind}"
        return str(part.get_content()).replace("\r\n", "\n")


class Inbox(Generic[T]):
    """What has arrived so far, in order; a test can wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._messages: list[T] = []

    def put(self, message: T) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify_all()

    def all(self, wanted: Callable[[T], bool] = lambda _: True) -> list[T]:
        with self._changed:
            return [message for message in self._messages if wanted(message)]

    def wait(
        self, wanted: Callable[[T], bool] = lambda _: True, *, count: int = 1, timeout: float = DEADLINE
    ) -> list[T]:
        """Wait until so many of the wanted messages are there, and give them."""
        with self._changed:
            self._changed.wait_for(lambda: sum(map(wanted, self._messages)) >= count, timeout)
            found = [message for message in self._messages if wanted(message)]
            assert len(found) >= count, f"{len(found)} of {count} messages in {timeout} s; there were: {self._messages}"
            return found


class JsonServer:
    """Takes JSON by POST; `answer` says what to reply to a body at a path."""

    def __init__(self, answer: Callable[[str, Json], Answer]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(answer))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(answer: Callable[[str, Json], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, reply = answer(self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply.encode())

        def log_message(self, *_: Any) -> None: ...

    return Handler


class Receivers:
    """All of them, started and stopped together.

    `parameters` name them for the configuration; `environ` holds the secrets that they ask for, as a user's would.
    """

    def __init__(self) -> None:
        self.slack: Inbox[SlackMessage] = Inbox()
        self.pagerduty: Inbox[PagerDutyEvent] = Inbox()
        self.mail: Inbox[Mail] = Inbox()
        self.watchdog: Inbox[Json] = Inbox()
        self.refused: Inbox[str] = Inbox()
        self._running = ExitStack()

    def __enter__(self) -> Receivers:
        with ExitStack() as starting:
            self._http = {
                name: JsonServer(answer)
                for name, answer in (
                    ("slack", self._take_slack),
                    ("pagerduty", self._take_pagerduty),
                    ("watchdog", self._take_watchdog),
                )
            }
            for server in self._http.values():
                starting.callback(server.close)
            self._smtp = Controller(
                self,
                hostname="127.0.0.1",
                port=free_port(),
                authenticator=_authenticate,
                auth_require_tls=False,
                auth_exclude_mechanism=["LOGIN"],
            )
            self._smtp.start()
            starting.callback(self._smtp.stop)
            self._running = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def parameters(self) -> dict[str, str]:
        return {
            "pagerduty_url": f"{self._http['pagerduty'].url}/v2/enqueue",
            "watchdog_url": f"{self._http['watchdog'].url}/ping",
            "smtp_smarthost": f"127.0.0.1:{self._smtp.port}",
            "smtp_require_tls": "false",
            "smtp_user": SMTP_USER,
        }

    @property
    def environ(self) -> dict[str, str]:
        return {
            "SLACK_WEBHOOK_URL": self._http["slack"].url + SLACK_PATH,
            "PAGERDUTY_INTEGRATION_KEY": ROUTING_KEY,
            "PAGERDUTY_ESCALATION_KEY": ESCALATION_KEY,
            "SMTP_PASSWORD": SMTP_PASSWORD,
        }

    def _take_slack(self, path: str, body: Json) -> Answer:
        if path != SLACK_PATH:
            return self._refuse(404, "no_service")
        attachments = body.get("attachments", [])
        if not attachments or not all(each.get("text") or each.get("fallback") for each in attachments):
            return self._refuse(400, "no_text")
        self.slack.put(SlackMessage(body))
        return 200, "ok"

    def _take_pagerduty(self, path: str, body: Json) -> Answer:
        if path != "/v2/enqueue" or body.get("routing_key") not in (ROUTING_KEY, ESCALATION_KEY):
            return self._refuse(400, "Invalid routing key")
        payload = body.get("payload", {})
        if body.get("event_action") == "trigger" and not (
            payload.get("summary") and payload.get("source") and payload.get("severity") in _SEVERITIES
        ):
            return self._refuse(400, "Event object is invalid")
        self.pagerduty.put(PagerDutyEvent(body))
        return 202, json.dumps({"status": "success", "message": "Event processed", "dedup_key": body["dedup_key"]})

    def _take_watchdog(self, path: str, body: Json) -> Answer:
        self.watchdog.put(body)
        return 200, "OK"

    def _refuse(self, status: int, why: str) -> Answer:
        self.refused.put(why)
        return status, why

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """What aiosmtpd calls with each mail."""
        if not session.authenticated:
            self.refused.put("mail without a login")
            return "530 5.7.0 Authentication required"
        message = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.mail.put(Mail(str(envelope.mail_from), tuple(map(str, envelope.rcpt_tos)), message))
        return "250 OK"


def _authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (
        SMTP_USER.encode(),
        SMTP_PASSWORD.encode(),
    )
    return AuthResult(success=right, handled=not right)
