"""An app over Ray begins when its clients are there; Ray itself is played by the benchmark."""

import pytest
from flwr.serverapp import ServerApp

from shared.errors import FaultError
from simulations.grid.ray import when_gathered


class Filling:
    """A grid whose nodes are registered while it is asked, as Flower's simulation engine registers them."""

    def __init__(self):
        self.nodes = []

    def get_node_ids(self):
        self.nodes.append(len(self.nodes))
        return list(self.nodes)


def test_an_app_begins_when_all_clients_are_there():
    app, seen = ServerApp(), []

    @app.main()
    def main(grid, context):
        seen.append((len(grid.nodes), context))

    when_gathered(app, clients=5)(Filling(), "context")
    assert seen == [(5, "context")]


def test_clients_that_never_come_are_counted():
    with pytest.raises(FaultError, match="1 of 5 clients"):
        when_gathered(ServerApp(), clients=5, patience_s=0.0)(Filling(), None)
