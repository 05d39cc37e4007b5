"""The control variate that SCAFFOLD has a device keep from round to round.

Kept by the round that made it, with the one before: a round that is done again, because a server was killed in the
middle of it, begins with what the device had then, and gives the same update. Another run of the task begins anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.durable import read_if_present, write_atomic
from shared.errors import ContractError
from shared.ids import check_name
from shared.tasks.weights import pack_weights, unpack_weights

KEPT = 2
"""Generations kept: the newest may belong to a round that is done again."""


class ControlStore:
    """The control variates of a device, one file a task."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def before(self, task: str, run: str, round_: int, *, size: int) -> NDArray[np.float32]:
        """The device's variate when the round begins: zeros unless it took part in an earlier one of this run."""
        kept = {at: flat for at, flat in self._kept(task, run).items() if at < round_ and flat.shape == (size,)}
        return kept[max(kept)] if kept else np.zeros(size, dtype=np.float32)

    def keep(self, task: str, run: str, round_: int, control: NDArray[np.float32]) -> None:
        """Make the variate after a round durable; what came of later rounds is void.

        Raises:
            OSError: the disk does not take it.
        """
        kept = {at: flat for at, flat in self._kept(task, run).items() if at < round_} | {round_: control}
        newest = sorted(kept)[-KEPT:]
        write_atomic(self._path(task), pack_weights({f"{run}@{at}": kept[at] for at in newest}))

    def _kept(self, task: str, run: str) -> dict[int, NDArray[np.float32]]:
        try:
            found = unpack_weights(read_if_present(self._path(task)) or b"")
        except ContractError:  # none, or a disk that lost it: SCAFFOLD begins with zeros
            return {}
        named = [(name.rpartition("@"), flat) for name, flat in found.items()]
        return {int(at): flat for (owner, _, at), flat in named if owner == run and at.isdecimal()}

    def _path(self, task: str) -> Path:
        return self._directory / f"{check_name(task, kind='task')}.control.npz"
