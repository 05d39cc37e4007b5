import pytest

from cloud.models.parity import Label, ParityBar, judge
from shared.parity import Likeness


def likeness(present: tuple[int, ...], found: tuple[int, ...], precision: float = 1.0) -> Likeness:
    return Likeness(inputs=100, present=present, found=found, claimed=sum(found), precision=precision, difference=0.01)


def test_what_answers_alike_passes_with_its_numbers() -> None:
    finding = judge(likeness((60, 40), (60, 39)), ParityBar(), detection=False)
    assert finding.label is Label.PASSED
    assert "99 of 100 inputs" in finding.detail
    assert finding.shares["agreement"] == 0.99


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (likeness((60, 40), (58, 38)), "agreement 0.960"),
        (likeness((60, 40), (60, 40), precision=0.9), "mean average precision 0.900"),
        (likeness((980, 20), (980, 15)), "class 1: 15 of 20"),
        (likeness((30, 10), (30, 10)), "40 objects prove nothing"),
        (likeness((0, 0), (0, 0)), "0 objects prove nothing"),
    ],
)
def test_what_does_not_is_refused_with_the_reason(seen: Likeness, why: str) -> None:
    finding = judge(seen, ParityBar(), detection=True)
    assert finding.label is Label.FAILED
    assert finding.detail.startswith(why)


def test_what_could_not_be_run_says_so_and_why() -> None:
    finding = judge(None, ParityBar(), detection=False, why_not="no GPU of SM86 here")
    assert finding.label is Label.NOT_EXECUTED
    assert "no GPU of SM86" in finding.detail
