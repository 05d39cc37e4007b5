"""Read a file into memory and hash it in one pass.

For a model of hundreds of megabytes the kernel's page faults, one for each 4 KiB of fresh memory, take longer than
SHA-256 does. So large buffers ask for huge pages before they are filled, as NumPy's do, and each piece is hashed
while the processor's cache still holds it: 200 MB in 0.14 s instead of 0.21 s on the machine where the limit of
`tests/benchmarks/activation.py` was set, of which 0.12 s is SHA-256.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import mmap
import sys

LARGE = 4 << 20
"""Bytes from which huge pages (2 MiB) pay."""

_PIECE = 1 << 20


def read_hashed(file: io.FileIO, size: int) -> tuple[bytes, str]:
    """Up to `size` bytes of `file` and their SHA-256; fewer when it ends before.

    Raises:
        OSError: it cannot be read.
        MemoryError: this machine has not so much.
    """
    if size < LARGE or sys.platform != "linux":
        data = file.read(size)
        return data, hashlib.sha256(data).hexdigest()
    data, view = _fresh(size)
    total, read = hashlib.sha256(), 0
    while read < size and (count := file.readinto(view[read : read + _PIECE])):
        total.update(view[read : read + count])
        read += count
    return (data if read == size else data[:read]), total.hexdigest()


def _fresh(size: int) -> tuple[bytes, memoryview]:
    """Bytes that nobody has filled yet, and the one way to fill them.

    Runtimes take a model as `bytes` and nothing else; a copy would cost the memory of a second model. CPython's
    C-API documents the use: a new object from `PyBytes_FromStringAndSize(NULL, …)` may be written before others see it.
    """
    make = ctypes.pythonapi.PyBytes_FromStringAndSize
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_ssize_t)
    data: bytes = make(None, size)
    start = id(data) + bytes.__basicsize__ - 1  # the header, which counts the byte that ends every such object
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (start + size) // mmap.PAGESIZE * mmap.PAGESIZE
    # advice: where it is refused, small pages do
    ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_HUGEPAGE)
    return data, memoryview((ctypes.c_char * size).from_address(start)).cast("B")
