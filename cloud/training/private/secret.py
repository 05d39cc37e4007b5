"""The run's own secret, and the noise that is made of it.

The secret is drawn once, when the run first needs it, and stays in the run's directory, readable by the coordinator
alone. A job that is killed and started again has it again. That is for three reasons.

(1) The same sum must get the same noise: a second release of it under fresh noise could be averaged with the first,
    and would have to be paid for. With the same noise it is the same release, free of charge, and the restarted run
    ends with the same model, bit for bit.
(2) Another sum must get other noise: if a device drops out of the repeated round, two sums under the same noise
    would differ by exactly its update. So the noise is made of the secret *and* of what it is added to.
(3) The spec's seed must not be enough: whoever knows the noise can take it off. The seed is no secret.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.durable import read_if_present, write_atomic
from shared.errors import FaultError
from shared.masking import Grid, Residues, gaussian

FILE = "noise.key"
SIZE = 32


def run_secret(directory: Path) -> bytes:
    """The secret of the run in `directory`; drawn and made durable if there is none.

    Raises:
        FaultError: the disk failed, or the file is not what was written.
    """
    found = read_if_present(directory / FILE)
    if found is None:
        found = secrets.token_bytes(SIZE)
        write_atomic(directory / FILE, found, mode=0o600)
    if len(found) != SIZE:
        raise FaultError(f"{directory / FILE} is damaged", hint="Start the run again in a new directory.")
    return found


def release_of(total: Residues, *, round_: int, secret: bytes) -> str:
    """Name of the disclosure of a sum. It is keyed: a plain digest would tell who guesses the sum that it is right."""
    message = f"release {round_} {total.dtype.str} ".encode() + total.tobytes()
    return hmac.digest(secret, message, hashlib.sha256).hex()


def noisy(total: NDArray[np.int64], grid: Grid, *, deviation: float, secret: bytes, release: str) -> NDArray[np.int64]:
    """The sum with Gaussian noise, still on the grid.

    Args:
        total: integers of the grid.
        grid: what they mean.
        deviation: of the noise, in units of the weights.
        secret: of the run.
        release: of this sum.

    The sum is whole, so rounding the noise is the same as rounding the sum with noise on it: what is done to a
    private answer afterwards costs nothing, and no low bits of a float can give the sum away (Mironov, CCS 2012).
    """
    noise = gaussian(secret, f"central {release}", len(total)) * (deviation / grid.step)
    added: NDArray[np.int64] = total + np.rint(noise).astype(np.int64)
    return added


def influence(clip: float, grid: Grid, length: int) -> float:
    """Greatest L2 norm of one device's update on the grid: rounding may lengthen it by half a step a value."""
    return clip + 0.5 * grid.step * float(np.sqrt(length))
