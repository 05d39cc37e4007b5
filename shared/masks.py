"""Parts of a camera's picture that nobody may see: said by a device's owner, or signed for a fleet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from shared.errors import ContractError

EVERY = "*"
"""In a policy: every device of the fleet, or every pipeline of a device."""

MAX_MASKS = 64
MAX_CORNERS = 256

Place = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""From the left or from the top, as a share of the picture."""

Point = tuple[Place, Place]
"""x, y."""


class Mask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One part of the picture: a `box` or a `polygon`."""

    box: tuple[Place, Place, Place, Place] | None = None
    """Left, top, right, bottom."""

    polygon: Annotated[list[Point], msgspec.Meta(max_length=MAX_CORNERS)] = []
    """Corners in order, three at least; where it crosses itself everything inside any loop is hidden."""

    style: Literal["black", "pixels"] = "black"
    """`pixels` leaves averages over coarse squares: one sees that somebody is there. `black` leaves nothing."""

    def __post_init__(self) -> None:
        if (self.box is None) == (not self.polygon):
            raise ValueError("a mask is a box or a polygon")
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError("a box is left, top, right, bottom, and has some size")
        if self.box is None and len(self.polygon) < 3:
            raise ValueError("a polygon has three corners at least")

    @property
    def corners(self) -> list[Point]:
        """Corners in order, of a box too."""
        if self.box is None:
            return self.polygon
        left, top, right, bottom = self.box
        return [(left, top), (right, top), (right, bottom), (left, bottom)]


class FleetMasks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fleet's operators hide, as the HTTP API says it."""

    devices: dict[str, dict[str, Annotated[list[Mask], msgspec.Meta(max_length=MAX_MASKS)]]] = {}
    """Device or `*` → pipeline or `*` → masks."""

    @property
    def signed(self) -> dict[str, Any]:
        """As it is read back out of a signed document, so that the two can be compared."""
        said: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self.devices))
        return said


def read_masks(said: Any) -> list[Mask]:
    """Masks from what a policy says of one pipeline.

    Raises:
        ContractError: they cannot be understood, so that nobody knows what must be hidden.
    """
    try:
        masks = msgspec.convert(said, list[Mask])
    except msgspec.ValidationError as error:
        raise ContractError(f"no masks: {error}") from error
    if len(masks) > MAX_MASKS:
        raise ContractError(f"{len(masks)} masks for one pipeline, of at most {MAX_MASKS}")
    return masks


def masks_for(policy: Any, *, device: str, pipeline: str) -> list[Mask]:
    """All masks that a signed policy lays on one pipeline of one device.

    Raises:
        ContractError: a part of the policy that is, or may be, about this pipeline cannot be understood.
    """
    found: list[Mask] = []
    for said in _entries(policy, device):
        for part in _entries(said, pipeline):
            found += read_masks(part)
    if len(found) > MAX_MASKS:
        raise ContractError(f"{len(found)} masks for one pipeline, of at most {MAX_MASKS}")
    return found


def _entries(table: Any, name: str) -> list[Any]:
    if not isinstance(table, Mapping):
        raise ContractError("a policy of masks is a table of devices, pipelines and their masks")
    return [table[key] for key in (EVERY, name) if key in table]
