"""Where everything lies in a coordinator's directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cloud.devices.broker import BrokerFiles


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one directory.

    coordinator.toml   settings                  ca/       authority, sealed key
    cli.toml           profile for operators     keys/     signing keys, sealed; passphrase
    db.sqlite          state                     tls/      certificates of our own servers and clients
    blobs/             bytes of the releases     broker/   what mosquitto reads
    runs/              one directory a run       superlink/  Flower's database, control token
    jobs/              one directory a central job   data/   data sets of the company's own
    tuf/               signed metadata            admission.toml  what a release must have
    """

    directory: Path

    @property
    def settings(self) -> Path:
        """Settings, TOML."""
        return self.directory / "coordinator.toml"

    @property
    def profile(self) -> Path:
        """Profile of the operators' command line, with the first API key; mode 0600."""
        return self.directory / "cli.toml"

    @property
    def admission(self) -> Path:
        """What a release must have before it is published, TOML."""
        return self.directory / "admission.toml"

    @property
    def policy(self) -> Path:
        """Who may do what, Cedar."""
        return self.directory / "policy.cedar"

    @property
    def lock(self) -> Path:
        """Held by the process that works on this directory."""
        return self.directory / "lock"

    def replica_lock(self, name: str) -> Path:
        """Held by the replica of that name, beside its share of `lock`."""
        return self.directory / f"lock-{name}"

    @property
    def database(self) -> Path:
        """SQLite file."""
        return self.directory / "db.sqlite"

    @property
    def anchors(self) -> Path:
        """Heads of the audit log, one a line; the settings may name a file elsewhere."""
        return self.directory / "audit-anchors.jsonl"

    @property
    def blobs(self) -> Path:
        """Content-addressed files."""
        return self.directory / "blobs"

    @property
    def runs(self) -> Path:
        """A directory for each federated run."""
        return self.directory / "runs"

    @property
    def jobs(self) -> Path:
        """A directory for each central job."""
        return self.directory / "jobs"

    @property
    def data(self) -> Path:
        """Data sets of the company's own, unless the settings name another directory."""
        return self.directory / "data"

    @property
    def tuf(self) -> Path:
        """The tenant's TUF repository."""
        return self.directory / "tuf"

    @property
    def keys(self) -> Path:
        """Sealed signing keys; `offline/` can be carried away."""
        return self.directory / "keys"

    @property
    def passphrase(self) -> Path:
        """Opens all sealed keys, unless the settings name another file."""
        return self.keys / "passphrase"

    @property
    def authority(self) -> Path:
        """The certificate authority."""
        return self.directory / "ca"

    @property
    def ca(self) -> Path:
        """The authority's certificate, PEM."""
        return self.authority / "ca.crt"

    @property
    def control_token(self) -> Path:
        """Opens every door of the SuperLink; mode 0600."""
        return self.directory / "superlink" / "control-token"

    @property
    def superlink_database(self) -> Path:
        """Flower's own state."""
        return self.directory / "superlink" / "flower.sqlite"

    @property
    def broker_config(self) -> Path:
        """`mosquitto -c` this."""
        return self.directory / "broker" / "mosquitto.conf"

    @property
    def broker_pid(self) -> Path:
        """Written by the broker; its access list is read again on SIGHUP."""
        return self.directory / "broker" / "mosquitto.pid"

    @property
    def broker(self) -> BrokerFiles:
        """What the broker reads."""
        place = self.directory / "broker"
        return BrokerFiles(
            ca=self.ca,
            certificate=self.certificate("broker"),
            key=self.key("broker"),
            access=place / "access",
            revoked=place / "revoked.pem",
            data=place / "data",
            pid=self.broker_pid,
        )

    def certificate(self, name: str) -> Path:
        """Certificate of one of our own: `api`, `broker`, `superlink`, `coordinator` (at the broker), `operator`."""
        return self.directory / "tls" / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Its private key, mode 0600."""
        return self.directory / "tls" / f"{name}.key"
