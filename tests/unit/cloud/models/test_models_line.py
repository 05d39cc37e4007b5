from typing import Any

import msgspec
import pytest

from cloud.models.line import ModelLine, check_line, decode_line, document_of, encode_line, line_from
from shared.bundle import Schema
from shared.errors import ContractError, RefusedError

LINE = ModelLine(
    name="activity",
    task="activity",
    schema=Schema(kind="classification", labels=["row", "pendulum"], input_shape=[6, 100]),
    fleets=("wards",),
    canaries=("watch-1",),
)


def test_a_line_survives_the_store_and_a_document() -> None:
    assert decode_line(encode_line(LINE)) == LINE == line_from(document_of(LINE))
    assert encode_line(LINE) == encode_line(line_from(document_of(LINE)))


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"name": "a"}'])
def test_what_is_no_line_is_refused(data: bytes) -> None:
    with pytest.raises(ContractError):
        decode_line(data)


@pytest.mark.parametrize("change", [{"rouns": 3}, {"rounds": "three"}, {"name": "Not A Name"}, {"fleets": ["UPPER"]}])
def test_typing_errors_are_shown(change: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        line_from(document_of(LINE) | change)


@pytest.mark.parametrize(
    "change",
    [
        {"rounds": 0},
        {"min_devices": 0},
        {"recipe": {"epochs": 0}},
        {"recipe": {"learning_rate": 0.0}},
        {"bar": {"accuracy": 80.0}},
        {"bar": {"parity": 0.0}},
        {"watch": {"threshold": 0.0}},
        {"waves": []},
        {"waves": [0.5]},
        {"waves": [1.0, 0.5]},
        {"soak_s": -1.0},
        {"deadline_s": 0.0},
        {"tolerated": 1.5},
        {"task": "", "retrain": {}},
    ],
)
def test_numbers_that_make_no_sense_are_refused_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="retrain" if "retrain" in change else next(iter(change))):
        line_from(document_of(LINE) | change)


def test_fields_have_sound_defaults() -> None:
    assert check_line(msgspec.convert({"name": "m", "schema": document_of(LINE)["schema"]}, ModelLine)).rounds >= 1
