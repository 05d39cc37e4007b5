"""The six calls of MLflow's REST API, version 2.0, that a run needs (https://mlflow.org/docs/latest/rest-api.html).

MLflow's own client would bring sixteen packages and report to its makers, and waits for minutes in its caller's thread
when the server is away: decision 0023.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from shared.errors import ContractError, RefusedError, TransportError

API = "/api/2.0/mlflow"

MOST_METRICS = 500
"""In one call; MLflow takes 1,000."""

MOST_PARAMETERS = 100
LONGEST = 500
"""Characters of a parameter's value that every MLflow takes."""


class Metric(NamedTuple):
    """One value at one step."""

    key: str
    value: float
    at: float
    """Unix seconds."""

    step: int


class MlflowServer:
    """One tracking server; each call ends within a deadline."""

    def __init__(self, url: str, *, token: str = "", ca: Path | None = None, deadline_s: float = 5.0) -> None:
        """Talk to the server at `url`, showing a token or `name:password`.

        Raises:
            RefusedError: the certificates in `ca` cannot be read.
        """
        try:
            verify = ssl.create_default_context(cafile=str(ca) if ca else None)
        except (OSError, ssl.SSLError) as error:
            raise RefusedError(f"no certificates in {ca}: {error}", hint="Correct [tracking] ca_file.") from error
        name, colon, password = token.partition(":")
        auth = httpx.BasicAuth(name, password) if colon else None
        headers = {"authorization": f"Bearer {token}"} if token and not colon else {}
        self._http = httpx.Client(base_url=url, headers=headers, auth=auth, verify=verify, timeout=deadline_s)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def experiment(self, name: str) -> str:
        """Id of the experiment, made if there is none.

        Raises:
            TransportError: the server does not answer.
            RefusedError: it refuses.
        """
        found = self._ask("GET", "/experiments/get-by-name", {"experiment_name": name}, absent=True)
        if found:
            return str(found["experiment"]["experiment_id"])
        return str(self._ask("POST", "/experiments/create", {"name": name})["experiment_id"])

    def find_run(self, experiment: str, *, tag: str, value: str) -> str:
        """Id of the run with that tag; empty for none."""
        asked = {"experiment_ids": [experiment], "filter": f"tags.`{tag}` = '{value}'", "max_results": 1}
        found = self._ask("POST", "/runs/search", asked).get("runs") or []
        return str(found[0]["info"]["run_id"]) if found else ""

    def create_run(self, experiment: str, *, name: str, at: float, tags: Mapping[str, str]) -> str:
        """Begin a run; return its id."""
        asked = {"experiment_id": experiment, "run_name": name, "start_time": _ms(at), "tags": _pairs(tags)}
        return str(self._ask("POST", "/runs/create", asked)["run"]["info"]["run_id"])

    def log(
        self,
        run: str,
        *,
        metrics: Sequence[Metric] = (),
        parameters: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add to a run; the same again changes nothing."""
        pairs = _pairs({key: value[:LONGEST] for key, value in (parameters or {}).items()})
        for at in range(0, len(pairs), MOST_PARAMETERS):
            self._ask("POST", "/runs/log-batch", {"run_id": run, "params": pairs[at : at + MOST_PARAMETERS]})
        for at in range(0, len(metrics), MOST_METRICS):
            some = [
                {"key": m.key, "value": m.value, "timestamp": _ms(m.at), "step": m.step}
                for m in metrics[at : at + MOST_METRICS]
            ]
            self._ask("POST", "/runs/log-batch", {"run_id": run, "metrics": some})
        if tags:
            self._ask("POST", "/runs/log-batch", {"run_id": run, "tags": _pairs(tags)})

    def end_run(self, run: str, *, status: str, at: float) -> None:
        """Say how a run ended: `FINISHED` or `FAILED`."""
        self._ask("POST", "/runs/update", {"run_id": run, "status": status, "end_time": _ms(at)})

    def _ask(self, method: str, path: str, document: dict[str, Any], *, absent: bool = False) -> dict[str, Any]:
        sent: dict[str, Any] = {"params": document} if method == "GET" else {"json": document}
        try:
            answer = self._http.request(method, API + path, **sent)
        except httpx.HTTPError as error:
            raise TransportError(f"MLflow at {self._http.base_url} does not answer: {error}") from error
        said = _object(answer)
        if absent and said.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
            return {}
        if answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise TransportError(f"MLflow cannot answer now: {answer.status_code} {said.get('message', '')}"[:300])
        if not answer.is_success:
            raise RefusedError(
                f"MLflow refuses {path}: {answer.status_code} {said.get('message', '')}"[:300],
                hint="Check [tracking] in coordinator.toml.",
            )
        return said


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        said = answer.json()
    except ValueError:
        said = None
    if isinstance(said, dict):
        return said
    if answer.is_success:
        raise ContractError(f"{answer.url} does not answer as MLflow does", hint="Check [tracking] mlflow_url.")
    return {}


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in sorted(values.items())]


def _ms(at: float) -> int:
    return int(at * 1000)
