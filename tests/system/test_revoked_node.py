"""A device that was revoked trains no more, not even on the connection that it has."""

import pytest

from cloud.training.control import FlowerControl
from edge.training.connection import FleetConnection
from shared.errors import RefusedError
from tests.system.federation import Federation, make_key, public_pem

pytestmark = pytest.mark.system


@pytest.fixture
def superlink(tmp_path):
    federation = Federation(tmp_path)
    federation.start_superlink()
    yield federation
    federation.stop()


def test_a_revoked_device_is_no_node_any_more(superlink, tmp_path):
    control = FlowerControl(superlink.address)
    keys = [tmp_path / f"{name}.key" for name in ("stolen", "honest")]
    try:
        nodes = [control.register_node(public_pem(make_key(key))) for key in keys]
        address, ca = superlink.address.address, superlink.address.ca
        with (
            FleetConnection(address, ca=ca, key=keys[0]) as stolen,
            FleetConnection(address, ca=ca, key=keys[1]) as good,
        ):
            assert stolen.receive() is None
            control.unregister_node(nodes[0])
            with pytest.raises(RefusedError):
                stolen.receive()
            with pytest.raises(RefusedError):
                FleetConnection(address, ca=ca, key=keys[0])
            assert good.receive() is None
            with pytest.raises(RefusedError):
                control.unregister_node(nodes[0])
    finally:
        control.close()
