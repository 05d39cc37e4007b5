"""The fleet's privacy masks on a device: kept on disk, so that they hold without a link."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from edge.pipelines.scene.masks import FrameMask
from shared.durable import read_if_present, write_atomic
from shared.errors import ContractError, FaultError
from shared.ids import sha256
from shared.masks import EVERY, masks_for

log = logging.getLogger(__name__)

DAMAGED = "damaged"
"""In place of a policy that cannot be read from the disk: it says something, and nobody knows what."""


class MaskKeeper:
    """Lays a signed policy over the masks of this device's pipelines. Calls may come from any thread."""

    def __init__(self, path: Path, *, device: str) -> None:
        """Take what was kept in `path`."""
        self._path = path
        self._device = device
        self._lock = threading.Lock()
        self._pipelines: dict[str, FrameMask] = {}
        self._policy = self._kept()
        self._unkept = False

    def guard(self, pipeline: str, mask: FrameMask) -> FrameMask:
        """Keep `mask`, of one pipeline, as the policy says; return it."""
        with self._lock:
            self._pipelines[pipeline] = mask
            self._lay(pipeline, mask)
        return mask

    def accept(self, policy: Any) -> None:
        """Take what the signers say now: it holds at once, also where the disk does not take it.

        Raises:
            FaultError: it is not on disk; the next call tries again.
        """
        with self._lock:
            mine = self._mine(policy)
            if mine != self._policy:
                self._policy, self._unkept = mine, True
                for pipeline, mask in self._pipelines.items():
                    self._lay(pipeline, mask)
            if self._unkept:
                self._keep(mine)
                self._unkept = False

    def _mine(self, policy: Any) -> Any:
        """What may be about this device."""
        if not isinstance(policy, Mapping):
            return policy
        return {key: policy[key] for key in (EVERY, self._device) if key in policy}

    def _lay(self, pipeline: str, mask: FrameMask) -> None:
        try:
            mask.policy(masks_for(self._policy, device=self._device, pipeline=pipeline))
        except ContractError as error:
            mask.policy(None)
            # expected kind of error
            log.error("%s gives no frames, for nobody knows what its fleet hides in them: %s", pipeline, error)  # noqa: TRY400

    def _keep(self, policy: Any) -> None:
        data = msgspec.json.encode(policy)
        write_atomic(self._path, sha256(data).encode() + b"\n" + data, mode=0o600)

    def _kept(self) -> Any:
        try:
            data = read_if_present(self._path)
        except FaultError as error:
            log.error("the fleet's masks cannot be read: %s", error)  # noqa: TRY400 - expected kind of error
            return DAMAGED
        if data is None:
            return {}
        digest, _, said = data.partition(b"\n")
        try:
            if digest.decode() != sha256(said):
                return DAMAGED
            return msgspec.json.decode(said)
        except ValueError:
            return DAMAGED
