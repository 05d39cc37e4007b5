"""Parsers that stand before trust: identities, signed metadata, model files, seals, tokens of people."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
from securesystemslib.signer import CryptoSigner

from tests.fuzz.runner import Target, text

AT = 1_767_225_600.0


def targets(place: Path) -> list[Target]:
    """All of them; `place` is an empty directory."""
    return [*_identities(place), *_models(), *_metadata(place), *_seals(place), *_people()]


def _identities(place: Path) -> list[Target]:
    from cloud.devices.authority import Authority, public_key
    from cloud.devices.enrolment import mint
    from cloud.release.sealed import Sealer
    from edge.identity.keys import certificate_request, ensure_key, sign
    from shared.enrolment import (
        EnrolAnswer,
        EnrolRequest,
        RenewAnswer,
        RenewRequest,
        encode_token,
        from_json,
        parse_token,
        renewal_statement,
        to_json,
    )  # fmt: skip

    key = ensure_key(place / "identity")
    csr = certificate_request(key)
    authority = Authority.create(place / "ca", name="acme", sealer=Sealer(b"p", cost=4), at=AT)
    certificate = authority.issue_device(csr, "watch-1", at=AT)
    token, _ = mint(
        identifier="t-1", secret=b"s" * 32, url="https://127.0.0.1:8443", ca_sha256="a" * 64, at=AT, lifetime=9
    )
    renewal = RenewRequest(certificate=certificate, csr=csr, signature=sign(key, renewal_statement(csr)))
    enrolment = EnrolRequest(token=encode_token(token), csr=csr, hardware=["cpu"], runtimes=["onnxruntime"])
    answer = EnrolAnswer(
        device="d", fleet="f", tenant="t", certificate=certificate, authority=certificate, root="{}", broker_host="h",
        broker_port=1,
    )  # fmt: skip

    def renew(data: bytes) -> None:
        request = from_json(data, RenewRequest)
        authority.check_renewal(request, at=AT + 5)
        public_key(request.csr)

    def enrol(data: bytes) -> None:
        request = from_json(data, EnrolRequest)
        parse_token(request.token)
        public_key(request.csr)

    der = base64.b64decode("".join(csr.strip().splitlines()[1:-1]))

    def raw(data: bytes) -> None:
        pem = base64.encodebytes(data).decode()
        public_key(f"-----BEGIN CERTIFICATE REQUEST-----\n{pem}-----END CERTIFICATE REQUEST-----\n")

    return [
        Target(name="csr-pem", parse=text(public_key), seeds=[csr.encode()], share=0.5),
        Target(name="csr-der", parse=raw, seeds=[der], share=0.5),
        Target(name="enrolment-token", parse=text(parse_token), seeds=[encode_token(token).encode()]),
        Target(name="enrol-request", parse=enrol, seeds=[to_json(enrolment)], share=0.5),
        Target(name="enrol-answer", parse=lambda data: from_json(data, EnrolAnswer), seeds=[to_json(answer)]),
        Target(name="renew-request", parse=renew, seeds=[to_json(renewal)], share=0.5),
        Target(name="renew-answer", parse=lambda data: from_json(data, RenewAnswer),
               seeds=[to_json(RenewAnswer(certificate=certificate))]),
    ]  # fmt: skip


def _models() -> list[Target]:
    from cloud.release.modelsig import public_pem, sign_models
    from shared.bundle import Runtime
    from shared.engine import Notes, pack_engine, read_engine
    from shared.modelfile import check_model
    from shared.safetensors import check_safetensors
    from shared.trust.modelsig import verify_bundle
    from tests.models import classifier, detector
    from tests.publishing import make_release

    header = json.dumps({
        "__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "F16", "shape": [2], "data_offsets": [24, 28]},
    }).encode()  # fmt: skip
    tensors = len(header).to_bytes(8, "little") + header + bytes(28)
    notes = Notes(runtime=Runtime.TENSORRT_RTX, precision="fp16", sm=86, version="1.7", source="0" * 64)
    probe = np.ones((2, 3), np.float32)
    engine = pack_engine(b"vtrt engine", notes, inputs=probe, answers=[probe, probe])
    signer = CryptoSigner.generate_ecdsa()
    signature = sign_models(make_release(1), signer).variants[0].signature
    keys = {signer.public_key.keyid: public_pem(signer.public_key)}
    verify_bundle(signature, keys=keys)
    return [
        Target(name="onnx", parse=check_model, seeds=[classifier(), detector()], share=1.5),
        Target(name="safetensors", parse=check_safetensors, seeds=[tensors]),
        Target(name="engine", parse=read_engine, seeds=[engine]),
        Target(name="model-signature", parse=text(lambda said: verify_bundle(said, keys=keys)),
               seeds=[signature.encode()], share=0.5),
    ]  # fmt: skip


def _metadata(place: Path) -> list[Target]:
    from shared.anchors import AUDIT, field_of, read_signed
    from shared.audit import Signed
    from shared.clock import VirtualClock
    from shared.errors import TransportError, TrustError
    from shared.trust import MemorySource, TrustClient
    from tests.publishing import Publisher

    publisher = Publisher(place / "repository")
    publisher.ship(1)
    publisher.repository._stamp = publisher.repository._commit._stamp = lambda: {AUDIT: field_of(1, "a" * 64)}
    publisher.ship(2)
    files = publisher.files()
    names = [name for name in files if name.startswith("metadata/")]
    signed = publisher.repository.signed()
    client = 0

    def refresh(data: bytes) -> None:
        """One file of a repository is what somebody on the way made of it."""
        nonlocal client
        client += 1
        name = names[client % len(names)]
        where = place / "devices" / str(client)
        try:
            reader = TrustClient(
                where,
                root=publisher.repository.root_bytes,
                source=MemorySource({**files, name: data}),
                clock=VirtualClock(),
            )
            reader.refresh()
            reader.desired("lab")
        except TransportError as error:
            raise TrustError(f"withheld: {error}") from error

    return [
        Target(name="tuf-metadata", parse=refresh, seeds=[files[name] for name in names], share=0.1),
        Target(
            name="tuf-timestamp",
            parse=text(lambda said: read_signed(Signed(timestamp=said, roots=signed.roots))),
            seeds=[signed.timestamp.encode(), signed.roots[0].encode()],
            share=0.5,
        ),
        Target(
            name="tuf-root",
            parse=text(lambda said: read_signed(Signed(timestamp=signed.timestamp, roots=[said]))),
            seeds=[signed.roots[0].encode(), signed.timestamp.encode()],
            share=0.5,
        ),
    ]


def _seals(place: Path) -> list[Target]:
    from cloud.release.attest.envelope import attest, open_attestation
    from cloud.release.attest.kinds import Kind
    from shared.attested import Attested, statement
    from shared.trust import inspect_slot, seal_slot
    from tests.publishing import MODEL_BYTES, make_release

    signer, release, slot = CryptoSigner.generate_ed25519(), make_release(1), place / "slot"
    predicate = {"metadata": {"finishedOn": "2026-01-01T00:00:00Z"}, "made": [1, 2]}
    envelope = attest(Kind.PROVENANCE, predicate, about={"cpu-int8.onnx": "a" * 64}, signer=signer)
    keys = {signer.public_key.keyid: signer.public_key}
    slot.mkdir()
    (slot / release.variants[0].name).write_bytes(MODEL_BYTES)
    seal_slot(slot, release=release, variant=release.variants[0])
    honest = {name: (slot / name).read_bytes() for name in ("slot.json", "manifest.json")}
    turn = 0

    def sealed(data: bytes) -> None:
        nonlocal turn
        turn += 1
        for name, held in honest.items():
            (slot / name).write_bytes(held)
        (slot / list(honest)[turn % 2]).write_bytes(data)
        inspect_slot(slot)

    return [
        Target(name="slot-seal", parse=sealed, seeds=list(honest.values()), share=0.3),
        Target(
            name="attestation",
            parse=text(lambda said: open_attestation(said, keys=keys)),
            seeds=[envelope.encode()],
            share=0.5,
        ),
        Target(
            name="attestation-shown",
            parse=text(lambda said: statement(Attested(kind="x", attestor="k", envelope=said, at=AT))),
            seeds=[envelope.encode()],
        ),
    ]


def _people() -> list[Target]:
    import httpx
    from joserfc import jwt
    from joserfc.jwk import ECKey, KeySet

    from cloud.access.oidc import Issuer, IssuerKeys, TokenDesk
    from shared.clock import VirtualClock
    from shared.errors import RefusedError, TransportError

    key = ECKey.generate_key("P-256", parameters={"kid": "k1", "use": "sig", "alg": "ES256"})
    published = [json.dumps(KeySet([key]).as_dict(private=False)).encode()]
    clock = VirtualClock()
    issuer = Issuer(url="https://issuer.example", audience="hinterland", keys_url="https://issuer.example/keys")
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, content=published[-1]))
    claims = {"iss": issuer.url, "aud": "hinterland", "exp": int(clock.now()) + 10**6, "sub": "ann", "tenant": "acme",
              "roles": ["admin"]}  # fmt: skip
    token = jwt.encode({"alg": "ES256", "kid": "k1"}, claims, key)
    desk = TokenDesk(issuer, IssuerKeys(issuer, clock=clock, transport=transport), clock=clock, tenant="acme")
    desk.principal(token)

    def parts(data: bytes) -> None:
        """A token is three documents in disguise: mutate the documents, not only their base64."""
        pieces = data.split(b"|", 1)
        body = [base64.urlsafe_b64encode(piece).rstrip(b"=").decode() for piece in pieces]
        desk.principal(".".join([*body, token.rpartition(".")[2]]))

    def jwks(data: bytes) -> None:
        published.append(data)
        clock.advance(10**5)
        try:
            desk.principal(token)
        except TransportError as error:
            raise RefusedError(str(error)) from error
        finally:
            published.pop()

    opened = json.dumps({"alg": "ES256", "kid": "k1"}).encode() + b"|" + json.dumps(claims).encode()
    return [
        Target(name="jwt", parse=text(desk.principal), seeds=[token.encode()], share=0.3),
        Target(name="jwt-opened", parse=parts, seeds=[opened], share=0.3),
        Target(name="jwks", parse=jwks, seeds=[published[0]], share=0.2),
    ]
