"""A client update as it travels becomes the vector that the gate and the rules of aggregation know.

It travels whole, without the tensors that stay on the device, compressed, or both. Here the missing tensors are put
in as the global model has them: their difference is nothing, so no rule moves them, and no rule needs to know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from numpy.typing import NDArray

from shared import federation as fed
from shared.errors import ContractError
from shared.tasks.compression import Compression, Kind, decompress
from shared.tasks.local_parts import shared_values
from shared.tasks.records import FLAT, read_arrays


class Unpacking:
    """How the updates of one run travel."""

    def __init__(
        self, form: Mapping[str, tuple[int, ...]], *, local_parts: Sequence[str], compression: Compression
    ) -> None:
        """Prepare for models of `form`.

        Raises:
            ContractError: a prefix of `local_parts` names no tensor, or they leave nothing to share.
        """
        self._shared = shared_values(form, local_parts)
        self._whole = bool(self._shared.all())
        self._length = int(self._shared.sum())
        self._compression = compression

    def read(self, content: RecordDict, model: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[Any]]:
        """Return the update's arrays, for the gate to judge.

        Args:
            content: a device's answer.
            model: the global weights that it started from, one flat array.

        Raises:
            ContractError: the update does not travel as this run's updates do.
        """
        if self._compression.kind is Kind.NONE:
            arrays = read_arrays(content.get(fed.ARRAYS))
            if self._whole:
                return arrays
            part = arrays.get(FLAT)
            if list(arrays) != [FLAT] or part is None or part.shape != (self._length,) or part.dtype != np.float32:
                raise ContractError(f"an update is not the {self._length} values that this run shares")
            return {FLAT: self._put(part, model[FLAT])}
        record = content.get(fed.CONFIG)
        data = record.get(fed.UPDATE) if isinstance(record, ConfigRecord) else None
        if not isinstance(data, bytes):
            raise ContractError("the reply holds no compressed update")
        change = decompress(data, compression=self._compression, length=self._length)
        with np.errstate(over="ignore", invalid="ignore"):  # the gate refuses what is not finite
            return {FLAT: self._put(model[FLAT][self._shared] + change, model[FLAT])}

    def _put(self, part: NDArray[np.float32], model: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = model.copy()
        whole[self._shared] = part
        return whole
