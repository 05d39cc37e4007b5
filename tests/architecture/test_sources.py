"""Sources stay small, and are named after what they hold."""

import re
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("shared", "cloud", "edge", "fleet", "simulations")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LONGEST = 400
"""Lines; a longer file is asking to be two."""

MEDIAN = 130
"""Lines, over files that are more than a docstring."""

VAGUE = re.compile(r"\b(utils?|helpers?|common|misc|managers?)\b")
VAGUE_CLASS = re.compile(r"^class \w*(Manager|Helper|Util|Utils)\b", flags=re.MULTILINE)


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("paths", [SOURCES, TESTS], ids=["sources", "tests"])
def test_no_file_is_longer_than_a_person_reads_at_once(paths: list[Path]) -> None:
    assert [f"{path.relative_to(ROOT)}: {lines(path)}" for path in paths if lines(path) > LONGEST] == []


def test_the_median_module_is_small(record_property: Callable[[str, object], None]) -> None:
    median = statistics.median(lines(path) for path in SOURCES if lines(path) > 10)
    record_property("median_lines", median)
    assert median <= MEDIAN


def test_nothing_is_named_for_being_useful() -> None:
    vague = [str(path.relative_to(ROOT)) for path in SOURCES if VAGUE.search(path.stem.replace("_", " "))]
    vague += [
        f"{path.relative_to(ROOT)}: {found[0]}" for path in SOURCES if (found := VAGUE_CLASS.search(path.read_text()))
    ]
    assert vague == []


def test_our_own_code_is_never_mocked() -> None:
    mocked = re.compile(r"^\s*(from|import) (unittest\.mock|mock\b)", flags=re.MULTILINE)
    assert [str(path.relative_to(ROOT)) for path in TESTS if mocked.search(path.read_text())] == []


def test_no_test_directory_is_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_sources_says_what_it_is(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py") if "versions" not in path.parts}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists()) == []
