"""Memory that a job frees goes back to the kernel.

glibc raises the size from which it maps blocks of their own to the largest one that was freed, up to 32 MiB; from then
on pieces of messages lie on the heaps of whichever threads fetched them, and stay there: two models more than in use.
Smaller pieces lie there in any case, each thread has a heap of its own, and only the end of one is given back.
"""

from __future__ import annotations

import ctypes
import sys

_MAPPED_FROM, _HEAPS = -3, -8
"""glibc's `M_MMAP_THRESHOLD` and `M_ARENA_MAX` (mallopt(3))."""

MAPPED_FROM_BYTES = 256 << 10


MOST_HEAPS = 2

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def give_back() -> None:
    """Map each large block by itself from now on, and keep few heaps; nothing where there is no glibc."""
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_MAPPED_FROM, MAPPED_FROM_BYTES)
        mallopt(_HEAPS, MOST_HEAPS)


def trim() -> None:
    """Give back what lies free between blocks that are in use, now."""
    malloc_trim = getattr(_libc, "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
