"""The lease under arbitrary orders of renewals, freezes, restarts and clocks that jump."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cloud.cluster.lease import Holder, Lease, decide, given_up, permits

LEASE_S = 10.0
NAMES = ("a", "b", "c")
REPLICA = st.sampled_from(NAMES)


class Replicas(RuleBasedStateMachine):
    """Three replicas over one row. Whoever may write under a token is the only one who ever had it."""

    def __init__(self) -> None:
        super().__init__()
        self.row: Lease | None = None
        self.at = 1_000.0
        self.born = dict.fromkeys(NAMES, 0)
        self.owners: dict[int, Holder] = {}
        self.tokens: list[int] = []
        self.believes: list[tuple[Holder, int]] = []
        """Every (holder, token) that was ever told it leads; a frozen one goes on believing it."""

    def holder(self, name: str) -> Holder:
        return Holder(replica=name, incarnation=str(self.born[name]))

    @rule(name=REPLICA)
    def ask(self, name: str) -> None:
        before, wanted = self.row, decide(self.row, self.holder(name), at=self.at, lease_s=LEASE_S)
        if wanted is None:
            assert before is not None
            assert before.replica != name
            assert self.at < before.expires_at
            return
        self.row = wanted
        assert wanted.expires_at >= self.at + LEASE_S
        assert self.owners.setdefault(wanted.token, wanted.holder) == wanted.holder, "two holders of one token"
        self.tokens.append(wanted.token)
        self.believes.append((wanted.holder, wanted.token))

    @rule(name=REPLICA)
    def restart(self, name: str) -> None:
        self.born[name] += 1

    @rule(seconds=st.floats(0, 2 * LEASE_S))
    def wait(self, seconds: float) -> None:
        self.at += seconds

    @rule(seconds=st.floats(0, LEASE_S))
    def clock_set_back(self, seconds: float) -> None:
        self.at -= seconds

    @rule()
    def leave(self) -> None:
        if self.row is not None and self.row.holder == self.holder(self.row.replica):
            self.row = given_up(self.row, at=self.at)
            assert decide(self.row, Holder(replica="z", incarnation="0"), at=self.at, lease_s=LEASE_S) is not None

    @invariant()
    def tokens_only_grow(self) -> None:
        assert self.tokens == sorted(self.tokens)

    @invariant()
    def one_at_most_may_write(self) -> None:
        may = {(who.replica, who.incarnation, token) for who, token in self.believes if self.may(who, token)}
        assert len(may) <= 1
        if self.row is not None and self.at >= self.row.expires_at:
            assert not may, "a lease that ended lets nobody write"

    def may(self, who: Holder, token: int) -> bool:
        return permits(self.row, who, token=token, at=self.at)


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(max_examples=200, stateful_step_count=40)
