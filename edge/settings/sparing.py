"""From where on a device spares itself."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edge.settings.kinds import Percent


class SparingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When cameras' pipelines work on a half, a quarter or an eighth of their frames."""

    hot_c: Annotated[float, msgspec.Meta(ge=0, le=150)] = 90.0
    """Degrees Celsius of the device's hottest sensor at which a step is taken, and another while it stays as hot; 5
    less take one back. 0 for never."""

    charge: Percent = 20.0
    """Percent of charge under which a step is taken on battery; half of it is the next one, a quarter the last. 0 for
    never."""
