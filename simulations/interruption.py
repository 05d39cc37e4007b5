"""Ctrl-C and SIGTERM, heard also where the exception gets lost.

Python raises `KeyboardInterrupt` wherever the main thread happens to be. In the callback of a weak reference or in a
`__del__` it is reported and ignored, and whoever pressed the keys waits for ever. So what waits in a loop asks, too.
"""

from __future__ import annotations

import signal
import threading

_asked = threading.Event()


def listen() -> None:
    """Have both signals interrupt the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def heed() -> None:
    """Stop here if somebody asked to.

    Raises:
        KeyboardInterrupt: somebody did.
    """
    if _asked.is_set():
        raise KeyboardInterrupt


def _interrupt(_number: int, _frame: object) -> None:
    _asked.set()
    raise KeyboardInterrupt
