"""Documents that operators write: YAML, JSON or TOML, one or several in a file."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from fleet.plain_yaml import PlainLoader
from shared.errors import RefusedError

MAX_FILE = 8 << 20
"""Bytes; the coordinator takes a megabyte a document."""

STDIN = "-"


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One document and where it stood."""

    place: str
    """File and number, for messages."""

    body: dict[str, Any]


def read_document(file: Path) -> dict[str, Any]:
    """The one document of a file, which has a name.

    Raises:
        RefusedError: it cannot be read, or has no name.
    """
    documents = read_documents(file)
    if len(documents) != 1 or not isinstance(documents[0].body.get("name"), str):
        raise RefusedError(f"{file} names no model line", hint='Begin it with `name = "…"`.')
    return documents[0].body


def read_documents(file: Path) -> list[Document]:
    """Every document of a file; `-` reads standard input as YAML.

    Raises:
        RefusedError: it cannot be read, or something in it is no document.
    """
    text = _text(file)
    try:
        bodies = _READERS.get(file.suffix.lower(), _yaml)(text)
        msgspec.json.encode(bodies)  # some texts can be written down and not be sent
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).split())[:300]
        raise RefusedError(f"{file} cannot be read: {said}", hint="Give YAML, JSON (.json) or TOML (.toml).") from error
    if not bodies:
        raise RefusedError(f"there is no document in {file}", hint="docs/rollouts.md shows some.")
    documents = []
    for number, body in enumerate(bodies, 1):
        place = f"{file}, document {number}" if len(bodies) > 1 else str(file)
        if not isinstance(body, Mapping) or not all(isinstance(key, str) for key in body):
            raise RefusedError(f"{place} is no table of fields", hint="Begin it with `kind: rollout`.")
        documents.append(Document(place=place, body=dict(body)))
    return documents


def _text(file: Path) -> str:
    try:
        data = sys.stdin.buffer.read(MAX_FILE + 1) if str(file) == STDIN else _bytes(file)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"{file} cannot be read: {error}", hint="Give a text file of yours with -f.") from error
    if len(data) > MAX_FILE:
        raise RefusedError(f"{file} is over {MAX_FILE >> 20} MiB", hint="Give several files.")
    return text


def _bytes(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_FILE + 1)


def _yaml(text: str) -> Sequence[Any]:
    # aliases can make a small text large beyond all measure, and no document of ours needs them
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise yaml.YAMLError("an alias (*) has no place in a document")
    return [document for document in yaml.load_all(text, PlainLoader) if document is not None]


_READERS: dict[str, Callable[[str], Sequence[Any]]] = {
    ".json": lambda text: [json.loads(text)],
    ".toml": lambda text: [tomllib.loads(text)],
}
