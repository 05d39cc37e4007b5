"""Named places in an update at which the fault suite ends this process, as `kill -9` would.

`HINTERLAND_FAULT_POINT=update.remembered` in an agent's environment ends it when it gets there; without it a place
costs one look into the environment. Whoever may set an agent's environment may end it anyway.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "HINTERLAND_FAULT_POINT"

POINTS = {
    "journalled.downloading": "the journal says that the release was admitted; nothing was fetched",
    "journalled.verified": "all bytes are proven, and lie where downloads lie",
    "journalled.staged": "a sealed slot holds the release; nothing has loaded it",
    "journalled.shadow": "the journal says that the release is about to run beside what serves",
    "update.shadowed": "it runs beside what serves",
    "journalled.withdrawn": "the journal says that the signers want the release no more",
    "journalled.trial": "the journal says that the release is about to be loaded",
    "update.activated": "the release answers inputs; neither mark nor pointer know of it",
    "update.remembered": "the high-water mark names the release, the pointer does not",
    "update.committed": "the pointer names the release, the journal still calls it a trial",
    "journalled.active": "all is written; what the slot held before is still there",
    "journalled.refused": "the journal says that the release was refused",
    "journalled.failed": "the journal says that the device or the link could not do its part",
    "journalled.rolled-back": "the journal says that the release is not served",
    "journalled.offered": "a start has found an unfinished update, which begins anew",
    "start.loading": "a start has noted that it loads a slot",
    "start.served": "a start has loaded a slot, and not yet noted that it came through",
}
"""Every place, and what is true there."""


def here(point: str) -> None:
    """End this process if the environment names `point`."""
    if os.environ.get(VARIABLE) == point:
        os.kill(os.getpid(), signal.SIGKILL)
