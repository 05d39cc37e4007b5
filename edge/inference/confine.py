"""Give up every right that computing does not need. Called once in a model's process, before the model is loaded.

Nothing is assumed: what the kernel did is returned, and `lacking` names what it did not.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.inference.landlock import allow_nothing
from edge.inference.seccomp import refuse_calls

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SIGKILL = 9

PRIVILEGES, LIMITS, MEMORY, FILES, CALLS, USER, ORPHAN = (
    "no new privileges",
    "resource limits",
    "memory limit",
    "no files (Landlock)",
    "only computing calls (seccomp)",
    "no root",
    "dies with the agent",
)
WANTED = (PRIVILEGES, LIMITS, MEMORY, FILES, CALLS, USER, ORPHAN)
"""All that `confine` tries for, in its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a model's process may have."""

    memory_mib: int
    """Address space beyond what the interpreter and the runtime hold already."""

    threads: int
    user: int
    """Uid and gid to become when started as root."""

    agent: int
    """Process id of the agent; the process dies with it."""

    jit: bool = False
    """Whether the runtime writes machine code: memory may then be executed, and nothing else is given."""

    gpu: bool = False
    """Whether it talks to a GPU's driver, which takes files, calls and address space without bounds: those three
    stay open then, and `lacking` says so."""


def confine(bounds: Bounds) -> tuple[str, ...]:
    """Give the rights up, for good; return which of `WANTED` hold.

    Call it while there is one thread: what binds a thread then binds all that follow.

    Raises:
        OSError: a limit or a change of user was refused, which no kernel does to a process it can be trusted with.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    held = []
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        held.append(PRIVILEGES)
    os.umask(0o077)
    os.chdir("/")
    _limit(2 if bounds.gpu or bounds.jit else bounds.threads)  # these start threads of their own
    held.append(LIMITS)
    if not bounds.gpu and _limit_memory(bounds.memory_mib << 20):
        held.append(MEMORY)
    if not bounds.gpu and allow_nothing() and _alone():  # Landlock binds the calling thread and those it starts
        held.append(FILES)
    if _leave_root(bounds.user):
        held.append(USER)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # siblings of the same user may not look into this process
    # after the change of user, which clears it; and the agent may have died meanwhile
    if libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0) == 0 and os.getppid() == bounds.agent:
        held.append(ORPHAN)
    if not bounds.gpu and refuse_calls(jit=bounds.jit):
        held.append(CALLS)
    return tuple(held)


def lacking(held: Collection[str]) -> tuple[str, ...]:
    """What this kernel did not give."""
    return tuple(each for each in WANTED if each not in held)


def _alone() -> bool:
    with suppress(OSError):  # counted by the links of the directory, which stays readable where files do not
        return Path("/proc/self/task").stat().st_nlink == 3  # itself, its parent, one thread
    return False


def _limit(threads: int) -> None:
    """No dumps, no file growth, no further descriptors; no threads either where the model needs none."""
    zero = [resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_MEMLOCK]
    if threads == 1:
        zero.append(resource.RLIMIT_NPROC)  # otherwise the filter allows threads and no processes
    for kind in zero:
        resource.setrlimit(kind, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))


def _limit_memory(more: int) -> bool:
    """Bound the address space, which counts every kind of memory; RLIMIT_DATA leaves out shared mappings and stacks.

    Its known flaw, counting libraries and reservations, does not bite: they are there already, and are added.
    """
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        return True
    return False


def _leave_root(user: int) -> bool:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)  # takes all capabilities with it
    return os.geteuid() != 0
