"""Whether others on the device or its site may ask its models, and how much that may cost."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edge.settings.kinds import Listen, Positive, Rate

Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class ServingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Open Inference Protocol on this device."""

    listen: Listen = ""
    """Where HTTP is served, `host:port`; empty for not at all. Beyond loopback it speaks TLS."""

    grpc: Listen = ""
    """Where gRPC is served; needs the extra `edge-grpc`. Empty for not at all."""

    models: list[str] = []
    """Model lines that may be asked; empty for all that serve."""

    tokens: bool = True
    """Whether a request has to show a token (`hinterland-agent token`). It may be left off on loopback only."""

    share: Share = 0.5
    """Most of one core's time that requests may take while a pipeline runs, 0 to 1; without one they may take all."""

    requests: Positive = 8
    """Requests at once; who comes beyond is told to come again."""

    rows: Positive = 64
    """Most inputs in one request."""

    body_mib: Positive = 16
    """Most bytes of one request."""

    answer_s: Rate = 10.0
    """Seconds until a request has its answer, waiting included; over it the caller is told so."""

    certificate: str = ""
    """PEM chain that is shown instead of the device's own certificate, which common clients take for no server's."""

    key: str = ""
    """Its private key, PEM."""
