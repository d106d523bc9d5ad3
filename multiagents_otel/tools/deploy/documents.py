"""YAML documents out of text and into text, made for people: block scalars, the order of keys kept, no folded lines."""

from __future__ import annotations

import re
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


# Other readers follow YAML 1.2, or take y and n for flags: what one of them takes for no text is quoted.
for _tag, _pattern, _first in (
    ("float", r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("int", r"[-+]?0[oxb][0-9a-fA-F_]+", "-+0"),
    ("bool", r"[yYnN]", "yYnN"),
):
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), list(_first))
_Dumper.add_representer(str, _text)
_Dumper.add_representer(type(None), _nothing)


def text_of(documents: Iterable[Any], *comments: str) -> str:
    """The documents as one text of YAML, below comments."""
    head = "".join(f"# {comment}".rstrip() + "\n" for comment in comments)
    bodies = (
        yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000) for document in documents
    )
    return head + "---\n".join(bodies)
