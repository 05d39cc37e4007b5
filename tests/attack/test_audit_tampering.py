"""Somebody who has the database file, and every key of the coordinator, wants an action never to have been.

They work on the SQLite file itself, with its triggers dropped; the control beside each attack is the log as it was.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from cloud.audit.anchors import AnchorFile, Anchoring
from cloud.audit.log import AuditLog
from cloud.release import MemoryKeys, Repository
from cloud.store.database import Database, open_database, sqlite_url
from cloud.store.tables import audit
from fleet.main import app
from shared.anchors import read_signed
from shared.audit import GENESIS, Anchor, AuditRow, Line, Signed, Witness, export_line, seal
from shared.bundle import FleetDesired
from shared.clock import VirtualClock
from shared.errors import ContractError, TrustError

ROWS = 12
runner = CliRunner()


@dataclass
class Place:
    """A coordinator's log with a few actions in it, anchored as they happened."""

    file: Path
    database: Database
    anchoring: Anchoring
    repository: Repository
    clock: VirtualClock
    directory: Path

    def act(self, subject: str) -> None:
        with self.database.write() as connection:
            AuditLog(connection).add(
                at=self.clock.now(), actor="operator:eve", action="device.revoke", subject=subject, reason="stolen"
            )

    def rows(self) -> list[AuditRow]:
        with self.database.read() as connection:
            return AuditLog(connection).rows()

    def sign(self, release: str = "") -> Signed:
        """Have the repository sign something, and keep its timestamp as a device would."""
        self.repository.set_desired(FleetDesired(fleet="lab", devices={f"d{self.clock.now():.0f}": {}}))
        return self.repository.signed()

    def forge(self, *statements: str) -> None:
        """What whoever has the file does to it."""
        self.database.close()
        with sqlite3.connect(self.file, isolation_level=None) as connection:
            for what in ("UPDATE", "DELETE"):
                connection.execute(f"DROP TRIGGER IF EXISTS audit_no_{what}")
            for statement in statements:
                connection.execute(statement)
        connection.close()
        self.database = open_database(sqlite_url(self.file))
        self.anchoring = Anchoring(database=self.database, file=self.anchoring.file, clock=self.clock)

    def rebuild(self, keep: list[AuditRow]) -> None:
        """Write the whole log anew from `keep`, each row sealed again: a chain without a fault."""
        self.forge("DELETE FROM audit")
        previous = GENESIS
        with self.database.write() as connection:
            for number, row in enumerate(keep, start=1):
                fresh = seal(msgspec.structs.replace(row, number=number, previous=previous))
                previous = fresh.digest
                connection.execute(audit.insert().values(**msgspec.to_builtins(fresh)))

    def export(self, *, witness: Witness | None = None) -> Path:
        path = self.directory / "export.jsonl"
        lines = [Line(row=row) for row in self.rows()] + ([Line(witness=witness)] if witness else [])
        path.write_bytes(b"".join(map(export_line, lines)))
        return path


@pytest.fixture
def place(tmp_path):
    clock, file = VirtualClock(), tmp_path / "db.sqlite"
    database = open_database(sqlite_url(file))
    anchoring = Anchoring(database=database, file=AnchorFile(tmp_path / "worm" / "anchors.jsonl"), clock=clock)
    keys = MemoryKeys()
    Repository.create(tmp_path / "tuf", keys=keys, tenant="acme", clock=clock).add_fleet("lab")
    repository = Repository.open(tmp_path / "tuf", keys=keys, clock=clock, stamp=lambda: made.anchoring.stamp())  # noqa: PLW0108  made later
    made = Place(file, database, anchoring, repository, clock, tmp_path)
    for number in range(1, ROWS + 1):
        made.act(f"watch-{number}")
        clock.advance(5)
        if number % 3 == 0:
            made.anchoring.turn()
    yield made
    made.database.close()


def verdict(file: Path, *options: object) -> dict:
    result = runner.invoke(app, ["audit", "verify", "--file", str(file), "--json", *map(str, options)])
    assert result.exit_code in (0, 1), result.output
    found = json.loads(result.stdout)
    assert (result.exit_code == 1) == (found["flaw"] is not None), result.output
    return found


SWAP = [f"UPDATE audit SET number = {new} WHERE number = {old}" for old, new in ((4, 99), (5, 4), (99, 5))]

ATTACKS = {
    "a row deleted": (["DELETE FROM audit WHERE number = 7"], 7, "row 7 is missing"),
    "the first row deleted": (["DELETE FROM audit WHERE number = 1"], 1, "row 1 is missing"),
    "an actor edited": (["UPDATE audit SET actor = 'operator:bob' WHERE number = 5"], 5, "row 5 was edited"),
    "a time edited": (["UPDATE audit SET at = at - 86400 WHERE number = 5"], 5, "row 5 was edited"),
    "a reason edited": (["UPDATE audit SET reason = 'lost' WHERE number = 8"], 8, "row 8 was edited"),
    "rows reordered": (SWAP, 4, "row 4 does not continue row 3"),
    "a row put in": (
        [
            "UPDATE audit SET number = number + 100 WHERE number > 3",
            "INSERT INTO audit SELECT 4, at, actor, action, 'watch-x', reason, before, after, 'p', 'd' FROM audit "
            "WHERE number = 3",
        ],
        4,
        "row 4 does not continue row 3",
    ),
    "the end cut off": (["DELETE FROM audit WHERE number > 9"], 10, "the log ends with row 9, but row 12 was anchored"),
    "everything gone": (["DELETE FROM audit"], 1, "the log ends with row 0, but row 12 was anchored"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_whoever_edits_the_file_is_found_and_the_first_bad_row_is_named(place, attack):
    statements, number, what = ATTACKS[attack]
    anchors = place.anchoring.file.path
    assert verdict(place.export(), "--anchors", anchors)["rows"] == ROWS  # the control
    place.forge(*statements)
    found = verdict(place.export(), "--anchors", anchors)
    assert (found["row"], found["flaw"][: len(what)]) == (number, what)
    if "the log ends" in what:
        with pytest.raises(TrustError, match="altered"):
            place.anchoring.turn()  # nothing is noted on top of a log that lost its anchored head


def test_a_log_written_anew_without_one_row_contradicts_the_anchor_file(place):
    place.rebuild([row for row in place.rows() if row.number != 7])
    assert verdict(place.export())["flaw"] is None  # the chain alone cannot tell
    found = verdict(place.export(), "--anchors", place.anchoring.file.path)
    assert (found["row"], "written anew" in found["flaw"], found["rows"]) == (9, True, 9)
    with pytest.raises(TrustError, match="altered"):
        place.anchoring.turn()


def test_a_log_written_anew_contradicts_a_timestamp_that_a_device_kept(place):
    kept = place.sign()
    (place.directory / "timestamp.json").write_text(kept.timestamp)
    (place.directory / "1.root.json").write_text(kept.roots[0])
    theirs = ("--timestamp", place.directory / "timestamp.json", "--root", place.directory / "1.root.json")
    assert verdict(place.export(witness=Witness(anchors=[], signed=kept)), *theirs)["anchors"] == 2  # the control
    place.anchoring.file.path.unlink()  # the anchor file is theirs too
    place.rebuild([row for row in place.rows() if row.number != 7])
    assert verdict(place.export())["flaw"] is None
    found = verdict(place.export(), *theirs)
    assert (found["row"], "timestamp" in found["flaw"]) == (12, True)


def test_a_timestamp_that_another_key_signed_is_believed_by_nobody_who_has_the_root(place):
    honest = place.sign()
    other = Repository.create(place.directory / "theirs", keys=MemoryKeys(), tenant="acme", clock=place.clock)
    forged = other.signed()
    assert read_signed(honest, pinned=honest.roots[0].encode()).number == ROWS
    with pytest.raises(TrustError, match="not the one"):
        read_signed(forged, pinned=honest.roots[0].encode())
    with pytest.raises(TrustError, match="not signed"):
        read_signed(Signed(timestamp=forged.timestamp, roots=honest.roots))
    with pytest.raises(TrustError, match="not signed"):
        edited = honest.timestamp.replace(f'"number":{ROWS}', f'"number":{ROWS - 1}')
        assert edited != honest.timestamp
        read_signed(Signed(timestamp=edited, roots=honest.roots))
    with pytest.raises(ContractError):
        read_signed(Signed(timestamp=honest.roots[0], roots=honest.roots))


def test_the_timestamp_keeps_its_last_true_head_when_the_log_is_altered(place):
    honest = read_signed(place.sign())
    place.clock.advance(5)
    place.act("watch-13")
    place.anchoring.turn()
    assert read_signed(place.sign()).number == ROWS + 1  # the control: it moves on
    place.rebuild([row for row in place.rows() if row.number != 7])
    place.clock.advance(5)
    assert read_signed(place.sign()).number == ROWS + 1
    assert honest.number == ROWS


def test_every_signed_timestamp_names_the_head_of_its_time(place):
    for number in range(ROWS + 1, ROWS + 4):
        place.act(f"watch-{number}")
        place.clock.advance(90_000)  # longer than a timestamp lives
        place.repository.renew()
        assert read_signed(place.repository.signed()).number == number


def test_an_anchor_that_a_power_cut_tore_costs_that_anchor_and_no_other(place):
    path = place.anchoring.file.path
    whole = len(place.anchoring.file.all())
    path.write_bytes(path.read_bytes() + b'{"number":13,"dig')
    assert len(AnchorFile(path).all()) == whole
    again = AnchorFile(path)
    again.append(Anchor(number=14, digest="a" * 64))
    assert [anchor.number for anchor in AnchorFile(path).all()][-2:] == [12, 14]


def test_an_anchor_that_was_edited_is_no_anchor(place):
    path = place.anchoring.file.path
    path.write_bytes(path.read_bytes().replace(b'"number"', b'"nummer"', 1))
    with pytest.raises(ContractError, match="line 1"):
        AnchorFile(path).all()


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b'{"row":3}', b"\xff", b'{"row":null,"witness":null}', b"[" * 9999]
)
def test_an_export_that_is_none_is_refused_in_one_line(place, line):
    path = place.export()
    path.write_bytes(path.read_bytes() + line + b"\n")
    result = runner.invoke(app, ["audit", "verify", "--file", str(path)])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
