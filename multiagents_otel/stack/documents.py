"""YAML documents out of text and into text, made for people: block scalars, the order of keys kept, no folded lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

__all__ = ["parsed", "text_of"]

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it


def parsed(text: str) -> Any:
    """The one document of a text of YAML."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe one


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True  # an anchor where two objects share a part would be a riddle


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


def _nothing(dumper: yaml.SafeDumper, _value: None) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:null", "")


_Dumper.add_representer(str, _text)
_Dumper.add_representer(type(None), _nothing)


def text_of(documents: Iterable[Any], *comments: str) -> str:
    """The documents as one text of YAML, below comments."""
    head = "".join(f"# {comment}".rstrip() + "\n" for comment in comments)
    bodies = (
        yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000) for document in documents
    )
    return head + "---\n".join(bodies)
