"""A data set of the company's own: `NAME.npz` with `x` [n, *input_shape] and `y` [n], read whole into memory."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cloud.central.terms import check_data
from shared.errors import RefusedError
from shared.ids import Digest
from shared.task import Examples

HINT = "Save it with numpy.savez(path, x=…, y=…): x float32, one example a row; y the numbers of the classes."


class Held(NamedTuple):
    """A data set as it is now."""

    examples: Examples
    digest: Digest
    """SHA-256 of the file."""


def path_of(directory: Path, name: str) -> Path:
    """Where a data set lies.

    Raises:
        ContractError: the name is none.
    """
    return directory / f"{check_data(name)}.npz"


def read_data(path: Path, *, input_shape: tuple[int, ...], classes: int) -> Held:
    """Read and check a data set.

    Raises:
        RefusedError: it is not there, or not of this shape; what to do about it is said.
    """
    try:
        with path.open("rb") as file:
            digest = Digest(hashlib.file_digest(file, "sha256").hexdigest())
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                x, y = np.ascontiguousarray(stored["x"], np.float32), np.asarray(stored["y"])
    except FileNotFoundError as error:
        raise RefusedError(f"there is no data set {path}", hint=HINT) from error
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RefusedError(f"{path} is no data set: {error}", hint=HINT) from error
    if x.shape != (len(y), *input_shape) or y.ndim != 1 or not len(y):
        said = f"{path} holds x {list(x.shape)} and y {list(y.shape)}"
        raise RefusedError(f"{said}, and the task takes inputs {list(input_shape)}", hint=HINT)
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= classes or not np.isfinite(x).all():
        raise RefusedError(f"{path} holds values that are none: {classes} classes, finite inputs", hint=HINT)
    return Held(Examples(x=x, y=y.astype(np.int64)), digest)
