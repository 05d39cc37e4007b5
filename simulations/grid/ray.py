"""The same app over Flower's simulation engine, which runs on Ray: many processes, many machines.

Off unless asked for, and needs `pip install 'flwr[simulation]==1.41.0'`. **Ray listens on all interfaces, without a
credential**: whoever reaches its ports can run code here. Use it only where a firewall or a network of its own keeps
others out.
"""

from __future__ import annotations

import importlib.util
import os
import time
import warnings

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from shared.errors import FaultError, RefusedError

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
"""Neither Ray nor Flower calls home."""

GATHERING_S = 300.0
"""How long clients may take to be registered; a thousand take about two seconds."""


def run_on_ray(app: ServerApp, client: ClientApp, *, clients: int, cores: int, cores_each: float = 1.0) -> None:
    """Run a `ServerApp` over `clients` clients; returns when it ends.

    `cores` is how many CPUs Ray may use of this machine, `cores_each` how many each client's training takes. To use
    many machines, start Ray on them first and set RAY_ADDRESS.

    Flower starts the app beside a thread that still registers clients, so that a strategy which asks at once reaches
    some of them only: 139 of 1,000 in one run. The app therefore begins when all are there.

    Raises:
        RefusedError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise RefusedError("Ray is not installed", hint="pip install 'flwr[simulation]==1.41.0'")
    os.environ.update(QUIET)
    from flwr.simulation import run_simulation

    start: dict[str, object] = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": cores, "include_dashboard": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray and Flower warn of their own uses of what they deprecated
        run_simulation(
            server_app=when_gathered(app, clients=clients),
            client_app=client,
            num_supernodes=clients,
            backend_config={"init_args": start, "client_resources": {"num_cpus": cores_each, "num_gpus": 0.0}},
        )


def when_gathered(app: ServerApp, *, clients: int, patience_s: float = GATHERING_S) -> ServerApp:
    """The same app, begun once its grid has `clients` nodes.

    Raises:
        FaultError: when it runs, and some are still missing after `patience_s`.
    """
    gathered = ServerApp()

    @gathered.main()  # type: ignore[untyped-decorator]  # flwr is Any here
    def main(grid: Grid, context: Context) -> None:
        until = time.monotonic() + patience_s
        while (there := len(list(grid.get_node_ids()))) < clients:
            if time.monotonic() > until:
                raise FaultError(f"{there} of {clients} clients were registered in {patience_s:g} s")
            time.sleep(0.02)
        app(grid=grid, context=context)

    return gathered
