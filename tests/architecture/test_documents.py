"""The documents say what is there: links lead somewhere, settings parse, commands and targets exist."""

import re
import shlex
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import typer
import yaml

from cloud.devices.labels import check_labels
from cloud.distribution.fleets import check_rule
from cloud.models.line import line_from
from cloud.rollout.document import spec_from
from cloud.settings import make_settings
from edge.settings import Settings
from fleet.commands.apply import KINDS
from fleet.plain_yaml import PlainLoader
from shared.distribution import Distribution
from shared.masks import FleetMasks

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PACKAGES = ("shared", "cloud", "edge", "fleet", "simulations", "tests", "docs")

LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
SOURCE = re.compile(rf"`((?:{'|'.join(PACKAGES)})/[\w./-]*)`")
MAKE = re.compile(r"(?:^|`)make ([a-z-]+)", flags=re.MULTILINE)
EXTRAS = re.compile(r"(?:hinterland|\.)\[([a-z,-]+)\]")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def by_name(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(path: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(path.read_text()) if kind == language]


@by_name(DOCUMENTS)
def test_links_lead_to_files(path: Path) -> None:
    targets = [target for target in LINK.findall(path.read_text()) if "://" not in target]
    assert [target for target in targets if not (path.parent / target).exists()] == []


@by_name(DOCUMENTS)
def test_files_that_are_named_exist(path: Path) -> None:
    assert [name for name in SOURCE.findall(path.read_text()) if not (ROOT / name).exists()] == []


@by_name(DOCUMENTS)
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(MAKE.findall(path.read_text())) <= targets


@by_name(DOCUMENTS)
def test_extras_exist(path: Path) -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra for found in EXTRAS.findall(path.read_text()) for extra in found.split(",")}
    assert named <= set(known)


def test_the_agents_settings_parse_as_they_are_shown() -> None:
    shown = [text for path in DOCUMENTS for text in blocks(path, "toml") if "[agent]" in text]
    assert shown
    for text in shown:
        msgspec.convert(tomllib.loads(text), Settings)


def test_the_picture_names_itself_for_those_who_cannot_see_it() -> None:
    picture = (ROOT / "docs" / "loop.svg").read_text()
    assert 'role="img"' in picture
    assert "<title" in picture
    assert "prefers-color-scheme: dark" in picture


def test_the_coordinators_settings_parse_as_they_are_shown() -> None:
    shown = [text for path in DOCUMENTS for text in blocks(path, "toml") if "[identity]" in text]
    assert shown
    for text in shown:
        make_settings(tomllib.loads(text), {}, directory=Path("/nowhere"))


def test_model_lines_parse_as_they_are_shown() -> None:
    shown = [text for path in DOCUMENTS for text in blocks(path, "toml") if "[schema]" in text]
    assert shown
    for text in shown:
        line_from(tomllib.loads(text))


def shown_documents() -> list[dict[str, Any]]:
    texts = [text for path in DOCUMENTS for text in blocks(path, "yaml") if "kind: " in text]
    shown = [document for text in texts for document in yaml.load_all(text, PlainLoader)]
    return [document for document in shown if "apiVersion" not in document]  # Kubernetes' own are no documents of ours


def test_documents_that_operators_apply_parse_as_they_are_shown() -> None:
    shown = shown_documents()
    assert {document["kind"] for document in shown} >= {"rollout", "device"}
    assert {document["kind"] for document in shown} <= KINDS.keys()
    for document in shown:
        if document["kind"] == "rollout":
            spec_from(document)
        if document["kind"] == "device":
            check_labels(document["labels"])
        if document["kind"] == "distribution":
            rule = {field: value for field, value in document.items() if field not in ("kind", "name")}
            check_rule(msgspec.convert(rule, Distribution))
        if document["kind"] == "masks":
            msgspec.convert({field: document[field] for field in document.keys() - {"kind", "name"}}, FleetMasks)


SCRIPTS = {
    "hinterland": "fleet.main",
    "hinterland-coordinator": "cloud.main",
    "hinterland-agent": "edge.main",
}
COMMAND = re.compile(rf"(?:^|`)((?:{'|'.join(sorted(SCRIPTS, reverse=True))}) [a-z-][^`\n>]*)", flags=re.MULTILINE)


def unknown(words: list[str]) -> str:
    """What a command line says that the program does not know; empty when it knows all of it."""
    command = typer.main.get_command(import_module(SCRIPTS[words[0]]).app)
    context = click.Context(command)
    for word in words[1:]:
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        if word.startswith("-") and word.split("=")[0] not in options:
            return word
        if isinstance(command, click.Group) and not word.startswith("-") and not context.args:
            inner = command.get_command(context, word)
            if inner is None and not _is_value(words, word):
                return word
            command = loaded(inner) if inner is not None else command
    return ""


def _is_value(words: list[str], word: str) -> bool:
    return words[words.index(word) - 1].startswith("-")


def loaded(command: click.Command) -> click.Command:
    """A command that another package adds shows its options only once it is imported."""
    entry = getattr(command, "_entry", None)
    return command if entry is None else typer.main.get_command(entry.load())


def shown_commands() -> list[tuple[Path, str]]:
    return [(path, line.strip()) for path in DOCUMENTS for line in COMMAND.findall(path.read_text())]


@pytest.mark.parametrize(("path", "line"), shown_commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_commands_exist_with_the_options_that_are_shown(path: Path, line: str) -> None:
    assert unknown(shlex.split(line, comments=True)) == "", f"{path.relative_to(ROOT)}: {line}"


def test_the_check_of_commands_sees_what_is_wrong() -> None:
    assert unknown(["hinterland", "devices", "--json"]) == ""
    assert unknown(["hinterland", "devics"]) == "devics"
    assert unknown(["hinterland", "device", "wy", "x"]) == "wy"
    assert unknown(["hinterland", "devices", "--jsn"]) == "--jsn"


def test_documents_that_the_sources_point_to_exist() -> None:
    pointer = re.compile(r"docs/[\w/.-]+\.md")
    sources = [path for package in PACKAGES[:-1] for path in (ROOT / package).rglob("*.py")]
    missing = {name for path in sources for name in pointer.findall(path.read_text()) if not (ROOT / name).exists()}
    assert missing == set()
