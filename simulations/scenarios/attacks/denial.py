"""Family `audit`: an administrator edits the audit log in the database, and an operator verifies it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator

from cloud.layout import Layout
from simulations.scenarios.attacks.ground import Ground
from simulations.scenarios.attacks.row import Attack, Seen, Threat
from simulations.scenarios.attacks.session import PATIENCE_S, wait
from simulations.world.ports import LOOPBACK, answers, free_ports
from simulations.world.process import Process, console_script

Edit = Callable[[sqlite3.Connection, int], object]
"""(database, number of the newest row) → what an administrator would do."""


class Copy:
    """A copy of the coordinator's directory, served beside the original: what somebody restores after editing it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.layout = Layout((ground.world.directory / "copied").absolute())
        source = ground.world.layout.directory
        skip = shutil.ignore_patterns("db.sqlite*", "lock", "blobs", "runs", "flower.sqlite*", "data", "*.pid")
        shutil.copytree(source, self.layout.directory, ignore=skip)
        with sqlite3.connect(ground.world.layout.database) as live, sqlite3.connect(self.layout.database) as copy:
            live.backup(copy)
        self.kept = ground.world.directory / "anchors-kept-elsewhere.jsonl"
        shutil.copy(ground.world.layout.anchors, self.kept)
        api, broker = free_ports(2)
        env = {
            "HINTERLAND_SUPERLINK_ENABLED": "false",
            "HINTERLAND_API_PORT": str(api),
            "HINTERLAND_BROKER_PORT": str(broker),
        }
        argv = [*console_script("hinterland-coordinator"), "serve", "--dir", str(self.layout.directory)]
        self.process, self._port = Process("copy", argv, logs=ground.world.logs, env=env), api
        profile = self.layout.profile.read_text().splitlines()
        address = f'url = "https://{LOOPBACK}:{api}"'
        self.layout.profile.write_text("\n".join([address, *(row for row in profile if not row.startswith("url"))]))

    def start(self) -> None:
        """Serve it."""
        self._ground.world.agents["copy"] = self.process  # ended with the world, whatever happens
        self.process.start()
        self.process.wait_until(lambda: answers(self._port), within_s=PATIENCE_S)
        wait(lambda: self.verify()[0], what="an unbroken log")

    def verify(self) -> tuple[bool, str]:
        """`hinterland audit verify`, with the anchors that were kept elsewhere: (whether it is whole, what it says)."""
        argv = [*console_script("hinterland"), "--profile", str(self.layout.profile), "audit", "verify"]
        done = subprocess.run(  # noqa: S603  our own command
            [*argv, "--anchors", str(self.kept)], check=False, capture_output=True, text=True
        )
        return done.returncode == 0, (done.stderr or done.stdout).strip()


def attacks(ground: Ground) -> Iterator[Attack]:
    """Each edit is undone before the next."""
    copy = Copy(ground)
    copy.start()
    try:
        yield Attack(
            name="row-deleted-with-guards-up",
            threat=Threat.DENIAL,
            victim="database",
            done="deleted a row with a database shell, and left the table's triggers alone",
            control="the log is whole afterwards",
            act=lambda: _through_the_guard(copy),
        )
        for name, done, edit in _edits():
            yield Attack(
                name=name,
                threat=Threat.DENIAL,
                victim="operator who runs `hinterland audit verify`",
                done=f"took the table's triggers away and {done}",
                control="the log as it was: unbroken",
                act=_editing(copy, edit),
            )
    finally:
        copy.process.kill()


def _edits() -> Iterator[tuple[str, str, Edit]]:
    yield (
        "row-deleted",
        "deleted a row from the middle",
        lambda db, last: db.execute("DELETE FROM audit WHERE number = ?", (last // 2,)),
    )
    yield (
        "row-edited",
        "changed who did it in one row",
        lambda db, last: db.execute("UPDATE audit SET actor = 'operator:somebody-else' WHERE number = ?", (last // 2,)),
    )
    yield "rows-reordered", "swapped two rows", _swap
    yield (
        "rows-truncated",
        "deleted the last three rows",
        lambda db, last: db.execute("DELETE FROM audit WHERE number > ?", (last - 3,)),
    )
    yield (
        "first-row-deleted",
        "deleted the first row",
        lambda db, _last: db.execute("DELETE FROM audit WHERE number = 1"),
    )
    yield "written-anew", "wrote the whole log anew from the middle on, every digest right", _rewrite


def _swap(db: sqlite3.Connection, last: int) -> None:
    one, two = last // 2, last // 2 + 1
    for old, new in ((one, -1), (two, one), (-1, two)):
        db.execute("UPDATE audit SET number = ? WHERE number = ?", (new, old))


def _rewrite(db: sqlite3.Connection, last: int) -> None:
    """As whoever knows the format would: leave a row out, and chain the others again."""
    import json

    import msgspec

    from shared.audit import AuditRow, seal

    db.row_factory = sqlite3.Row
    rows = [dict(row) for row in db.execute("SELECT * FROM audit ORDER BY number")]
    kept = [row for row in rows if row["number"] != last // 2]
    previous = kept[last // 2 - 2]["digest"]
    db.execute("DELETE FROM audit WHERE number >= ?", (last // 2,))
    for number, row in enumerate(kept[last // 2 - 1 :], start=last // 2):
        parsed = {**row, "before": json.loads(row["before"]), "after": json.loads(row["after"])}
        sealed = seal(msgspec.convert({**parsed, "number": number, "previous": previous}, AuditRow))
        previous = sealed.digest
        names = ", ".join(row)
        marks = ", ".join("?" for _ in row)
        values = [{**row, "number": number, "previous": sealed.previous, "digest": sealed.digest}[name] for name in row]
        db.execute(f"INSERT INTO audit ({names}) VALUES ({marks})", values)  # noqa: S608  the table's own columns


def _through_the_guard(copy: Copy) -> Seen:
    """What the database itself says to whoever does not take its triggers away first."""
    error = ""
    with sqlite3.connect(copy.layout.database, timeout=PATIENCE_S) as db:
        (rows,) = db.execute("SELECT count(*) FROM audit").fetchone()
        try:
            db.execute("DELETE FROM audit WHERE number = ?", (rows // 2,))
        except sqlite3.DatabaseError as refusal:
            error = f"{type(refusal).__name__}: {refusal}"
            db.rollback()
        (left,) = db.execute("SELECT count(*) FROM audit").fetchone()
    return Seen(
        refused=bool(error) and left >= rows,
        error=error,
        observed=f"{rows} rows before, {left} after",
        accepted=copy.verify()[0],
    )


def _editing(copy: Copy, edit: Edit) -> Callable[[], Seen]:
    def act() -> Seen:
        before, unbroken = copy.verify()
        with sqlite3.connect(copy.layout.database, timeout=PATIENCE_S) as db:
            triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                db.execute(f'DROP TRIGGER "{name}"')
            rows = db.execute("SELECT * FROM audit").fetchall()
            edit(db, max(row[0] for row in rows))
        whole, said = copy.verify()
        with sqlite3.connect(copy.layout.database, timeout=PATIENCE_S) as db:
            db.execute("DELETE FROM audit")
            db.executemany(f"INSERT INTO audit VALUES ({', '.join('?' for _ in rows[0])})", rows)  # noqa: S608  as it was
            for _, statement in triggers:
                db.execute(statement)
        return Seen(refused=not whole, error=said, observed=f"before: {unbroken[:120]}", accepted=before)

    return act
