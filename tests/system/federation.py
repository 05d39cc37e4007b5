"""A real federation on loopback for system tests: certificates, a SuperLink, node processes over small data."""

from __future__ import annotations

import datetime
import ipaddress
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.training.control import FlowerControl, SuperLinkAddress
from cloud.training.spec import Member
from shared.task import Examples
from simulations.world.ports import free_ports

TOKEN = "a-control-token-of-the-tests-0123456789abcdef"


def make_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key, as a device does, and write it."""
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return key


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def make_certificates(directory: Path) -> None:
    """Write ca.pem, server.pem and server.key for 127.0.0.1."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = make_key(directory / "ca.key")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
    ca = _certificate(authority, name).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    signed = ca.sign(authority, hashes.SHA256())
    (directory / "ca.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key = make_key(directory / "server.key")
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "superlink")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = _certificate(key, name, subject=subject).add_extension(names, critical=False)
    chain = server.sign(authority, hashes.SHA256())
    (directory / "server.pem").write_bytes(chain.public_bytes(serialization.Encoding.PEM))


def _certificate(
    key: ec.EllipticCurvePrivateKey, issuer: x509.Name, *, subject: x509.Name | None = None
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject or issuer)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


class Federation:
    """A SuperLink and its nodes under `directory`; `stop` ends every process that was started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (self.port,) = free_ports(1)
        make_certificates(directory / "tls")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.nodes: dict[str, int] = {}

    @property
    def address(self) -> SuperLinkAddress:
        ca = self.directory / "tls" / "ca.pem"
        return SuperLinkAddress(address=f"127.0.0.1:{self.port}", ca=ca, control_token=TOKEN)

    def start_superlink(self) -> None:
        tls = self.directory / "tls"
        self._start(
            "superlink",
            "from pathlib import Path; from cloud.training.superlink import SuperLinkSettings, serve;"
            f"t = Path({str(tls)!r});"
            f"serve(SuperLinkSettings(host='127.0.0.1', port={self.port}, certificate=t / 'server.pem',"
            f" key=t / 'server.key', ca=t / 'ca.pem', database=Path({str(self.directory / 'superlink.sqlite')!r}),"
            f" control_token={TOKEN!r}))",
        )
        deadline = time.monotonic() + 180
        while True:
            try:
                if httpx.get(f"https://127.0.0.1:{self.port}/health", verify=self.trust()).status_code == 200:
                    return
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def trust(self):
        import ssl

        return ssl.create_default_context(cafile=str(self.directory / "tls" / "ca.pem"))

    def enrol(self, device: str, task: str, training: Examples, holdout: Examples) -> Member:
        """Give a device its key and data, and register its node."""
        home = self.directory / device
        split = home / "data" / task
        split.mkdir(parents=True, exist_ok=True)
        np.savez(split / "train.npz", x=training.x, y=training.y)
        np.savez(split / "holdout.npz", x=holdout.x, y=holdout.y)
        self.keys[device] = make_key(home / "node.key")
        control = FlowerControl(self.address)
        try:
            self.nodes[device] = control.register_node(public_pem(self.keys[device]))
        finally:
            control.close()
        return Member(device=device, node=self.nodes[device])

    def start_trainer(self, device: str) -> None:
        home, ca = self.directory / device, self.directory / "tls" / "ca.pem"
        self._start(
            device,
            "from pathlib import Path; from edge.training.trainer import TrainerSettings, run_trainer;"
            f"run_trainer(TrainerSettings(device={device!r}, superlink='127.0.0.1:{self.port}', ca=Path({str(ca)!r}),"
            f" key=Path({str(home / 'node.key')!r}), data=Path({str(home / 'data')!r})))",
        )

    def start_job(self, run: Path, name: str = "job") -> subprocess.Popen[bytes]:
        address = self.address
        return self._start(
            name,
            "from pathlib import Path; from cloud.training.control import SuperLinkAddress;"
            "from cloud.training.job import run_job;"
            f"run_job(Path({str(run)!r}), SuperLinkAddress(address={address.address!r},"
            f" ca=Path({str(address.ca)!r}), control_token={TOKEN!r}))",
        )

    def log_of(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    def stop(self, names: Sequence[str] | None = None) -> None:
        chosen = [self.processes.pop(name) for name in names or list(self.processes)]
        for process in chosen:
            process.terminate()
        for process in chosen:
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def _start(self, name: str, code: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=subprocess.STDOUT)
        self.processes[name] = process
        return process
