"""Names fit MQTT topics, common names, TUF paths and file names without escaping."""

import pytest

from shared import ids
from shared.errors import ContractError


@pytest.mark.parametrize("name", ["a", "0", "camera-1", "a" * 63])
def test_good_names_come_back_unchanged(name: str) -> None:
    assert ids.check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", "a" * 64, "A", "a_b", "a.b", "a/b", "../a", "a b", "+", "#", "ä", "a\n", "\x00", "a\u200b"],
)
def test_everything_else_is_refused_with_a_remedy(name: str) -> None:
    with pytest.raises(ContractError) as caught:
        ids.check_name(name)
    assert caught.value.hint


def test_a_long_name_is_cut_in_the_error() -> None:
    with pytest.raises(ContractError) as caught:
        ids.check_name("x" * 100_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", sorted(ids.RESERVED))
def test_no_device_takes_the_name_of_a_server(name: str) -> None:
    with pytest.raises(ContractError, match="reserved"):
        ids.device_id(name)


def test_release_ids_join_model_and_counter() -> None:
    assert ids.release_id("activity", 2) == "activity-2"
    with pytest.raises(ContractError):
        ids.release_id("Activity", 2)


def test_digest_of_the_empty_string_is_the_published_one() -> None:
    assert ids.sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 64 + "\n"])
def test_only_lower_case_sha256_is_a_digest(text: str) -> None:
    with pytest.raises(ContractError):
        ids.check_digest(text)
