"""Memory that a job frees goes back to the kernel.

glibc raises the size from which it maps blocks of their own to the largest one that was freed, up to 32 MiB; from then
on pieces of messages lie on the heaps of whichever threads fetched them, and stay there: two models more than in use.
"""

from __future__ import annotations

import ctypes
import sys

_MAPPED_FROM = -3
"""glibc's `M_MMAP_THRESHOLD` (mallopt(3))."""

MAPPED_FROM_BYTES = 256 << 10


def give_back() -> None:
    """Map each large block by itself from now on; nothing where there is no glibc."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_MAPPED_FROM, MAPPED_FROM_BYTES)
