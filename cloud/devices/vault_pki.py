"""A Vault's or OpenBao's PKI engine as the authority: its key never leaves the server, its roles bound what we can get.

Which certificates count is decided by the coordinator's database, so the server is asked to sign our list; the list
that the engine keeps by itself is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloud.devices.issuers import Leaf
from cloud.devices.profiles import host_names
from cloud.vault import Vault
from shared.clock import utc
from shared.durable import read_if_present, write_atomic
from shared.errors import FaultError, RefusedError

T = TypeVar("T")


class VaultIssuer:
    """One PKI mount, with the roles `device`, `server` and `client`."""

    def __init__(self, vault: Vault, *, mount: str, certificate: x509.Certificate) -> None:
        """Use `adopt` or `open`."""
        self._vault = vault
        self._mount = mount
        self._certificate = certificate

    @classmethod
    def adopt(cls, directory: Path, *, vault: Vault, mount: str) -> VaultIssuer:
        """Note the server's authority in `directory`: from now on it is the one that tokens and devices name.

        Raises:
            RefusedError: the mount has none, or another authority is in force here.
            TransportError: the server does not answer.
        """
        found = _certificate(vault, mount)
        held = read_if_present(directory / "ca.crt")
        if held is not None and x509.load_pem_x509_certificate(held) != found:
            raise RefusedError(
                f"{directory} names another authority than {vault.url} has at {mount}",
                hint="Devices believe the old one: keep it, or begin a new directory and enrol them again.",
            )
        write_atomic(directory / "ca.crt", found.public_bytes(Encoding.PEM))
        return cls(vault, mount=mount, certificate=found)

    @classmethod
    def open(cls, directory: Path, *, vault: Vault, mount: str) -> VaultIssuer:
        """Open the authority that `directory` names; the server may be away.

        Raises:
            FaultError: the directory names none.
        """
        held = read_if_present(directory / "ca.crt")
        if held is None:
            raise FaultError(f"{directory} holds no authority", hint="Run `hinterland-coordinator init`.")
        return cls(vault, mount=mount, certificate=x509.load_pem_x509_certificate(held))

    @property
    def certificate(self) -> x509.Certificate:
        return self._certificate

    def certify(self, wanted: Leaf, *, at: float) -> x509.Certificate:
        names, addresses = host_names(wanted.hosts)
        role = "server" if wanted.usage == ExtendedKeyUsageOID.SERVER_AUTH else "client" if wanted.ours else "device"
        question = {
            "csr": wanted.request.public_bytes(Encoding.PEM).decode(),
            "common_name": wanted.name,
            "exclude_cn_from_sans": True,
            "alt_names": ",".join(names),
            "ip_sans": ",".join(addresses),
            "ttl": f"{int(wanted.lifetime)}s",
        }
        answer = self._ask(f"sign/{role}", question, what=f"certify {wanted.name}")
        return x509.load_pem_x509_certificate(str(answer["certificate"]).encode())

    def revoke(
        self, revoked: Mapping[int, float], *, at: float, lifetime: float, number: int
    ) -> x509.CertificateRevocationList:
        entries = [
            {"serial_number": _colons(serial), "revocation_time": utc(since).isoformat(timespec="seconds")}
            for serial, since in sorted(revoked.items())
        ]
        question = {
            "crl_number": number,
            "next_update": f"{int(lifetime)}s",
            "format": "pem",
            "revoked_certs": entries,
            "extensions": [],
        }
        answer = self._ask("issuer/default/sign-revocation-list", question, what="sign a revocation list")
        return x509.load_pem_x509_crl(str(answer["crl"]).encode())

    def _ask(self, path: str, question: dict[str, Any], *, what: str) -> dict[str, Any]:
        return _found(
            self._vault,
            self._mount,
            lambda client: dict(client.write_data(f"{self._mount}/{path}", data=question)["data"]),
            what=what,
        )


def _certificate(vault: Vault, mount: str) -> x509.Certificate:
    pem = _found(
        vault,
        mount,
        lambda client: str(client.read(f"{mount}/cert/ca")["data"]["certificate"]),
        what="read its authority",
    )
    return x509.load_pem_x509_certificate(pem.encode())


def _found(vault: Vault, mount: str, question: Callable[[Any], T], *, what: str) -> T:
    try:
        return vault.ask(question, what=what)
    except (LookupError, TypeError, ValueError) as error:
        raise RefusedError(
            f"{vault.url} has no authority at {mount}",
            hint="Make it as docs/operators.md shows, or correct `pki_mount`.",
        ) from error


def _colons(serial: int) -> str:
    """`1a:2b`, as the engine writes serial numbers."""
    return serial.to_bytes((serial.bit_length() + 7) // 8, "big").hex(":")
