"""What a device keeps of its training between rounds: tensors of its own, and what compression has lost so far.

    kept/<line>.bin    what there was before the last round, and after it

Both, because a round may be asked twice: when the coordinator was killed before it committed the round, the device
repeats it from where it began, and the run ends with the same model.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.codec import pack, unpack
from shared.durable import make_directory, read_if_present, write_atomic
from shared.errors import ContractError
from shared.ids import check_name
from shared.task import Weights
from shared.tasks.weights import pack_weights, unpack_weights

_RESIDUAL = "residual"
_LOCAL = "local/"


class _Slots(msgspec.Struct, frozen=True, kw_only=True):
    run: str
    round: int
    before: bytes
    after: bytes


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What one round begins with, or leaves."""

    local: Weights = {}
    """Tensors that stay here; empty before the first round."""

    residual: NDArray[np.float32] | None = None
    """What compression lost, one value for each that is shared; None when nothing was."""


class KeptStore:
    """The kept state of each model line, in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "kept"

    def before(self, line: str, *, run: str, round_: int) -> Kept:
        """What a round begins with; a round that is done again begins where it began the first time.

        Local tensors live on from run to run. The residual ends with its run: it belongs to that run's model.
        """
        slots = self._read(line)
        if slots is None:
            return Kept()
        again = slots.run == run and slots.round >= round_
        kept = _decode(slots.before if again else slots.after)
        return kept if slots.run == run else Kept(local=kept.local)

    def latest(self, line: str) -> Weights:
        """The tensors that stay here, as the last round left them."""
        slots = self._read(line)
        return _decode(slots.after).local if slots else {}

    def commit(self, line: str, *, run: str, round_: int, before: Kept, after: Kept) -> None:
        """Make a round's outcome durable, before its update leaves."""
        make_directory(self._directory)
        slots = _Slots(run=run, round=round_, before=_encode(before), after=_encode(after))
        write_atomic(self._path(line), pack(slots))

    def _read(self, line: str) -> _Slots | None:
        data = read_if_present(self._path(line))
        try:
            return unpack(data, _Slots) if data else None
        except ContractError:
            return None  # a torn disk costs this device its head, not its place in the run

    def _path(self, line: str) -> Path:
        return self._directory / f"{check_name(line, kind='model line')}.bin"


def _encode(kept: Kept) -> bytes:
    tensors = {_LOCAL + name: values for name, values in kept.local.items()}
    return pack_weights(tensors if kept.residual is None else tensors | {_RESIDUAL: kept.residual})


def _decode(data: bytes) -> Kept:
    tensors = unpack_weights(data)
    local = {name.removeprefix(_LOCAL): values for name, values in tensors.items() if name.startswith(_LOCAL)}
    return Kept(local=local, residual=tensors.get(_RESIDUAL))
