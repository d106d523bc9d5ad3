"""Forms of texts in the pipeline's files: addresses, URLs, e-mail addresses, paths and names.

A form accepts what every program that reads the value understands, and returns one spelling of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.headerregistry import Address, HeaderRegistry
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

__all__ = [
    "ADDRESS",
    "ADDRESSES",
    "EMAIL",
    "EMAILS",
    "FOLDER",
    "HOST",
    "IMAGE",
    "LABEL",
    "LINE",
    "PATH",
    "RUNBOOK",
    "URL",
    "VARIABLE",
    "Form",
    "optional",
    "plain_addresses",
    "split_address",
]


def _same(text: str) -> str:
    return text


class Form(NamedTuple):
    """What a text has to be."""

    expected: str
    """Ends the sentence "this value is not ..."."""
    spelling: Callable[[str], str]
    """Returns the spelling for the files. ValueError: the text does not have this form."""
    plain: Callable[[str], str] = _same
    """Writes that spelling where YAML has a value without quotes, or a list of such values in brackets."""


def _matching(pattern: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def spelling(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(text)
        return text

    return spelling


_NAME: Final = re.compile(r"(?=.{1,253}$)(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")


def _host(text: str) -> str:
    if ":" in text:
        inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        if "%" in inside:
            raise ValueError(text)  # a zone is a matter of one machine, and a URL spells it in another way
        return f"[{IPv6Address(inside)}]"
    if re.fullmatch(r"[0-9.]+", text):
        return str(IPv4Address(text))
    if not _NAME.fullmatch(text):
        raise ValueError(text)
    return text


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    bare = ":" in host and not host.startswith("[")  # ::1 could be the host ::1, or the port 1 of another
    if not colon or bare or not _PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError(text)
    return f"{_host(host)}:{port}"


def _addresses(text: str) -> str:
    return ", ".join(_address(each.strip()) for each in text.split(","))


def split_address(text: str) -> tuple[str, int]:
    """Split the first of some addresses into host and port."""
    host, _, port = text.split(",")[0].rpartition(":")
    return host, int(port)


def plain_addresses(text: str) -> str:
    """Quote what YAML would take for a list of its own, or for a number of minutes."""
    return ", ".join(each if each[0].isalpha() else f'"{each}"' for each in text.split(", "))


# Every character that RFC 3986 allows, but $ and ', which are special to the readers; %24 and %27 mean the same.
_URL: Final = re.compile(r"https?://(?:[A-Za-z0-9._~:/?#\[\]@!&()*+,;=-]|%[0-9A-Fa-f]{2})+")


def _url(text: str) -> str:
    parts = urlsplit(text)
    host, port = parts.hostname, parts.port  # ValueError: the port is none
    if not _URL.fullmatch(text) or not host or port == 0 or text.count("#") > 1:
        raise ValueError(text)
    if re.search(r"[\[\]]", text.replace(parts.netloc, "", 1)):
        raise ValueError(text)
    _host(host)
    return text


def _runbook(text: str) -> str:
    if "#" in text:
        raise ValueError(text)  # what follows is the name of an alert
    return _url(text) if "://" in text else _matching(r"(?![-?&=+%])[\w./~?&=+%-]+")(text)


_LOCAL_PART: Final = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)


def _mailboxes(text: str) -> list[Address]:
    try:
        header: Any = HeaderRegistry()("To", text)
    except Exception as error:  # the parser of some versions fails at what is no address
        raise ValueError(text) from error
    groups, found = header.groups, list(header.addresses)
    if header.defects or not found or any(group.display_name is not None for group in groups):
        raise ValueError(text)
    for each in found:
        if not _LOCAL_PART.fullmatch(each.username) or not _NAME.fullmatch(each.domain):
            raise ValueError(text)
    return found


def _emails(text: str) -> str:
    if "{{" in text:  # a template, to Alertmanager
        raise ValueError(text)
    return ",".join(map(str, _mailboxes(text)))


def _email(text: str) -> str:
    if len(_mailboxes(text)) > 1:
        raise ValueError(text)
    return _emails(text)


def _folder(text: str) -> str:
    parts = [part for part in text.split("/") if part not in ("", ".")]
    # Beside Alertmanager's file are folders and files of other names.
    if not parts or parts[-1] == ".." or text.endswith((".yaml", ".tmpl")) or (parts[0] in ("files", "templates")):
        raise ValueError(text)
    return _matching(r"(?! )[\w./@+(),=~% -]+(?<! )")(_path(text))


def _variable(text: str) -> str:
    if "`" in text and ("'" in text or text.endswith("\\")):
        raise ValueError(text)
    return _matching(r".+")(text)


_path: Final = _matching(r"(?![ @+,=%-])(?!.*: )[\w./:@+(),=~% -]+(?<![: ])")
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_REGISTRY: Final = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?/"
_TAG: Final = r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"

_EMAIL: Final = "like ops@example.com or Ops <ops@example.com>"

HOST: Final = Form("a host: a name, an IPv4 or an IPv6 address", _host)
ADDRESS: Final = Form("an address with a port, HOST:PORT or [IPv6]:PORT", _address, plain_addresses)
ADDRESSES: Final = Form(
    "a list of addresses with their ports, HOST:PORT or [IPv6]:PORT, with commas between them",
    _addresses,
    plain_addresses,
)
URL: Final = Form("a URL that begins with http:// or https:// (special characters as %24)", _url)
RUNBOOK: Final = Form("a URL or a relative path, without #", _runbook)
EMAIL: Final = Form(f"one e-mail address {_EMAIL}", _email)
EMAILS: Final = Form(f"a list of e-mail addresses {_EMAIL}, with commas between them", _emails)
PATH: Final = Form("a path of letters, digits and ./:@+(),=~%- with single spaces", _path)
FOLDER: Final = Form("a path of a folder, of letters, digits and ./@+(),=~%-, but files and templates", _folder)
LINE: Final = Form("one line of printable characters", _matching(r".+"))
VARIABLE: Final = Form("one line of printable characters, without ` beside ' or a \\ at the end", _variable)
IMAGE: Final = Form(
    "the name of an image like registry.example.com/team/image:1.0",
    _matching(f"(?:{_REGISTRY})?{_COMPONENT}(?:/{_COMPONENT})*{_TAG}"),
)
LABEL: Final = Form(
    "a value of a Kubernetes label: at most 63 letters, digits and ._- between letters or digits",
    _matching(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"),
)


def optional(form: Form) -> Form:
    """Allow the empty text besides."""
    return Form(f"{form.expected}, or empty", lambda text: form.spelling(text) if text else text, form.plain)
