"""When a row counts as held, and what becomes of rows in the report."""

import json

import msgspec
import pytest

from simulations.report.attacks import keep, line, page, summary
from simulations.report.document import document
from simulations.scenarios.attacks.play import LEAST, carry_out, one, passes
from simulations.scenarios.attacks.row import Attack, AttackReport, Row, Seen, Threat

HELD = Row(
    id="way.altered",
    family="way",
    threat=Threat.TAMPERED,
    victim="device",
    done="flipped a bit",
    refused=True,
    error="trust: altered <b>",
    control="unaltered",
    accepted=True,
    seconds=0.5,
)


def report(*rows: Row) -> AttackReport:
    return AttackReport(began=0.0, seconds=1.0, tenant="acme", rows=list(rows))


def attack(act) -> Attack:
    return Attack(name="a", threat=Threat.SLOT, victim="device", done="it", control="honest", act=act)


@pytest.mark.parametrize(
    "changes",
    [{"refused": False}, {"accepted": False}, {"fault": "no broker"}, {"error": "", "observed": ""}],
    ids=["not refused", "control refused", "not carried out", "no evidence"],
)
def test_a_row_holds_only_with_a_refusal_a_control_and_evidence(changes):
    assert HELD.held
    row = msgspec.structs.replace(HELD, **changes)
    assert not row.held
    assert not report(HELD, row).held


def test_the_whole_set_must_be_large_and_a_family_need_not():
    assert not passes(report(HELD), whole=True)
    assert passes(report(HELD), whole=False)
    assert passes(report(*[HELD] * LEAST), whole=True)
    assert not passes(report(), whole=False)


def test_an_attack_that_cannot_be_carried_out_is_a_row_that_does_not_hold():
    def broken() -> Seen:
        raise OSError("no route")

    row = one("way", attack(broken))
    assert (row.fault, row.held, row.refused, row.accepted) == ("OSError: no route", False, False, False)
    assert one("way", attack(lambda: Seen(refused=True, accepted=True, error="said"))).held


def test_a_family_that_breaks_keeps_its_rows_and_says_so():
    def family(_ground):
        yield attack(lambda: Seen(refused=True, accepted=True, error="said"))
        raise ValueError("gone")

    rows = list(carry_out("way", family, None))
    assert [row.held for row in rows] == [True, False]
    assert rows[1].fault == "ValueError: gone"


def test_what_is_kept(tmp_path):
    made = report(HELD, msgspec.structs.replace(HELD, refused=False))
    keep(made, tmp_path)
    assert json.loads((tmp_path / "attacks.json").read_text()) == json.loads(document(made))
    html = (tmp_path / "attacks.html").read_text()
    assert html == page(made)
    assert "trust: altered &lt;b&gt;" in html
    assert "NOT REFUSED" in html
    assert "1 of 2 attacks" in html
    assert str(line(HELD)).startswith("✓ way.altered")
    assert summary(made).row_count == 1
