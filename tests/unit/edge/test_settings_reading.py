"""A settings file with faults: all of them are told, each with its field."""

import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import settings as conf
from edge.settings.reading import convert, known_fields
from shared.errors import RefusedError

GOOD = """
[agent]
state = "/tmp/x"
[[pipelines]]
name = "a"
model = "m"
source = { kind = "video", path = "x" }
"""


def faults(text):
    settings, found = convert(tomllib.loads(text))
    assert (settings is None) == bool(found)
    return [str(each) for each in found]


def test_a_good_file_has_none():
    assert faults(GOOD) == []


def test_all_faults_are_told_at_once_with_what_was_meant():
    assert faults("""
        [agent]
        state = "x"
        stat = 1
        hardware = [3]
        [inference]
        threads = 0
        lod_s = 3
        [[pipelines]]
        name = "a"
        model = "m"
        source = { kind = "video", path = "x", fsp = 3 }
        [updat]
        hours = []
    """) == [
        "agent.stat: is no setting; did you mean `state`?",
        "agent.hardware[0]: expected `str`, got `int`",
        "inference.threads: expected `int` >= 1",
        "inference.lod_s: is no setting; did you mean `load_s`?",
        "pipelines[0].source.fsp: is no setting; did you mean `fps`?",
        "updat: is no setting; did you mean `update`?",
    ]


def test_a_kind_that_there_is_not_names_those_that_there_are():
    (fault,) = faults(GOOD.replace('"video"', '"vidio"'))
    assert fault.startswith("pipelines[0].source.kind: invalid value 'vidio'; there are ")
    assert "video" in fault


def test_what_is_missing_is_told_and_what_else_is_wrong():
    assert faults("[agent]\n[inference]\nthreds = 1\n") == [
        "agent.state: is missing",
        "inference.threds: is no setting; did you mean `threads`?",
    ]
    assert faults("[link]\n") == ["agent: is missing"]


def test_nothing_like_it_is_not_guessed_at():
    assert faults(GOOD + "[zzz]\n") == ["zzz: is no setting"]


def test_names_below_a_place():
    assert {"threads", "answer_s"} <= known_fields(["inference"])
    assert {"path", "fps", "rate"} <= known_fields(["pipelines", 0, "source"])
    assert known_fields(["nowhere"]) == set()


def test_the_message_names_the_file_in_every_line(tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text("[agent]\nstate = 1\nstat = 1\n")
    with pytest.raises(RefusedError) as refused:
        conf.read(path)
    lines = str(refused.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: agent.stat") for line in lines)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["agent", "state", "pipelines", "source", "kind", "name", "model", "inference", "a`b.c"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["agent", "pipelines", "inference", "link", "x"]), TREES, max_size=4))
def test_whatever_a_file_says_ends_in_settings_or_faults(tree):
    settings, found = convert(tree)
    assert (settings is None) == bool(found)
    assert settings is None or isinstance(settings, msgspec.Struct)
