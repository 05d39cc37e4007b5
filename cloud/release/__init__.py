"""The signed repository: keys, roles, releases, desired states."""

from cloud.release.keys import FileKeys, KeyRing, MemoryKeys
from cloud.release.repository import Renewal, Repository
from cloud.release.sealed import Sealer

__all__ = ["FileKeys", "KeyRing", "MemoryKeys", "Renewal", "Repository", "Sealer"]
