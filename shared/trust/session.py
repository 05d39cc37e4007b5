"""One refresh of python-tuf's client, and the only place that knows its private parts.

Three things of `ngclient.Updater` (tuf 7) are changed, and `tests/contract/test_trust_ngclient.py` holds them:

- `_persist_file` fsyncs: as delivered, a power cut leaves empty metadata behind;
- `_load_root` afterwards sets the time that expiry is judged by: the clock's, with the signed issue time as floor;
- `_trusted_set` is read for the verified roles and who vouched for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import Role, Root, Targets, Timestamp
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from shared.clock import utc
from shared.durable import write_atomic
from shared.errors import FaultError, HinterlandError, TransportError, TrustError
from shared.trust.errors import Altered, Expired

if TYPE_CHECKING:
    from shared.trust.source import MetadataSource, Noting


class Session(Updater):
    """Trusted metadata of one moment; made anew for each refresh."""

    def __init__(self, directory: Path, *, root: bytes, source: MetadataSource, now: Callable[[Root], float]) -> None:
        self._now = now
        super().__init__(
            metadata_dir=str(directory),
            metadata_base_url="metadata",
            target_base_url="targets",
            fetcher=_SourceFetcher(source),
            bootstrap=root,
        )

    @property
    def root(self) -> Root:
        """The newest root that the chain from the first one leads to."""
        return self._trusted_set.root

    @property
    def timestamp(self) -> Timestamp:
        """Verified by `refresh`."""
        return self._trusted_set.timestamp

    @property
    def snapshot_version(self) -> int:
        """Verified by `refresh`."""
        return self._trusted_set.snapshot.version

    @property
    def targets(self) -> Targets:
        """The top-level targets role, verified by `refresh`."""
        return self._trusted_set.targets

    def role(self, name: str) -> Targets | None:
        """A delegated role that a lookup has led to, verified; None for one that none led to."""
        return cast("Targets | None", self._trusted_set.get(name))

    def delegated(self) -> list[tuple[str, Role, int]]:
        """What lookups have verified below the top level: name, the delegation that vouches for it, version."""
        pairs = sorted(self._trusted_set._trusted_delegations)
        below = [(by, name) for by, name in pairs if by != Root.type]
        return [
            (name, cast("Targets", self._trusted_set[by]).get_delegated_role(name), self._trusted_set[name].version)
            for by, name in below
        ]

    def _load_root(self) -> None:
        super()._load_root()
        self._trusted_set.reference_time = utc(self._now(self.root))

    def _persist_file(self, filename: str, data: bytes) -> None:
        write_atomic(Path(filename), data)


class _SourceFetcher(FetcherInterface):
    """Presents a `MetadataSource` to python-tuf; a missing file reads as 404, which ends the root chain."""

    def __init__(self, source: MetadataSource) -> None:
        self._source = source

    def _fetch(self, url: str) -> Iterator[bytes]:
        data = self._source.read(url)
        if data is None:
            raise DownloadHTTPError(f"the source lacks {url}", 404)
        return iter([data])


@contextmanager
def as_our_errors(source: Noting) -> Iterator[None]:
    """Translate python-tuf's errors into those that say who acts; `source` is where it reads, and nobody else.

    Raises:
        Expired: metadata is past its date.
        Altered: the file that was read last failed its proof.
        TrustError: a proof failed, but of nothing that was read just now.
        TransportError: files are missing at the source.
        FaultError: this machine's disk failed.
    """
    source.last = ""
    try:
        yield
    except ExpiredMetadataError as error:
        raise Expired(
            f"signed metadata has expired: {error}",
            hint="Check this device's clock; the coordinator renews its metadata daily.",
        ) from error
    except DownloadLengthMismatchError as error:
        raise Altered(f"the source sent more than the signers vouch for: {error}", file=source.last) from error
    except RepositoryError as error:
        if source.last:
            raise Altered(f"metadata failed its proof: {error}", file=source.last) from error
        raise TrustError(f"metadata failed its proof: {error}") from error
    except DownloadError as error:
        raise _transport(error) from error
    except OSError as error:
        raise FaultError(f"trust metadata could not be kept: {error}", hint="Check the disk.") from error


def _transport(error: DownloadError) -> HinterlandError:
    if isinstance(error.__cause__, HinterlandError):
        return error.__cause__  # the source knows better why it could not be asked
    return TransportError(f"signed files are missing: {error}", hint="They come with the next connection.")
