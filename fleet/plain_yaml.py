"""YAML as people mean it: the core schema of YAML 1.2, on PyYAML's safe loader, which reads 1.1.

In YAML 1.1 `22:00` is the number 1320, `no` is false, and of a field that is there twice the last one silently counts.
A window that begins at 22:00, a site called `no`, and two lists of waves must not become something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Any

import yaml

_PREFIX = "tag:yaml.org,2002:"

_CORE: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "null": (r"~|null|Null|NULL|", "~nN", lambda _text: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text[0] in "tT"),
    "int": (r"[-+]?[0-9]+", "-+0123456789", int),
    "float": (r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789", float),
}
"""Kind → what it looks like, how it begins, what it is; https://yaml.org/spec/1.2.2 section 10.3.2, no infinities."""


class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML says nothing of its types
    """Reads texts, numbers, lists and tables; no other tag, and no field twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  PyYAML's own name
    yaml_constructors = {  # noqa: RUF012  likewise
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (*(_PREFIX + kind for kind in ("str", "seq", "map")), None)
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A table of fields.

        Raises:
            ConstructorError: a field's name is no text, or there twice.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != f"{_PREFIX}str":
                raise yaml.constructor.ConstructorError(None, None, "a field's name is a text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            seen.add(key.value)
        table: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return table


def _teach(kind: str, looks: str, begins: str, make: Callable[[str], Any]) -> None:
    pattern = re.compile(f"(?:{looks})$")

    def construct(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
        text = str(loader.construct_scalar(node))
        if not pattern.match(text):
            raise yaml.constructor.ConstructorError(None, None, f"{text[:40]!r} is no {kind}", node.start_mark)
        return make(text)

    PlainLoader.add_implicit_resolver(f"{_PREFIX}{kind}", pattern, [*begins, ""] if kind == "null" else list(begins))
    PlainLoader.add_constructor(f"{_PREFIX}{kind}", construct)


for _kind, _said in _CORE.items():
    _teach(_kind, *_said)
