"""Family `tenants`: a second coordinator of another tenant, whose operators, devices and signers try ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.access.keys import new_key
from cloud.layout import Layout
from edge.identity import Identity, enrol
from edge.identity.keys import certificate_request, ensure_key, sign
from fleet.client import Client
from fleet.profile import Choice, choose
from shared.enrolment import EnrolRequest, RenewRequest, renewal_statement, to_json
from shared.errors import HinterlandError, RefusedError
from simulations.scenarios.attacks.at_the_api import at_every_route, routes
from simulations.scenarios.attacks.ground import CROSSED, GUESTS, YARD, Ground
from simulations.scenarios.attacks.middle import Middle, settled
from simulations.scenarios.attacks.row import Attack, Seen, Threat
from simulations.scenarios.attacks.session import PATIENCE_S, Papers, Session
from simulations.world.ports import LOOPBACK, answers, free_ports
from simulations.world.process import Process, console_script

TENANT = "rival"
GUESSES, FAILURES = 80, 60
"""Made-up keys tried at the other coordinator, and how many it looks at in a minute."""
"""More than `[access] failures_per_minute` allows one address by default."""


class Rival:
    """Another tenant's coordinator: own directory, authority, keys and repository; it needs no broker here."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.layout = Layout((ground.world.directory / TENANT).absolute())
        api, broker, superlink = self.ports = free_ports(3)
        place = ["--dir", str(self.layout.directory)]
        argv = ["init", *place, "--tenant", TENANT, "--fleet", YARD, "--host", LOOPBACK]
        argv += ["--api-port", str(api), "--broker-port", str(broker), "--superlink-port", str(superlink)]
        command = console_script("hinterland-coordinator")
        env = {"HINTERLAND_SUPERLINK_ENABLED": "false", "HINTERLAND_ACCESS_FAILURES_PER_MINUTE": str(FAILURES)}
        made = Process("rival-init", [*command, *argv], logs=ground.world.logs, env=env)
        made.start()
        made.wait_until(self.layout.profile.exists, within_s=PATIENCE_S)
        self.process = Process("rival", [*command, "serve", *place], logs=ground.world.logs, env=env)

    def start(self) -> None:
        """Serve, and enrol a device of its own."""
        self._ground.world.agents[TENANT] = self.process  # ended with the world, whatever happens
        self.process.start()
        self.process.wait_until(lambda: answers(self.ports[0]), within_s=PATIENCE_S)
        profile = choose(Choice(profile=self.layout.profile), environ={}, home=self.layout.directory)
        self.key = profile.key
        self.client = Client(profile.url, key=profile.key, ca=Path(profile.ca))
        token = self.client.create_token(device="rival-1", fleet=YARD).token
        self.device: Identity = enrol(self.layout.directory / "device", token=token, hardware=["cpu"], runtimes=[])

    def stop(self) -> None:
        """End it."""
        self.client.close()
        self.process.kill()

    def files(self) -> dict[str, bytes]:
        """Its signed files."""
        root = self.layout.tuf
        found = (path for path in root.rglob("*.json") if path.parts[len(root.parts)] in ("metadata", "targets"))
        return {str(path.relative_to(root)): path.read_bytes() for path in found}


def attacks(ground: Ground) -> Iterator[Attack]:
    """Everything that one tenant holds, shown to the other."""
    rival = Rival(ground)
    rival.start()
    middle = Middle(ground, "tenant-1", fleet=CROSSED)
    middle.open()
    try:
        for name, done, control, act in _rows(ground, rival, middle):
            yield Attack(name=name, threat=Threat.TENANT, victim=_victim(name), done=done, control=control, act=act)
    finally:
        middle.close()
        rival.stop()


def _victim(name: str) -> str:
    return {"certificate": "broker", "signed-files": "device"}.get(name, "coordinator")


def _rows(ground: Ground, rival: Rival, middle: Middle) -> Iterator[tuple[str, str, str, Callable[[], Seen]]]:
    own = "the tenant's own key on the same routes: let in"
    yield "key-on-every-route", "called every route with another tenant's key", own, lambda: _keys(ground, rival)
    yield (
        "key-the-other-way",
        "called every route of the other tenant with our operator's key",
        own,
        lambda: _other_way(ground, rival),
    )
    yield (
        "token",
        "enrolled here with a token that the other tenant had minted",
        "with a token of ours: enrolled",
        lambda: _token(ground, rival),
    )
    yield (
        "certificate",
        "connected to our broker with the certificate of another tenant's device",
        "a device of ours with its own: connected",
        lambda: _certificate(ground, rival),
    )
    yield (
        "renewal",
        "asked us to renew the certificate of another tenant's device",
        "a device of ours renews",
        lambda: _renewal(ground, rival),
    )
    yield (
        "signed-files",
        "showed our device another tenant's well signed files",
        "what our coordinator signs next: fetched, tried and served",
        lambda: _files(rival, middle),
    )
    yield (
        "guessing",
        f"tried {GUESSES} made-up keys at the other tenant's coordinator, which looks at 60 a minute",
        "that tenant's own key, from the same address: let in",
        lambda: _guess(rival),
    )


def _guess(rival: Rival) -> Seen:
    with _client(rival, rival.key) as http:
        made_up = [{"authorization": f"Bearer {new_key()}"} for _ in range(GUESSES)]
        answers = [http.get("/devices", headers=header) for header in made_up]
        honest = http.get("/devices")
    limited = [each for each in answers if each.status_code == httpx.codes.TOO_MANY_REQUESTS]
    return Seen(
        refused=bool(limited) and not any(each.is_success for each in answers),
        error=limited[0].text if limited else answers[-1].text,
        observed=f"{len(limited)} of {GUESSES} were not even looked at",
        accepted=honest.is_success,
    )


def _keys(ground: Ground, rival: Rival) -> Seen:
    listed = routes(ground)
    with ground.http(key=rival.key) as http:
        refusals = at_every_route(http, listed)
    with ground.http(key=ground.key) as http:
        honest = at_every_route(http, [each for each in listed if each[0] == "GET"])
    return _matrix(refusals, honest)


def _other_way(ground: Ground, rival: Rival) -> Seen:
    listed, get = routes(ground), [each for each in routes(ground) if each[0] == "GET"]
    with _client(rival, ground.key) as http:
        refusals = at_every_route(http, listed)
    with _client(rival, rival.key) as http:
        return _matrix(refusals, at_every_route(http, get))


def _matrix(refusals: list[httpx.Response], honest: list[httpx.Response]) -> Seen:
    closed = [each for each in refusals if each.status_code in (401, 403, 429)]
    return Seen(
        refused=len(closed) == len(refusals) > 10,
        error=refusals[0].text,
        observed=f"{len(closed)} of {len(refusals)} routes closed",
        accepted=all(each.status_code in (200, 404) for each in honest),
    )


def _client(rival: Rival, key: str) -> httpx.Client:
    import ssl

    return httpx.Client(
        base_url=f"https://{LOOPBACK}:{rival.ports[0]}/v1",
        headers={"authorization": f"Bearer {key}"},
        verify=ssl.create_default_context(cafile=str(rival.layout.ca)),
        trust_env=False,
    )


def _token(ground: Ground, rival: Rival) -> Seen:
    csr = certificate_request(ec.generate_private_key(ec.SECP256R1()))
    theirs = rival.client.create_token(device="crossing-1", fleet=YARD).token
    ours = ground.client.create_token(device="crossing-1", fleet=YARD).token
    with ground.http() as http:
        answer = http.post("/enrol", content=to_json(EnrolRequest(token=theirs, csr=csr)))
        honest = http.post("/enrol", content=to_json(EnrolRequest(token=ours, csr=csr)))
    return Seen(
        refused=400 <= answer.status_code < 500,
        error=answer.text,
        observed=f"status {answer.status_code}; the control's {honest.status_code}",
        accepted=honest.is_success,
    )


def _certificate(ground: Ground, rival: Rival) -> Seen:
    device, error = rival.device, ""
    papers = Papers(ca=ground.world.layout.ca, certificate=device.certificate_file, key=device.key_file)
    try:
        with Session(ground.port, papers, name="rival-1"):
            pass
    except RefusedError as refusal:
        error = str(refusal)
    ground.enrol("tenant-2", fleet=GUESTS)
    with ground.session("tenant-2") as honest:
        accepted = not honest.lost.is_set()
    return Seen(refused=bool(error), error=error, observed="a good certificate of the wrong tenant", accepted=accepted)


def _renewal(ground: Ground, rival: Rival) -> Seen:
    from edge.identity import renew

    key = ensure_key(rival.device.directory)
    csr, present = certificate_request(key), rival.device.certificate_file.read_text()
    asked = RenewRequest(certificate=present, csr=csr, signature=sign(key, renewal_statement(csr)))
    with ground.http() as http:
        answer = http.post("/renew", content=to_json(asked))
    accepted = True
    try:
        renew(ground.enrol("tenant-3", fleet=GUESTS), now=time.time)
    except HinterlandError:
        accepted = False
    return Seen(
        refused=400 <= answer.status_code < 500,
        error=answer.text,
        observed=f"status {answer.status_code}",
        accepted=accepted,
    )


def _files(rival: Rival, middle: Middle) -> Seen:
    before, since = middle.active, settled(middle, quiet_s=0.1)
    middle.show(rival.files())
    error = middle.refusal(since)
    kept = middle.active == before
    return Seen(
        refused=bool(error) and kept,
        error=error,
        observed=f"serves {middle.active} (before: {before})",
        accepted=middle.accepts(*middle.ship()),
    )
