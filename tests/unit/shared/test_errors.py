"""The tree of errors: a branch says who acts."""

import pytest

from shared import errors

BRANCHES = {
    errors.ContractError: "contract",
    errors.TrustError: "trust",
    errors.TransportError: "transport",
    errors.RefusedError: "refused",
    errors.FaultError: "fault",
}


@pytest.mark.parametrize(("kind", "code"), BRANCHES.items())
def test_each_branch_has_a_stable_code_and_carries_its_remedy(kind: type[errors.HinterlandError], code: str) -> None:
    error = kind("what happened", hint="what to do")
    assert (error.code, str(error), error.hint) == (code, "what happened", "what to do")


def test_the_branches_are_all_and_apart() -> None:
    assert set(errors.HinterlandError.__subclasses__()) == set(BRANCHES)
