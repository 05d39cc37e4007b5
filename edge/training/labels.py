"""The inbox into which an operator or a labelling tool drops labels: files of JSON lines.

    {"task": "activity", "id": "wrist:117", "y": 3, "train": true}

A tool best writes a hidden file and renames it; one that appends in place is understood too: a line counts once
its newline is there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from shared.errors import FaultError

log = logging.getLogger(__name__)

MAX_BYTES = 16 << 20
"""Of one file; a larger one is left alone and reported."""


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says about one live window."""

    task: str
    id: str
    """The window's name, `<stream>:<index>`."""

    y: int
    """Class index."""

    train: bool = True
    """False: only to measure the live accuracy, never to train."""


_decoder = msgspec.json.Decoder(Label)


@dataclass(slots=True)
class LabelInbox:
    """One directory; a single reader."""

    directory: Path
    malformed: int = 0
    """Whole lines so far that were no label."""

    _taken: dict[Path, int] = field(default_factory=dict)
    """Bytes of each file that earlier calls returned."""

    def read(self) -> list[Label]:
        """Return the labels that are new since the last call, file by file in the order of their names.

        A file whose labels were all returned by the last call is removed now: by then the caller has stored them,
        so that a crash in between loses none.

        Raises:
            FaultError: the directory cannot be read.
        """
        try:
            self._remove_read()
            files = sorted(path for path in self.directory.glob("*.jsonl") if not path.name.startswith("."))
            return [label for path in files for label in self._read(path)]
        except OSError as error:
            raise FaultError(f"the label inbox {self.directory} failed: {error}", hint="Check its rights.") from error

    def _remove_read(self) -> None:
        for path, taken in list(self._taken.items()):
            if not path.exists():
                del self._taken[path]
            elif taken and path.stat().st_size == taken:
                path.unlink()
                del self._taken[path]

    def _read(self, path: Path) -> list[Label]:
        if path.stat().st_size > MAX_BYTES:
            log.warning("%s is larger than %d bytes and is left alone", path, MAX_BYTES)
            return []
        fresh = path.read_bytes()[self._taken.get(path, 0) :]
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._taken[path] = self._taken.get(path, 0) + len(whole)
        return [label for line in whole.splitlines() if (label := self._decode(line, path)) is not None]

    def _decode(self, line: bytes, path: Path) -> Label | None:
        try:
            return _decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.malformed += 1
            log.warning("%s holds a line that is no label: %s", path, error)
            return None
