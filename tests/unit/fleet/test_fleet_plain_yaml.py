"""YAML that means what people wrote."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleet.documents import read_documents
from fleet.plain_yaml import PlainLoader
from shared.errors import RefusedError


def read(text):
    return yaml.load(text, PlainLoader)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:00", "22:00"), ("no", "no"), ("on", "on"), ("2026-01-01", "2026-01-01"), ("010", 10), ("1_000", "1_000"),
        ("true", True), ("False", False), ("~", None), ("", None), ("null", None), ("-3", -3), ("1e3", 1000.0),
        (".5", 0.5), ("1.", 1.0), ("'3'", "3"), ("!!str 3", "3"), ("0x10", "0x10"), ("[1, two]", [1, "two"]),
    ],
)  # fmt: skip
def test_a_value_is_what_it_looks_like(text, value):
    assert read(f"a: {text}") == {"a": value}


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2", "a: {b: 1, b: 2}", "a: {3: x}", "a: {~: x}", "? [a]\n: b", "a: !!int x", "a: !!bool maybe",
     "a: !!float ''", "a: !!set {b}", "a: !!timestamp x", "a: !!binary x", "a: !!map x", "a: " + "9" * 5000,
     'a: "\\ud800"', "a: !!python/name:os.system"],
)  # fmt: skip
def test_what_is_neither_is_refused_in_words(tmp_path, text):
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(RefusedError) as refused:
        read_documents(path)
    assert refused.value.hint


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Co", "Cn")), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcyn", min_size=1), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(plain)
def test_what_others_write_is_read_as_they_meant_it(value):
    back = read(yaml.safe_dump(value, allow_unicode=True))
    assert back == value or (isinstance(value, float) and math.isclose(back, value))


@given(st.text(max_size=60))
def test_no_text_is_more_than_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        documents = read_documents(path)
    except RefusedError as error:
        assert error.hint
    else:
        assert documents
