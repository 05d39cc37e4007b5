"""What a model line says about data of the company's own."""

from __future__ import annotations

from typing import Literal

import msgspec

from shared.errors import ContractError, RefusedError
from shared.ids import check_name

MOST_EPOCHS = 10_000


class WarmStart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """First weights for runs that would begin afresh."""

    data: str
    """Name of a data set in the coordinator's data directory."""

    epochs: int = 1
    """Passes over it, with the recipe of the line."""


class Central(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A hold-out on which each candidate is judged beside the devices' own."""

    data: str
    """Name of a data set in the coordinator's data directory."""

    decides: Literal["nothing", "also", "alone"] = "nothing"
    """What its verdict does: it is only told; a file must clear the bar here also; or here in place of on devices."""


def check_warm_start(wanted: WarmStart) -> WarmStart:
    """Return `wanted` if it can be followed.

    Raises:
        ContractError: the data's name is none.
        RefusedError: a number is out of range.
    """
    check_data(wanted.data)
    if not 1 <= wanted.epochs <= MOST_EPOCHS:
        raise RefusedError("warm_start.epochs is out of range", hint=f"From 1 to {MOST_EPOCHS}.")
    return wanted


def check_data(name: str) -> str:
    """Return the name of a data set: a name and never a path, so that nobody reads other files through it.

    Raises:
        ContractError: it is none.
    """
    try:
        return check_name(name, kind="data set")
    except ContractError as error:
        raise ContractError(f"{error}; data sets are files NAME.npz in the coordinator's data directory") from error
