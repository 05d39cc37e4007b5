"""Family `enrol`: tokens used twice, late, or made up, and requests for certificates that want more than a device's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.identity import enrol
from edge.identity.keys import certificate_request, sign
from shared.enrolment import EnrolRequest, RenewRequest, encode_token, parse_token, renewal_statement, to_json
from shared.errors import HinterlandError
from simulations.scenarios.attacks.ground import GUESTS, Ground
from simulations.scenarios.attacks.row import Attack, Seen, Threat
from simulations.scenarios.attacks.session import came

AT_ONCE = 50
SHORT_S = 0.3

Key = ec.EllipticCurvePrivateKey


def attacks(ground: Ground) -> Iterator[Attack]:
    """Each begins with tokens of its own."""
    yield Attack(
        name="token-reuse-50-at-once",
        threat=Threat.TOKEN,
        victim="coordinator",
        done=f"sent one token with {AT_ONCE} different keys at the same moment over HTTPS",
        control="one of them, whoever was first, is enrolled",
        act=lambda: _all_at_once(ground),
    )
    for name, done, spoil in _tokens(ground):
        yield Attack(
            name=name,
            threat=Threat.TOKEN,
            victim="coordinator",
            done=done,
            control="a fresh token: enrolled",
            act=_spending(ground, name, spoil),
        )
    yield Attack(
        name="wrong-authority",
        threat=Threat.TOKEN,
        victim="device",
        done="gave a device a token with the fingerprint of another authority, as if somebody listened in",
        control="the same token with the right fingerprint: enrolled",
        act=lambda: _wrong_authority(ground),
    )
    for name, done, make in _requests():
        yield Attack(
            name=name,
            threat=Threat.CSR,
            victim="coordinator",
            done=done,
            control="a plain request with the same token: a certificate for the device alone",
            act=_requesting(ground, name, make),
        )
    yield Attack(
        name="renewal-by-another-key",
        threat=Threat.CSR,
        victim="coordinator",
        done="asked for the renewal of another device's certificate, signed with a key of the attacker's",
        control="the device itself renews",
        act=lambda: _renew(ground),
    )


def _all_at_once(ground: Ground) -> Seen:
    token = ground.client.create_token(device="reuse-1", fleet=GUESTS).token
    barrier = Barrier(AT_ONCE)

    def try_it(_number: int) -> httpx.Response:
        csr = certificate_request(ec.generate_private_key(ec.SECP256R1()))
        with ground.http() as http:
            http.get("/health")  # the handshake is over before the race begins
            barrier.wait(60)
            return _enrol(http, token, csr)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(try_it, range(AT_ONCE)))
    won = [answer for answer in answers if answer.status_code == httpx.codes.OK]
    lost = [answer for answer in answers if answer.status_code != httpx.codes.OK]
    return Seen(
        refused=len(won) <= 1 and all(400 <= answer.status_code < 500 for answer in lost),
        error=lost[0].text if lost else "",
        observed=f"{len(won)} of {AT_ONCE} enrolled, {len(lost)} refused",
        accepted=len(won) == 1,
    )


Spoil = Callable[[], str]


def _tokens(ground: Ground) -> Iterator[tuple[str, str, Spoil]]:
    def fresh(**options: Any) -> str:
        return ground.client.create_token(fleet=GUESTS, **options).token

    def used() -> str:
        token = fresh(device="used-1")
        with ground.http() as http:
            _enrol(http, token, certificate_request(ec.generate_private_key(ec.SECP256R1()))).raise_for_status()
        return token

    def expired() -> str:
        token = fresh(ttl_s=SHORT_S)
        came(lambda: False, within_s=SHORT_S + 0.1)
        return token

    def altered(**fields: Any) -> str:
        return encode_token(msgspec.structs.replace(parse_token(fresh()), **fields))

    yield "used-token", "used a token again that another key had used", used
    yield "expired-token", "used a token after its time", expired
    yield (
        "late-by-its-own-words",
        "said in an expired token that it had not expired",
        lambda: encode_token(msgspec.structs.replace(parse_token(expired()), expires=2**40)),
    )
    yield "guessed-secret", "used a known token's name with a guessed secret", lambda: altered(secret="A" * 43)
    yield "unknown-token", "made a token up", lambda: altered(id="t-0000000000000000")


def _spending(ground: Ground, name: str, spoil: Spoil) -> Callable[[], Seen]:
    def act() -> Seen:
        csr = certificate_request(ec.generate_private_key(ec.SECP256R1()))
        token, fresh = spoil(), ground.client.create_token(device=f"spend-{name}"[:60], fleet=GUESTS).token
        with ground.http() as http:
            answer, honest = _enrol(http, token, csr), _enrol(http, fresh, csr)
        return Seen(
            refused=400 <= answer.status_code < 500,
            error=answer.text,
            observed=f"status {answer.status_code}; the control's {honest.status_code}",
            accepted=honest.status_code == httpx.codes.OK,
        )

    return act


def _wrong_authority(ground: Ground) -> Seen:
    token = parse_token(ground.client.create_token(device="pinned-1", fleet=GUESTS).token)
    wrong = msgspec.structs.replace(token, ca_sha256="0" * 64)
    place, error = ground.world.directory / "pinned", ""
    try:
        _as_device(place, encode_token(wrong))
    except HinterlandError as refusal:
        error = f"{refusal.code}: {refusal}"
    identity = _as_device(place, encode_token(token))
    return Seen(
        refused=bool(error), error=error, observed="nothing was sent to it", accepted=identity.device == "pinned-1"
    )


def _as_device(place: Path, token: str) -> Any:
    return enrol(place, token=token, hardware=["cpu"], runtimes=["onnxruntime"])


Made = Callable[[], tuple[str, Any]]
"""→ (request, public key it is for)"""


def _requests() -> Iterator[tuple[str, str, Made]]:
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    names = x509.SubjectAlternativeName([x509.DNSName("coordinator"), x509.DNSName("honest-1")])
    yield "csr-name-coordinator", "asked to be called coordinator", lambda: _request(name="coordinator")
    yield "csr-name-of-another", "asked to be called honest-1", lambda: _request(name="honest-1")
    yield "csr-authority", "asked for a certificate that signs certificates", lambda: _request(constraints)
    yield "csr-server", "asked for a server's certificate", lambda: _request(usage)
    yield (
        "csr-alternative-names",
        "asked for the names coordinator and honest-1 beside its own",
        lambda: _request(names),
    )
    yield (
        "csr-rsa-key",
        "asked with an RSA key",
        lambda: _request(key=rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    )
    yield (
        "csr-p384-key",
        "asked with a key on another curve",
        lambda: _request(key=ec.generate_private_key(ec.SECP384R1())),
    )
    yield "csr-not-its-key", "asked with another's public key, whose private half it does not hold", _unproven
    yield (
        "csr-oversized",
        "asked with a request of 40 KB",
        lambda: _request(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\xff" * 40_000)),
    )


def _requesting(ground: Ground, name: str, make: Made) -> Callable[[], Seen]:
    def act() -> Seen:
        device = f"guest-{name}"
        token = ground.client.create_token(device=device, fleet=GUESTS).token
        csr, _ = make()
        with ground.http() as http:
            answer = _enrol(http, token, csr)
            plain = ground.client.create_token(device=f"plain-{name}", fleet=GUESTS).token
            honest = _enrol(http, plain, certificate_request(ec.generate_private_key(ec.SECP256R1())))
        got = _powers(answer) if answer.status_code == httpx.codes.OK else []
        return Seen(
            refused=got in ([], [f"CN={device}", "client"]),
            error="" if got else answer.text,
            observed=f"what it asked for was left out: {', '.join(got)}" if got else f"status {answer.status_code}",
            accepted=honest.status_code == httpx.codes.OK and _powers(honest) == [f"CN=plain-{name}", "client"],
        )

    return act


def _powers(answer: httpx.Response) -> list[str]:
    """What a certificate lets its holder be."""
    certificate = x509.load_pem_x509_certificate(json.loads(answer.text)["certificate"].encode())
    found = [certificate.subject.rfc4514_string()]
    for extension in certificate.extensions:
        match extension.value:
            case x509.BasicConstraints(ca=True):
                found.append("authority")
            case x509.SubjectAlternativeName():
                found.append("other names")
            case x509.KeyUsage(key_cert_sign=True):
                found.append("signs certificates")
            case x509.ExtendedKeyUsage() as usages:
                found += [
                    "client" if each == ExtendedKeyUsageOID.CLIENT_AUTH else each.dotted_string for each in usages
                ]
            case _:
                pass
    return found


def _request(*extensions: x509.ExtensionType, name: str = "guest", key: Any = None) -> tuple[str, Any]:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode(), key.public_key()


def _unproven() -> tuple[str, Any]:
    csr, key = _request()
    der = x509.load_pem_x509_csr(csr.encode()).public_bytes(Encoding.DER)
    broken = der[:-4] + bytes(byte ^ 1 for byte in der[-4:])
    return x509.load_der_x509_csr(broken).public_bytes(Encoding.PEM).decode(), key


def _renew(ground: Ground) -> Seen:
    victim = ground.enrol("renewed-1", fleet=GUESTS)
    thief = ec.generate_private_key(ec.SECP256R1())
    csr = certificate_request(thief)
    present = victim.certificate_file.read_text()
    forged = RenewRequest(certificate=present, csr=csr, signature=sign(thief, renewal_statement(csr)))
    with ground.http() as http:
        answer = http.post("/renew", content=to_json(forged))
    error, accepted = answer.text, True
    from edge.identity import renew

    renew(victim, now=time.time)
    accepted = victim.certificate_file.read_text() != present
    return Seen(
        refused=400 <= answer.status_code < 500,
        error=error,
        observed=f"status {answer.status_code}",
        accepted=accepted,
    )


def _enrol(http: httpx.Client, token: str, csr: str, facts: Sequence[str] = ("cpu",)) -> httpx.Response:
    return http.post("/enrol", content=to_json(EnrolRequest(token=token, csr=csr, hardware=list(facts))))
