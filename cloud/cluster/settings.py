"""What coordinators that share the load are told; a group of `cloud.settings`."""

from __future__ import annotations

import msgspec

from shared.errors import RefusedError
from shared.ids import check_name

LEAST_LEASE_S = 1.0
"""A renewal is a commit, which may take a tenth of that on a slow disk."""


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several coordinators over one directory and one database: one leads, all serve."""

    replicas: list[str] = msgspec.field(default_factory=list)
    """Their names; with none, one coordinator works alone and refuses a second one."""

    replica: str = ""
    """Which of them a process is; it differs, so it belongs into the environment: HINTERLAND_CLUSTER_REPLICA."""

    lease_s: float = 10.0
    """After which another replica takes a silent leader's work over; longer than a disk or database ever hangs."""


def check_cluster(told: ClusterSettings) -> None:
    """Prove that the group makes sense.

    Raises:
        RefusedError: it does not.
        ContractError: a name is none.
    """
    for name in told.replicas:
        check_name(name, kind="name of a replica")
    if len(set(told.replicas)) != len(told.replicas):
        raise RefusedError("two replicas have one name", hint="Correct [cluster] replicas.")
    if told.replica and told.replica not in told.replicas:
        raise RefusedError(
            f"{told.replica[:80]!r} is none of the replicas", hint="Add it to [cluster] replicas, for all of them."
        )
    if not told.lease_s >= LEAST_LEASE_S:
        raise RefusedError(f"a lease of {told.lease_s} s is too short", hint="Correct [cluster] lease_s.")
