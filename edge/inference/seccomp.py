"""The system calls that are left to a process which only computes: a filter that the kernel runs on each of them.

A list of what is allowed, not of what is forbidden: a call that nobody thought of is refused. Classic BPF, see
Documentation/userspace-api/seccomp_filter.rst and linux/filter.h of the Linux sources; numbers are those of
arch/x86/entry/syscalls/syscall_64.tbl and of include/uapi/asm-generic/unistd.h, which aarch64 uses.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from dataclasses import dataclass

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000  # the low half is the errno: the caller sees it and lives
_EPERM, _ENOSYS = 1, 38

_LOAD, _EQUAL, _BITS, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JSET|K, BPF_RET|K
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

_MAP_SHARED, _PROT_EXEC, _CLONE_THREAD = 0x1, 0x4, 0x10000

_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, slots=True)
class _Table:
    """One architecture's numbers."""

    audit: int
    """AUDIT_ARCH_* of linux/audit.h; a call made in another mode (x32, i386) is refused by it."""

    seccomp: int
    plain: tuple[int, ...]
    """Allowed whatever the arguments."""

    mmap: int
    mprotect: int
    clone: int
    clone3: int
    tgkill: int


# read write close fstat lseek mremap munmap brk madvise · rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack
# pread64 writev · sendto recvfrom ppoll (and poll) · futex set_robust_list rseq membarrier restart_syscall
# sched_yield sched_setaffinity sched_getaffinity · clock_gettime clock_getres clock_nanosleep nanosleep
# getpid gettid getuid geteuid getgid getegid getrusage uname getrandom · exit exit_group
_TABLES = {
    "x86_64": _Table(
        audit=0xC000003E,
        seccomp=317,
        plain=(
            *(0, 1, 3, 5, 8, 25, 11, 12, 28, 13, 14, 15, 131, 17, 20, 44, 45, 271, 7, 202, 273, 334, 324, 219),
            *(24, 203, 204, 228, 229, 230, 35, 39, 186, 102, 107, 104, 108, 98, 63, 318, 60, 231),
        ),
        mmap=9,
        mprotect=10,
        clone=56,
        clone3=435,
        tgkill=234,
    ),
    "aarch64": _Table(
        audit=0xC00000B7,
        seccomp=277,
        plain=(
            *(63, 64, 57, 80, 62, 216, 215, 214, 233, 134, 135, 139, 132, 67, 66, 206, 207, 73, 98, 99, 293, 283, 128),
            *(124, 122, 123, 113, 114, 115, 101, 172, 178, 174, 175, 176, 177, 165, 160, 278, 93, 94),
        ),
        mmap=222,
        mprotect=226,
        clone=220,
        clone3=435,
        tgkill=131,
    ),
}


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def build(machine: str, pid: int, *, jit: bool = False) -> bytes | None:
    """The filter for a process; None where this architecture's numbers are not known here.

    With `jit` its memory may be executed, too.
    """
    table = _TABLES.get(machine)
    if table is None:
        return None
    refuse = _one(_RETURN, _ERRNO | _EPERM)
    parts = [_one(_LOAD, _ARCH), _one(_EQUAL, table.audit, 1, 0), refuse, _one(_LOAD, _NUMBER)]
    parts += [_one(_EQUAL, number, 0, 1) + _one(_RETURN, _ALLOW) for number in table.plain]
    # memory: none that is shared, which no limit counts, and none that can be executed
    data = b"" if jit else _unless(2, _PROT_EXEC)
    parts += _guarded(table.mmap, _unless(3, _MAP_SHARED) + data + _one(_RETURN, _ALLOW))
    parts += _guarded(table.mprotect, data + _one(_RETURN, _ALLOW))
    # threads, never processes; clone3 hides its flags behind a pointer, and libc falls back to clone
    parts += _guarded(table.clone, _only(0, _BITS, _CLONE_THREAD))
    parts += _guarded(table.clone3, _one(_RETURN, _ERRNO | _ENOSYS))
    parts += _guarded(table.tgkill, _only(0, _EQUAL, pid))  # abort() signals itself
    return b"".join([*parts, refuse])


def refuse_calls(*, jit: bool = False) -> bool:
    """Put the filter on every thread of this process, for good; False where the kernel or this table does not."""
    machine = platform.machine()
    program = build(machine, os.getpid(), jit=jit)
    if program is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # an unprivileged process needs it for what follows
    wanted = _Program(len(program) // 8, program)
    return bool(libc.syscall(_TABLES[machine].seccomp, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(wanted)) == 0)


def _one(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
    """As struct sock_filter: code, jumps if true and if false, operand."""
    return struct.pack("<HBBI", code, yes, no, k)


def _guarded(number: int, rule: bytes) -> list[bytes]:
    """`rule`, which returns on every path, for one call only."""
    return [_one(_EQUAL, number, 0, len(rule) // 8), rule]


def _unless(argument: int, bits: int) -> bytes:
    return _load(argument) + _one(_BITS, bits, 0, 1) + _one(_RETURN, _ERRNO | _EPERM)


def _only(argument: int, test: int, value: int) -> bytes:
    return _load(argument) + _one(test, value, 1, 0) + _one(_RETURN, _ERRNO | _EPERM) + _one(_RETURN, _ALLOW)


def _load(argument: int) -> bytes:
    return _one(_LOAD, _ARGUMENTS + 8 * argument)  # the low half; both architectures are little-endian
