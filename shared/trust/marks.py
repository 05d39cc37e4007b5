"""The high-water marks: what this device has once accepted, as a value that only rises.

They outlive the client library's cache: metadata, releases and times below a mark are refused even when that
cache was lost, zeroed or replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from shared.bundle import Release, digest_of
from shared.errors import TrustError
from shared.ids import Digest, sha256

ROOT = "root"
"""Root versions share one mark whatever the keys: a rotation must never make an older root acceptable."""


class ReleaseMark(msgspec.Struct, frozen=True, array_like=True):
    """The newest release of a model line that was taken."""

    counter: int
    manifest: str
    """Digest of its manifest: one counter never names two releases."""


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """Immutable; each `raise_*` gives the next value or a `TrustError`."""

    versions: dict[str, int] = {}
    """`<role>@<key set>` → version. A new key set starts anew, which is how a stolen key that signed a huge
    version number is recovered from (TUF specification 1.0.33, 5.3.11)."""

    releases: dict[str, ReleaseMark] = {}
    """Model line → newest release taken."""

    issued: dict[str, int] = {}
    """Key set of the timestamp role → latest signed issue time, Unix seconds."""

    def raise_version(self, role: str, *, keys: str, version: int) -> Marks:
        """Accept `version` of `role` as signed by the key set `keys`.

        Raises:
            TrustError: a newer version was accepted before.
        """
        mark, seen = f"{role}@{keys}", self.version(role, keys=keys)
        if version < seen:
            raise TrustError(
                f"{role} version {version} is older than version {seen}, which this device has already accepted",
                hint="Someone replays old metadata, or the repository was restored from a backup.",
            )
        return self if version == seen else msgspec.structs.replace(self, versions={**self.versions, mark: version})

    def version(self, role: str, *, keys: str) -> int:
        """Highest version of `role` accepted as signed by the key set `keys`; 0 for none."""
        return self.versions.get(f"{role}@{keys}", 0)

    def check_release(self, release: Release) -> None:
        """Refuse to go back within a model line, or sideways to another content under the same counter.

        Raises:
            TrustError: as said.
        """
        mark = self.releases.get(release.model)
        if mark is None or release.counter > mark.counter:
            return
        if release.counter < mark.counter:
            raise TrustError(
                f"release {release.id} is older than {release.model}-{mark.counter}, which this device has run",
                hint="To go back, release the old bytes again under a higher counter.",
            )
        if digest_of(release) != mark.manifest:
            raise TrustError(f"release {release.id} was taken before with another content")

    def raise_release(self, release: Release) -> Marks:
        """Accept `release` as the newest of its line.

        Raises:
            TrustError: see `check_release`.
        """
        self.check_release(release)
        mark = ReleaseMark(release.counter, digest_of(release))
        if self.releases.get(release.model) == mark:
            return self
        return msgspec.structs.replace(self, releases={**self.releases, release.model: mark})

    def raise_issued(self, *, keys: str, at: int) -> Marks:
        """Note that the timestamp's key set `keys` signed at `at`; earlier times change nothing."""
        if at <= self.issued.get(keys, 0):
            return self
        return msgspec.structs.replace(self, issued={**self.issued, keys: at})

    def now(self, reading: float, *, keys: str) -> float:
        """The time to judge expiry by: the clock's `reading`, but never before the last signed issue time.

        Per key set, so that a stolen timestamp key which signs a far future loses its effect with its rotation.
        """
        return max(reading, float(self.issued.get(keys, 0)))

    def merge(self, other: Marks) -> Marks:
        """The higher of each mark."""
        releases = {**self.releases}
        for model, mark in other.releases.items():
            if model not in releases or mark.counter > releases[model].counter:
                releases[model] = mark
        return Marks(
            versions=_highest(self.versions, other.versions),
            releases=releases,
            issued=_highest(self.issued, other.issued),
        )


def key_set(keyids: Iterable[str], threshold: int) -> Digest:
    """Name of a role's keys and threshold, independent of their order."""
    return sha256("\n".join([str(threshold), *sorted(keyids)]).encode())


def _highest(one: Mapping[str, int], two: Mapping[str, int]) -> dict[str, int]:
    return {key: max(one.get(key, 0), two.get(key, 0)) for key in [*one, *(k for k in two if k not in one)]}
