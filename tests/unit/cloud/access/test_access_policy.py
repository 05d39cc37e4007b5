"""The policy as a table: role × action × where; a broken file changes nothing."""

import pytest

from cloud.access.policy import DEFAULT, Policy, parse
from cloud.access.principal import Action, ForbiddenError, Principal, Role
from shared.clock import VirtualClock
from shared.errors import RefusedError

SEES = {Action.SEE, Action.SEE_SHARED}
RUNS = SEES | {Action.ENROL, Action.REVOKE, Action.TRAIN, Action.ROLL_OUT}
RELEASES = RUNS | {Action.CHANGE_LINE, Action.IMPORT_RELEASE, Action.APPROVE_RELEASE, Action.SEE_AUDIT}
MAY = {
    Role.VIEWER: SEES,
    Role.OPERATOR: RUNS,
    Role.RELEASE_MANAGER: RELEASES,
    Role.ADMIN: set(Action),
}
OF_A_FLEET = RUNS - {Action.SEE_SHARED}


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def policy(tmp_path, clock):
    return Policy(tmp_path / "policy.cedar", clock=clock)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_the_default_is_this_table(policy, role, action):
    everywhere = Principal("ann", "acme", (role,), ("*",))
    assert policy.allows(everywhere, action, tenant="acme", fleet="lab") is (action in MAY[role])
    here = Principal("ann", "acme", (role,), ("lab",))
    assert policy.allows(here, action, tenant="acme", fleet="wards") is (action is Action.SEE_SHARED)
    inside = action in MAY[role] & (OF_A_FLEET | {Action.SEE_SHARED})
    assert policy.allows(here, action, tenant="acme", fleet="lab") is inside
    assert not policy.allows(everywhere, action, tenant="zeta", fleet="lab")


@pytest.mark.parametrize("roles", [(), ("king",), ('viewer"', "Role::admin")])
def test_without_a_role_nothing_is_allowed(policy, roles):
    nobody = Principal("ann", "acme", roles, ("*",))
    assert not any(policy.allows(nobody, action, tenant="acme", fleet="lab") for action in Action)


def test_a_refusal_names_the_remedy(policy):
    with pytest.raises(ForbiddenError) as caught:
        policy.require(Principal("ann", "acme", ("viewer",)), Action.REVOKE, tenant="acme", fleet="lab")
    assert "ann may not revoke in fleet lab" in str(caught.value)
    assert "hinterland whoami" in caught.value.hint


def test_a_changed_file_counts_and_a_broken_one_leaves_the_last_good_one(policy, clock, tmp_path):
    viewer = Principal("ann", "acme", ("viewer",))
    path = tmp_path / "policy.cedar"
    path.write_text(DEFAULT + '\npermit (principal in Role::"viewer", action == Action::"revoke", resource);')
    clock.advance(2)
    assert policy.allows(viewer, Action.REVOKE, tenant="acme", fleet="lab")
    for broken in ("permit (", 'permit (principal, action == Action::"fly", resource);', "\x00"):
        path.write_text(broken)
        clock.advance(2)
        assert policy.allows(viewer, Action.REVOKE, tenant="acme", fleet="lab")
        assert "policy" in policy.health
    path.write_text(DEFAULT)
    clock.advance(2)
    assert not policy.allows(viewer, Action.REVOKE, tenant="acme", fleet="lab")
    assert policy.health == "ok"


def test_an_empty_file_allows_nothing(policy, clock, tmp_path):
    (tmp_path / "policy.cedar").write_text("")
    clock.advance(2)
    assert not policy.allows(Principal("ann", "acme", ("admin",)), Action.SEE, tenant="acme", fleet="lab")


def test_a_coordinator_does_not_start_with_a_broken_file(tmp_path, clock):
    (tmp_path / "policy.cedar").write_text("permit (")
    with pytest.raises(RefusedError, match="cannot be read"):
        Policy(tmp_path / "policy.cedar", clock=clock)
    with pytest.raises(RefusedError) as caught:
        parse('permit (principal, action == Action::"fly", resource);')
    assert "hinterland-coordinator policy" in caught.value.hint
