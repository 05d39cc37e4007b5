"""The same app over Flower's simulation engine, which runs on Ray: many processes, many machines.

Off unless asked for, and needs `pip install 'flwr[simulation]==1.41.0'`. **Ray listens on all interfaces, without a
credential**: whoever reaches its ports can run code here. Use it only where a firewall or a network of its own keeps
others out.
"""

from __future__ import annotations

import importlib.util
import os
import warnings

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from shared.errors import RefusedError

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
"""Neither Ray nor Flower calls home."""


def run_on_ray(app: ServerApp, client: ClientApp, *, clients: int, cores: int, cores_each: float = 1.0) -> None:
    """Run a `ServerApp` over `clients` clients; returns when it ends.

    `cores` is how many CPUs Ray may use of this machine, `cores_each` how many each client's training takes. To use
    many machines, start Ray on them first and set RAY_ADDRESS.

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
            server_app=app,
            client_app=client,
            num_supernodes=clients,
            backend_config={"init_args": start, "client_resources": {"num_cpus": cores_each, "num_gpus": 0.0}},
        )
