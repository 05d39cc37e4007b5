"""What a device believes: TUF over any carrier, high-water marks, admission of releases, slot integrity."""

from shared.trust.client import TrustClient
from shared.trust.errors import Expired
from shared.trust.slot import SlotFact, inspect_slot, read_proven, seal_slot, verify_slot
from shared.trust.source import DirectorySource, MemorySource, MetadataSource

__all__ = [
    "DirectorySource",
    "Expired",
    "MemorySource",
    "MetadataSource",
    "SlotFact",
    "TrustClient",
    "inspect_slot",
    "read_proven",
    "seal_slot",
    "verify_slot",
]
