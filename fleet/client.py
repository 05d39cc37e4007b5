"""The coordinator's API as typed calls."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from shared import api
from shared.access import REASON_HEADER, Key, KeyIssued, KeyRequest, Verdict, Whoami
from shared.attested import Attested
from shared.audit import AuditRow, Witness
from shared.bundle import Schema
from shared.distribution import Distribution, Fleet
from shared.errors import ContractError, RefusedError, TransportError
from shared.ids import Digest, sha256
from shared.jobs import Cancellation, CentralJob, EvaluationRequest, Said
from shared.masks import FleetMasks
from shared.privacy import Budget, Population
from shared.quarantine import Released, Suspect

T = TypeVar("T")

TIMEOUT_S = 30.0
"""For each step of a call."""


class Client:
    """One coordinator, as one operator sees it; safe to share between threads."""

    def __init__(
        self, url: str, *, key: str, ca: Path | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Reach the API at `url`.

        Args:
            url: for example `https://127.0.0.1:8443`.
            key: API key.
            ca: the only certificate authority that is believed, PEM; the system's when None.
            transport: where calls go instead of the network.

        Raises:
            RefusedError: `ca` cannot be read.
        """
        self._http = httpx.Client(
            base_url=url.rstrip("/") + api.PREFIX,
            headers={"authorization": f"Bearer {key}"},
            verify=_context(ca),
            timeout=TIMEOUT_S,
            transport=transport,
            trust_env=False,  # a proxy of the environment has no business between an operator and a private authority
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def health(self) -> api.Health:
        """Whether the coordinator can do its part."""
        return self._get("/health", api.Health)

    def whoami(self) -> Whoami:
        """Whom our credential names."""
        return self._get("/whoami", Whoami)

    def keys(self) -> list[Key]:
        """Every API key, without the keys."""
        return self._get("/keys", list[Key])

    def create_key(self, request: KeyRequest) -> KeyIssued:
        """Make an API key; it is shown once."""
        return self._send("POST", "/keys", request, KeyIssued)

    def revoke_key(self, name: str, *, reason: str) -> Key:
        """Take an API key out of use."""
        return self._send("POST", f"/keys/{name}/revoke", api.Revocation(reason=reason), Key)

    def vote(self, release: str, *, digest: str, approved: bool, reason: str) -> api.Release:
        """Approve or reject the manifest with `digest`."""
        word = "approve" if approved else "reject"
        return self._send("POST", f"/releases/{release}/{word}", Verdict(digest=digest, reason=reason), api.Release)

    def create_token(
        self,
        *,
        device: str = "",
        fleet: str = "",
        ttl_s: float = 86_400.0,
        key_sha256: str = "",
        reason: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> api.TokenIssued:
        """Make an enrolment token; it is shown once."""
        request = api.TokenRequest(
            device=device, fleet=fleet, ttl_s=ttl_s, key_sha256=key_sha256, reason=reason, labels=dict(labels or {})
        )
        return self._send("POST", "/tokens", request, api.TokenIssued)

    def devices(self) -> list[api.Device]:
        """Every device."""
        return self._get("/devices", list[api.Device])

    def device(self, device: str) -> api.Device:
        """One device."""
        return self._get(f"/devices/{device}", api.Device)

    def why(self, device: str) -> api.Lineage:
        """Why a device runs what it runs."""
        return self._get(f"/devices/{device}/why", api.Lineage)

    def revoke(self, device: str, *, reason: str) -> api.Device:
        """Shut a device out."""
        return self._send("POST", f"/devices/{device}/revoke", api.Revocation(reason=reason), api.Device)

    def quarantine(self) -> list[Suspect]:
        """Every device that something is held against."""
        return self._get("/quarantine", list[Suspect])

    def release_device(self, device: str, *, reason: str) -> Suspect:
        """Let a device back into later runs."""
        return self._send("POST", f"/quarantine/{quote(device, safe='')}/release", Released(reason=reason), Suspect)

    def populations(self) -> list[Population]:
        """Every population with a privacy budget or something spent of it."""
        return self._get("/privacy", list[Population])

    def set_privacy_budget(self, population: str, budget: Budget) -> Population:
        """Promise a population a budget over all runs."""
        return self._send("PUT", f"/privacy/{quote(population, safe='')}", budget, Population)

    def vote_on_budget(self, population: str, *, digest: str, approved: bool, reason: str) -> Population:
        """Approve or reject a greater privacy budget that was looked at."""
        word = "approve" if approved else "reject"
        path = f"/privacy/{quote(population, safe='')}/{word}"
        return self._send("POST", path, Verdict(digest=digest, reason=reason), Population)

    def fleets(self) -> list[Fleet]:
        """Every fleet, and how it is sent model bytes."""
        return self._get("/fleets", list[Fleet])

    def fleet(self, fleet: str) -> Fleet:
        """One fleet."""
        return self._get(f"/fleets/{quote(fleet, safe='')}/distribution", Fleet)

    def distribute(self, fleet: str, rule: Distribution, *, dry_run: bool = False, reason: str = "") -> Fleet:
        """Say how a fleet is sent model bytes from now on; or only have it checked."""
        path = f"/fleets/{quote(fleet, safe='')}/distribution{_dry(dry_run)}"
        return self._send("PUT", path, rule, Fleet, reason=reason)

    def masks(self, fleet: str) -> FleetMasks:
        """What a fleet's cameras hide."""
        return self._get(f"/fleets/{quote(fleet, safe='')}/masks", FleetMasks)

    def mask(self, fleet: str, masks: FleetMasks, *, dry_run: bool = False, reason: str = "") -> FleetMasks:
        """Say what a fleet's cameras hide from now on; or only have it checked."""
        path = f"/fleets/{quote(fleet, safe='')}/masks{_dry(dry_run)}"
        return self._send("PUT", path, masks, FleetMasks, reason=reason)

    def models(self) -> list[api.Line]:
        """Every model line."""
        return self._get("/models", list[api.Line])

    def apply_model(self, document: Mapping[str, Any], *, dry_run: bool = False, reason: str = "") -> api.Line:
        """Create or replace the model line that `document` names; or only have it checked."""
        path = f"/models/{quote(str(document.get('name', '')), safe='')}{_dry(dry_run)}"
        return self._send("PUT", path, dict(document), api.Line, reason=reason)

    def start_run(self, request: api.RunRequest) -> api.Run:
        """Queue a federated run."""
        return self._send("POST", "/runs", request, api.Run)

    def runs(self, *, model: str | None = None) -> list[api.Run]:
        """Every run with its rounds, oldest first."""
        return self._get("/runs", list[api.Run], params={"model": model} if model else {})

    def run(self, run: str) -> api.Run:
        """One run."""
        return self._get(f"/runs/{run}", api.Run)

    def progress(self, run: str, *, since: int = 0) -> list[api.RoundProgress]:
        """How far each client of each round is, from round `since` on."""
        return self._get(f"/runs/{run}/progress", list[api.RoundProgress], params={"since": str(since)})

    def jobs(self, *, subject: str | None = None) -> list[CentralJob]:
        """Every central job, oldest first, or those about one run or release."""
        return self._get("/jobs", list[CentralJob], params={"subject": subject} if subject else {})

    def job(self, job: str) -> CentralJob:
        """One central job."""
        return self._get(f"/jobs/{job}", CentralJob)

    def job_log(self, job: str, *, since: int = 0) -> Said:
        """What a central job said, from a byte on."""
        return self._get(f"/jobs/{job}/log", Said, params={"since": since})

    def cancel_job(self, job: str, *, reason: str = "") -> CentralJob:
        """Want no more of a central job."""
        return self._send("POST", f"/jobs/{job}/cancel", Cancellation(reason=reason), CentralJob)

    def evaluate(self, request: EvaluationRequest) -> CentralJob:
        """Have files held against a data set of the company's own."""
        return self._send("POST", "/evaluations", request, CentralJob)

    def put_blob(self, data: bytes) -> Digest:
        """Send the bytes of a file; return their name."""
        digest = sha256(data)
        self._call("PUT", f"/blobs/{digest}", content=data)
        return digest

    def import_release(
        self,
        model: str,
        *,
        schema: Schema,
        files: Sequence[tuple[str, bytes, str]],
        evaluation: Mapping[str, float] | None = None,
        memory_mib: int = 0,
        runtime_version: str = "",
        reason: str = "",
    ) -> api.Release:
        """Make a release of a model that was trained elsewhere.

        Args:
            model: its line.
            schema: how to feed it.
            files: (name, bytes, precision) of each ONNX file, for CPUs.
            evaluation: what is known of its quality.
            memory_mib: free memory that a device must have before it fetches one of the files; 0 for any.
            runtime_version: oldest version of the runtime that executes them; empty for any.
            reason: for the audit log.
        """
        imported = [
            api.ImportedFile(
                name=name,
                digest=self.put_blob(data),
                precision=precision,
                memory_mib=memory_mib,
                runtime_version=runtime_version,
            )
            for name, data, precision in files
        ]
        request = api.ReleaseRequest(
            model=model, schema=schema, files=imported, evaluation=dict(evaluation or {}), reason=reason
        )
        return self._send("POST", "/releases", request, api.Release)

    def releases(self, *, model: str | None = None) -> list[api.Release]:
        """Every release, oldest first."""
        return self._get("/releases", list[api.Release], params={"model": model} if model else {})

    def release(self, release: str) -> api.Release:
        """One release."""
        return self._get(f"/releases/{release}", api.Release)

    def attestations(self, release: str) -> list[Attested]:
        """What is attested of one release."""
        return self._get(f"/releases/{release}/attestations", list[Attested])

    def start_rollout(self, request: api.RolloutRequest) -> api.Rollout:
        """Bring a release to a fleet."""
        return self._send("POST", "/rollouts", request, api.Rollout)

    def rollouts(self) -> list[api.Rollout]:
        """Every rollout, oldest first."""
        return self._get("/rollouts", list[api.Rollout])

    def rollout(self, rollout: str, *, devices: bool = True) -> api.Rollout:
        """One rollout, with or without a line for each device."""
        return self._get(f"/rollouts/{rollout}", api.Rollout, params={} if devices else {"devices": "false"})

    def rollout_devices(
        self, rollout: str, *, after: str = "", limit: int = 500, failed: bool = False
    ) -> list[api.RolloutDevice]:
        """A page of its devices by name; only those that failed, if asked."""
        params: dict[str, str | int] = {"after": after, "limit": limit, "failed": str(failed).lower()}
        return self._get(f"/rollouts/{rollout}/devices", list[api.RolloutDevice], params=params)

    def apply_rollout(self, document: Mapping[str, Any], *, dry_run: bool = False, reason: str = "") -> api.Applied:
        """Begin the rollout that `document` describes, or change the one that is under way; or say what would be."""
        return self._send("POST", f"/rollouts/apply{_dry(dry_run)}", dict(document), api.Applied, reason=reason)

    def intervene(self, rollout: str, what: str, *, reason: str) -> api.Rollout:
        """`pause`, `resume`, `abort` or `rollback` a rollout."""
        return self._send("POST", f"/rollouts/{rollout}/{what}", api.Revocation(reason=reason), api.Rollout)

    def vote_rollout(self, rollout: str, *, digest: str, approved: bool, reason: str) -> api.Rollout:
        """Approve or reject the rollout whose document has `digest`."""
        word = "approve" if approved else "reject"
        return self._send("POST", f"/rollouts/{rollout}/{word}", Verdict(digest=digest, reason=reason), api.Rollout)

    def label(self, device: str, labels: Mapping[str, str], *, dry_run: bool = False, reason: str = "") -> api.Device:
        """Replace what a device is called by; or only have it checked."""
        path, document = f"/devices/{device}/labels{_dry(dry_run)}", api.Labels(labels=dict(labels))
        return self._send("PUT", path, document, api.Device, reason=reason)

    def drift(self, *, device: str | None = None) -> api.Drift:
        """Drift scores and alarms."""
        return self._get("/drift", api.Drift, params={"device": device} if device else {})

    def telemetry(self) -> api.TelemetrySummary:
        """Telemetry, added up."""
        return self._get("/telemetry/summary", api.TelemetrySummary)

    def events(self, *, after: int = 0, limit: int = 500) -> list[api.Event]:
        """The timeline after an event, oldest first."""
        return self._get("/events", list[api.Event], params={"after": after, "limit": limit})

    def audit(self) -> Iterator[AuditRow]:
        """The whole audit log in order, page by page."""
        after = 0
        while page := self._get("/audit", list[AuditRow], params={"after": after, "limit": 1_000}):
            yield from page
            after = page[-1].number

    def witness(self) -> Witness:
        """What is known of earlier heads of the audit log, outside the database."""
        return self._get("/audit/anchors", Witness)

    def _get(self, path: str, kind: type[T], *, params: Mapping[str, str | int] | None = None) -> T:
        return _decode(self._call("GET", path, params=params), kind)

    def _send(self, method: str, path: str, document: object, kind: type[T], *, reason: str = "") -> T:
        headers = {"content-type": "application/json"} | ({REASON_HEADER: quote(reason)} if reason else {})
        return _decode(self._call(method, path, content=msgspec.json.encode(document), headers=headers), kind)

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """One call.

        Raises:
            TransportError: no answer, or the coordinator failed.
            RefusedError: it says no, with its reason and remedy.
        """
        try:
            answer = self._http.request(method, path, params=params, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise TransportError(
                f"the coordinator at {self._http.base_url} does not answer: {error}",
                hint="Is it running, and are --url and --ca right?",
            ) from error
        if answer.is_success:
            return answer.content
        raise _refusal(answer)


def _dry(dry_run: bool) -> str:
    return "?dry_run=true" if dry_run else ""


def _refusal(answer: httpx.Response) -> RefusedError | TransportError:
    try:
        problem = msgspec.json.decode(answer.content, type=api.Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return TransportError(
            f"something at {answer.url} answers with status {answer.status_code}", hint="Check --url."
        )
    if answer.is_server_error:
        return TransportError(problem.detail, hint=problem.hint)
    return RefusedError(problem.detail, hint=problem.hint)


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(
            f"the coordinator's answer is not understood: {error}", hint="Are both sides of the same version?"
        ) from error


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise RefusedError(
            f"no certificates in {ca}: {error}", hint="Give the coordinator's ca.crt with --ca."
        ) from error
