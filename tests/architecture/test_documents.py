"""The documents say what is there: links lead somewhere, settings parse, commands and targets exist."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from edge.settings import Settings

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
