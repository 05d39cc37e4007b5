"""A mosquitto of our own on loopback: found, configured, started, reloaded, stopped."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import sys
from pathlib import Path

from cloud.devices.broker import BrokerFiles, render_config
from shared.errors import RefusedError
from simulations.world.ports import answers, require_free
from simulations.world.process import Process

READY_S = 60.0


def find_mosquitto(setup: Path | None = None) -> Path:
    """The broker's executable: under a set-up directory, on PATH, or where Debian puts it.

    Args:
        setup: directory into which the Debian packages may have been unpacked with `dpkg -x`.

    Raises:
        RefusedError: there is none.
    """
    unpacked = [str(setup / "usr/sbin/mosquitto")] if setup else []
    beside = str(Path(sys.executable).with_name("mosquitto"))  # where `make setup` puts it without root
    for candidate in [*unpacked, beside, "mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"]:
        if found := shutil.which(candidate):
            return Path(found)
    raise RefusedError(
        "the MQTT broker mosquitto is not installed",
        hint="Run `make setup`, or as root `apt-get install mosquitto`.",
    )


class Broker:
    """One mosquitto process; it takes only mutual TLS."""

    def __init__(
        self, directory: Path, files: BrokerFiles, *, port: int, executable: Path, guarded: bool = True
    ) -> None:
        """Take where it lives; unless `guarded`, whoever has a certificate may speak for anybody: for simulations in
        which one session stands for a crowd.
        """
        self.port = port
        self._guarded = guarded
        self._config = directory / "mosquitto.conf"
        self._files = files
        self._process = Process(
            "mosquitto", [str(executable), "-c", str(self._config)], logs=directory, env=_libraries(executable)
        )

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid

    def start(self) -> None:
        """Write the configuration, start, and wait until the port answers.

        Raises:
            RefusedError: the port is in use.
            FaultError: it did not start; the message carries the end of its log.
        """
        require_free([self.port])
        self._config.parent.mkdir(parents=True, exist_ok=True)
        config = render_config(self._files, port=self.port, user=_account())
        self._config.write_text(config if self._guarded else _unguarded(config))
        self._process.start()
        self._process.wait_until(lambda: answers(self.port), within_s=READY_S)

    def reload(self) -> None:
        """Have the access list and the revocation list read again."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGHUP)

    def stop(self) -> None:
        """End it in good order."""
        self._process.stop()

    def kill(self) -> None:
        """`kill -9`: what it had acknowledged but not stored is gone."""
        self._process.kill()


def _unguarded(config: str) -> str:
    return "".join(line for line in config.splitlines(keepends=True) if not line.startswith("acl_file"))


def _account() -> str:
    """Our own account, which can read our own files; mosquitto looks at it only when it is root."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return "nobody"


def _libraries(executable: Path) -> dict[str, str]:
    """Where an unpacked mosquitto finds the libraries unpacked beside it."""
    root = executable.parents[2]
    found = sorted({str(path.parent) for path in root.glob("usr/lib/*/lib*.so*")}) if root != Path("/") else []
    known = os.environ.get("LD_LIBRARY_PATH", "")
    return {"LD_LIBRARY_PATH": ":".join([*found, *([known] if known else [])])} if found else {}
