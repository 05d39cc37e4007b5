"""No file can be opened, made or run, and no TCP port reached: Landlock rules that allow nothing.

See Documentation/userspace-api/landlock.rst of the Linux sources. Each version (ABI) of Landlock knows more rights;
what an older kernel does not know it is not asked for, and the caller is told which version holds.
"""

from __future__ import annotations

import ctypes
import os
import struct

_CREATE, _RESTRICT = 444, 446  # the same on every architecture
_ASK_VERSION = 1
_PR_SET_NO_NEW_PRIVS = 38

_FILES = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""ABI → how many rights on files there are; they are the low bits."""

_BIND_AND_CONNECT_TCP = 0b11  # since ABI 4
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11  # since ABI 6


def allow_nothing() -> int:
    """Take this thread's access to files for good; return the version of Landlock that holds, 0 for none."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE, None, 0, _ASK_VERSION)
    if version < 1:
        return 0
    rules = ruleset(version)
    descriptor = libc.syscall(_CREATE, rules, len(rules), 0)
    if descriptor < 0:
        return 0
    try:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return int(version) if libc.syscall(_RESTRICT, descriptor, 0) == 0 else 0
    finally:
        os.close(descriptor)


def ruleset(version: int) -> bytes:
    """As struct landlock_ruleset_attr that handles every right this version knows, and so denies it."""
    files = (1 << _FILES[min(version, max(_FILES))]) - 1
    network = _BIND_AND_CONNECT_TCP if version >= 4 else 0
    scoped = _ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    return struct.pack("<QQQ", files, network, scoped)[:size]
