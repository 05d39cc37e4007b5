"""How work on data of the company's own is done; a group of `cloud.settings`."""

from __future__ import annotations

import msgspec

from shared.task_compute import Precision


class JobSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Work on data of the company's own, in processes beside the coordinator."""

    data: str = ""
    """Directory with the data sets, one `NAME.npz` each; `data` in the coordinator's when empty."""

    device: str = "auto"
    """Where first weights are trained and trained weights judged: `auto` (a GPU where there is one), `cpu`, `cuda`,
    `cuda:1`."""

    precision: Precision = Precision.AUTO
    """Numbers in which training multiplies."""
