"""Kinds of values that settings are made of; each says in a pattern or a range what is taken."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edge.relay.address import PATTERN

Rate = Annotated[float, msgspec.Meta(gt=0)]
Positive = Annotated[int, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Priority = Annotated[int, msgspec.Meta(ge=1, le=100)]
Cpu = Annotated[int, msgspec.Meta(ge=0, le=4095)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Relay = Annotated[str, msgspec.Meta(pattern=PATTERN)]
Listen = Annotated[str, msgspec.Meta(pattern=rf"^$|{PATTERN}")]
"""Where to listen; empty for nowhere."""
Amount = Annotated[float, msgspec.Meta(ge=0)]
Address = Annotated[str, msgspec.Meta(pattern=r"^rtsp://[^@/?#\s]+(/[^@\s]*)?$")]
Size = Annotated[str, msgspec.Meta(pattern=r"^([1-9]\d{0,4}x[1-9]\d{0,4})?$")]
Hours = Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]
