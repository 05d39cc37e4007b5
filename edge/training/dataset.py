"""What a device learns from: base splits as files, and live windows that wait for their labels.

    <task>/train.npz, holdout.npz    x [n, …] float32, y [n] int64; written once, at set-up
    live.sqlite                      windows of the live stream, bounded, and their labels

The agent writes and the trainer reads, two processes; SQLite's write-ahead log lets neither wait for the other.
Imports neither torch nor Flower: the agent that infers uses it too.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError, FaultError, RefusedError
from shared.ids import check_name
from shared.task import Examples

UNLABELLED = 4096
"""Windows per task that wait for a label: at two a second, half an hour. The oldest go first."""

TRIM_EVERY = 64
"""Insertions between two looks at the bound."""

HOLDOUT_EVERY = 4
"""One labelled window in four is held out, so that a device's judgement follows its world."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS windows (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of the stream
    task TEXT NOT NULL,
    id TEXT NOT NULL,
    shape TEXT NOT NULL,
    x BLOB NOT NULL,                        -- float32, little-endian, C order
    y INTEGER,                              -- NULL while it waits
    train INTEGER NOT NULL DEFAULT 0,
    UNIQUE (task, id)
);
CREATE INDEX IF NOT EXISTS labelled ON windows (task, train, seq);
"""


class DatasetStore:
    """The data sets under one directory; threads may share it."""

    def __init__(self, directory: Path, *, unlabelled: int = UNLABELLED) -> None:
        """Open or create the store.

        Raises:
            FaultError: the disk does not take it.
        """
        self.directory = directory
        self._unlabelled = unlabelled
        self._inserted = 0
        self._lock = threading.Lock()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(directory / "live.sqlite", timeout=10.0, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise FaultError(f"no data set store in {directory}: {error}", hint="Check the disk.") from error

    def remember(self, task: str, window_id: str, x: NDArray[np.float32]) -> None:
        """Keep a live window until its label comes; a window that is known already stays as it is.

        A power cut may cost the newest windows; a label makes its window durable.

        Raises:
            FaultError: the disk does not take it.
        """
        values = np.ascontiguousarray(x, dtype="<f4")
        with self._transaction(durable=False) as base:
            base.execute(
                "INSERT OR IGNORE INTO windows (task, id, shape, x) VALUES (?, ?, ?, ?)",
                (task, window_id, ",".join(map(str, values.shape)), values.tobytes()),
            )
            self._inserted += 1
            if self._inserted % TRIM_EVERY == 0:
                self._trim(base, task)

    def label(self, task: str, window_id: str, y: int, train: bool) -> bool:
        """Note the label of a window; False if the window is gone or has one: the first label stands.

        Raises:
            FaultError: the disk does not take it.
        """
        with self._transaction(durable=True) as base:
            changed = base.execute(
                "UPDATE windows SET y = ?, train = ? WHERE task = ? AND id = ? AND y IS NULL",
                (int(y), int(train), task, window_id),
            ).rowcount
        return changed == 1

    def labels_held(self, task: str) -> int:
        """Number of live windows labelled for training.

        Raises:
            FaultError: the store cannot be read.
        """
        with self._transaction(durable=False) as base:
            row = base.execute("SELECT count(*) FROM windows WHERE task = ? AND train = 1", (task,)).fetchone()
        return int(row[0])

    def training(self, task: str, labels: int = 0) -> tuple[Examples, Examples]:
        """The training and the hold-out part: the base split and exactly the first `labels` labelled windows.

        Every `HOLDOUT_EVERY`-th of those goes to the hold-out part. Equal arguments give equal data, whatever
        other labels have come meanwhile.

        Raises:
            RefusedError: the device has no such data set, or holds fewer labels.
            ContractError: the files are no data set.
            FaultError: the store cannot be read.
        """
        training, holdout = (self._split(task, name) for name in ("train", "holdout"))
        if labels == 0:
            return training, holdout
        live = self._labelled(task, labels)
        held_out = np.arange(labels) % HOLDOUT_EVERY == HOLDOUT_EVERY - 1
        return _joined(training, live, ~held_out), _joined(holdout, live, held_out)

    def tasks(self) -> list[str]:
        """Names of the tasks that have a base split here, sorted."""
        return sorted(path.parent.name for path in self.directory.glob("*/train.npz"))

    def close(self) -> None:
        """Close the store."""
        self._base.close()

    def _split(self, task: str, name: str) -> Examples:
        path = self.directory / check_name(task, kind="task name") / f"{name}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                x, y = np.asarray(file["x"], dtype=np.float32), np.asarray(file["y"], dtype=np.int64)
        except FileNotFoundError as error:
            raise RefusedError(f"this device has no data for {task}", hint=f"Put a split at {path}.") from error
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise ContractError(f"{path} is no split: {error}") from error
        if len(x) != len(y):
            raise ContractError(f"{path} has {len(x)} inputs and {len(y)} labels")
        return Examples(x, y)

    def _labelled(self, task: str, count: int) -> Examples:
        with self._transaction(durable=False) as base:
            rows = base.execute(
                "SELECT shape, x, y FROM windows WHERE task = ? AND train = 1 ORDER BY seq LIMIT ?", (task, count)
            ).fetchall()
        if len(rows) < count:
            raise RefusedError(
                f"this device holds {len(rows)} labelled windows of {task}, the run asks for {count}",
                hint="Wait for labels, or order the run with fewer.",
            )
        x = np.stack([np.frombuffer(data, dtype="<f4").reshape(_shape(shape)) for shape, data, _ in rows])
        return Examples(x.astype(np.float32), np.array([y for _, _, y in rows], dtype=np.int64))

    def _trim(self, base: sqlite3.Connection, task: str) -> None:
        """Forget the oldest windows that wait, and those labelled for measuring only: they have done their part."""
        base.execute("DELETE FROM windows WHERE task = ? AND y IS NOT NULL AND train = 0", (task,))
        base.execute(
            "DELETE FROM windows WHERE task = ? AND y IS NULL AND seq NOT IN"
            " (SELECT seq FROM windows WHERE task = ? AND y IS NULL ORDER BY seq DESC LIMIT ?)",
            (task, task, self._unlabelled),
        )

    @contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """Commit or roll back; a durable commit is fsynced, and with it all that was committed before."""
        with self._lock:
            try:
                self._base.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                with self._base:
                    yield self._base
            except sqlite3.Error as error:
                raise FaultError(f"the data set store failed: {error}", hint="Check the disk.") from error


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(",") if size)


def _joined(base: Examples, live: Examples, chosen: NDArray[np.bool_]) -> Examples:
    if base.x.shape[1:] != live.x.shape[1:]:
        raise ContractError(f"live windows of shape {live.x.shape[1:]} do not fit a split of {base.x.shape[1:]}")
    return Examples(np.concatenate([base.x, live.x[chosen]]), np.concatenate([base.y, live.y[chosen]]))
