"""Whether a device takes part in federated training, and what its owner allows."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edge.settings.kinds import Hours


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this device's owner allows federated runs to do here; no server can change it."""

    tasks: list[str] = []
    """Tasks, hence data, that may be trained and judged on; `*` stands for any text. Empty for all."""

    models: list[str] = []
    """Model lines that may be trained; empty for all."""

    purposes: list[str] = []
    """Purposes that count, such as `training`; empty for all."""

    refuse: list[str] = []
    """Runs that may not, whatever the rules above say."""

    hours: list[Hours] = []
    """When a message of a run may be answered, `HH:MM-HH:MM` in UTC, also over midnight; empty for always."""


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether this device takes part in federated training."""

    enabled: bool = False
    data: str = ""
    """Directory of the local data sets, `<task>/train.npz` and `<task>/holdout.npz`; default `<state>/data`."""

    device: Annotated[str, msgspec.Meta(pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$")] = "auto"
    """Where models train: `auto` (a GPU where torch can use one), `cpu`, `cuda` or `cuda:n`."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Numbers in which training multiplies: float32 on a CPU, on a GPU what it is made for."""

    policy: PolicySettings = PolicySettings()
