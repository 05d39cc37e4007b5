"""Two slots per model and a pointer: staging never touches the slot that serves, and the pointer's rename commits.

<models>/<model>/A/        a sealed slot, see `shared.trust.slot`
<models>/<model>/B/
<models>/<model>/active    `A` or `B`
<models>/<model>/incoming/ a variant as it is downloaded
<models>/<model>/outgoing/ what a slot held before; a large file takes a while to free, so that waits for `tidy`
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from shared.bundle import Release, Variant
from shared.durable import make_directory, read_if_present, sync_directory, write_atomic
from shared.errors import FaultError
from shared.ids import check_digest, check_name
from shared.trust import SlotFact, inspect_slot, seal_slot, verify_slot

NAMES = ("A", "B")


class Slots:
    """The slots of one model line; blocks, so call it in a thread."""

    def __init__(self, models: Path, model: str) -> None:
        self._directory = models / check_name(model, kind="model name")
        self._pointer = self._directory / "active"
        self._outgoing = self._directory / "outgoing"

    @staticmethod
    def models(models: Path) -> list[str]:
        """Model lines that have a directory."""
        return sorted(path.name for path in models.iterdir() if path.is_dir()) if models.is_dir() else []

    def active(self) -> str | None:
        """Name of the slot that the pointer names; None before the first commit or with a damaged pointer."""
        text = (read_if_present(self._pointer) or b"").decode(errors="replace").strip()
        return text if text in NAMES else None

    def candidates(self) -> list[str]:
        """Slots to serve from after a start, best first; with a damaged pointer both, before the first commit none."""
        active = self.active()
        if active is not None:
            return [active, self.idle()]
        return list(NAMES) if self._pointer.exists() else []

    def idle(self) -> str:
        """Name of the slot that may be overwritten."""
        return NAMES[1] if self.active() == NAMES[0] else NAMES[0]

    def inspect(self, slot: str, *, keys: Mapping[str, str]) -> SlotFact:
        """Prove a slot, all but the model's bytes: whoever loads them proves them then (`shared.trust.read_proven`).

        Raises:
            TrustError: it is not what was staged, or no model key of `keys` vouches for it; FaultError: unreadable.
        """
        return inspect_slot(self._directory / slot, keys=keys)

    def verify(self, slot: str, *, keys: Mapping[str, str]) -> SlotFact:
        """Prove a slot, the model's bytes included, where nothing is loaded.

        Raises:
            TrustError, FaultError: as `inspect`.
        """
        return verify_slot(self._directory / slot, keys=keys)

    def incoming(self, variant: Variant) -> Path:
        """Where the bytes of `variant` are collected; those of other variants are removed."""
        directory = self._directory / "incoming"
        path = directory / f"{check_digest(variant.digest)}.part"
        try:
            make_directory(directory)
            for other in directory.iterdir():
                if other != path:
                    _remove(other)
        except OSError as error:
            raise _fault(directory, error) from error
        return path

    def stage(
        self, file: Path, *, release: Release, variant: Variant, keys: Mapping[str, str], digest: str = ""
    ) -> tuple[str, SlotFact]:
        """Move a complete download into the idle slot and seal it; return the slot's name and proof.

        Args:
            file: the download; gone from its place afterwards.
            release: proven manifest.
            variant: what the file is.
            keys: the model keys of the trusted root.
            digest: of the file, if each chunk was proven as it came; read back and hashed when empty.

        Raises:
            TrustError: the bytes are not the variant's, or no model key vouches for them; FaultError: the disk failed.
        """
        slot = self.idle()
        directory = self._directory / slot
        try:
            self._put_out(directory)
            make_directory(directory)
            file.replace(directory / variant.name)
            sync_directory(file.parent)
        except OSError as error:
            raise _fault(directory, error) from error
        return slot, seal_slot(directory, release=release, variant=variant, keys=keys, digest=digest)

    def commit(self, slot: str) -> None:
        """Make `slot` the one that serves after every restart.

        Raises:
            FaultError: the disk failed; the pointer is as it was.
        """
        before = self.active()
        try:
            write_atomic(self._pointer, slot.encode())
        except FaultError:
            if self.active() != before:  # renamed, and its directory not synced: nobody knows what a power cut leaves
                self._point_back(before)
            raise

    def tidy(self) -> None:
        """Free what staging has put out; after a crash in between, the next staging does it.

        Raises:
            FaultError: the disk failed.
        """
        try:
            _remove(self._outgoing)
        except OSError as error:
            raise _fault(self._outgoing, error) from error

    def _point_back(self, slot: str | None) -> None:
        with suppress(FaultError, OSError):
            if slot is None:
                self._pointer.unlink(missing_ok=True)
                sync_directory(self._directory)
            else:
                write_atomic(self._pointer, slot.encode())

    def _put_out(self, slot: Path) -> None:
        _remove(self._outgoing)
        if slot.is_symlink() or not slot.is_dir():
            _remove(slot)
        else:
            slot.rename(self._outgoing)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _fault(path: Path, error: OSError) -> FaultError:
    return FaultError(f"{path} could not be prepared: {error.strerror}", hint="Check space and rights of the disk.")
