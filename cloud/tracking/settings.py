"""Whom runs are told to; a group of `cloud.settings`."""

from __future__ import annotations

import msgspec


class TrackingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where federated runs are told to an experiment tracker."""

    mlflow_url: str = ""
    """An MLflow tracking server, for example `https://mlflow.example`; none when empty."""

    experiment: str = "hinterland"
    """Under which the runs stand; made if there is none."""

    token_file: str = ""
    """File with a token, or with `name:password`; nothing is shown to the server when empty."""

    ca_file: str = ""
    """Authority of its certificate, PEM; the system's when empty."""

    deadline_s: float = 5.0
    """For a connection, and again for each answer."""

    every_s: float = 5.0
    """Between two looks at what is new."""
