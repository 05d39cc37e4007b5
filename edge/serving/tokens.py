"""Who may ask: tokens that are shown once and kept as digests only.

A token is 32 random bytes: nobody can try them all, so that a plain SHA-256 keeps it as safe as a slow hash would.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from shared.durable import read_if_present, write_atomic
from shared.errors import ContractError, FaultError, RefusedError
from shared.ids import check_name, sha256

PREFIX = "hls_"
"""So that people, and scanners of leaked secrets, know one when they see it."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret."""

    name: str
    sha256: str
    created: float
    """Unix seconds."""


class Tokens:
    """The file of a device's tokens; read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] = (0, 0)
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    @staticmethod
    def place(state: Path) -> Path:
        """Where the file lies below an agent's state directory."""
        return state / "serving" / "tokens.json"

    def create(self, name: str, *, at: float, draw: Callable[[int], str]) -> str:
        """Make a token and return it; nobody can tell it again.

        Args:
            name: who it is for.
            at: Unix seconds.
            draw: gives a text of so many random bytes, `secrets.token_urlsafe`.

        Raises:
            RefusedError: the name is taken, or none.
            FaultError: the file cannot be read or written.
        """
        try:
            check_name(name, kind="name of a token")
        except ContractError as error:
            raise RefusedError(str(error), hint="Use letters, digits and dashes.") from error
        entries = self.entries()
        if any(each.name == name for each in entries):
            raise RefusedError(f"there is a token {name!r}", hint="Revoke it first, or choose another name.")
        token = PREFIX + draw(32)
        self._write([*entries, Entry(name=name, sha256=sha256(token.encode()), created=at)])
        return token

    def revoke(self, name: str) -> None:
        """Take a token back: the next request with it is refused.

        Raises:
            RefusedError: there is none of this name.
            FaultError: the file cannot be read or written.
        """
        entries = self.entries()
        left = [each for each in entries if each.name != name]
        if len(left) == len(entries):
            names = ", ".join(each.name for each in entries) or "none"
            raise RefusedError(f"there is no token {name!r}", hint=f"There are: {names}.")
        self._write(left)

    def entries(self) -> list[Entry]:
        """All tokens, without their secrets.

        Raises:
            FaultError: the file is damaged or cannot be read.
        """
        data = read_if_present(self._path)
        try:
            return msgspec.json.decode(data, type=list[Entry]) if data else []
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FaultError(f"{self._path} is damaged", hint="Remove it and make new tokens.") from error

    def who(self, token: str) -> str | None:
        """Name of the one who holds `token`; None if nobody does.

        Raises:
            FaultError: the file is damaged or cannot be read: nobody is let in then.
        """
        with self._lock:
            self._look()
        return self._names.get(sha256(token.encode("utf-8", "replace"))) if token.startswith(PREFIX) else None

    def _look(self) -> None:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
        except OSError:
            stamp = (0, 0)
        if stamp != self._stamp:
            self._names = {}  # nobody is let in by a file that cannot be read
            self._names = {each.sha256: each.name for each in self.entries()}
            self._stamp = stamp

    def _write(self, entries: list[Entry]) -> None:
        write_atomic(self._path, msgspec.json.encode(entries), mode=0o600)
        state = self._path.parent.parent
        with suppress(OSError):  # made by root, read by whoever the agent is
            owner = state.stat()
            for path in (self._path.parent, self._path):
                os.chown(path, owner.st_uid, owner.st_gid)


def bearer(headers: Mapping[str, str]) -> str:
    """The token of an `Authorization` header, by names in lower case; empty without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
