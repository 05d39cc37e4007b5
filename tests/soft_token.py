"""A PKCS#11 token without hardware: SoftHSM 2, in a directory of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from cloud.release.pkcs11 import Pin, Pkcs11Keys, Token
from simulations.bootstrap.debian import find

PLACES = ("usr/lib/softhsm/libsofthsm2.so", "usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")


def find_module() -> Path:
    """The library; `make setup` installs it, or unpacks it under the environment."""
    for root in (Path("/"), Path(sys.prefix) / "unpacked"):
        for place in PLACES:
            if (root / place).exists():
                return root / place
    raise AssertionError("softhsm2 is not installed: run `make setup`")


class SoftToken:
    """One token and its PIN; the process that makes it sees it through SOFTHSM2_CONF."""

    pin = "47110815"

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "tokens").mkdir()
        config = directory / "softhsm2.conf"
        config.write_text(f"directories.tokendir = {directory / 'tokens'}\nlog.level = ERROR\n")
        self.environment = {**os.environ, "SOFTHSM2_CONF": str(config)}
        self.module = find_module()
        self.directory = directory
        self.slot = self.add("hinterland")

    def add(self, label: str) -> int:
        """Another token; its slot."""
        command = find("softhsm2-util", home=Path(sys.prefix))
        assert command is not None, "softhsm2 is not installed: run `make setup`"
        token = ["--init-token", "--free", "--label", label, "--so-pin", "567890", "--pin", self.pin]
        argv = [str(command), "--module", str(self.module), *token]  # unpacked without root, it is not where it looks
        said = subprocess.run(argv, env=self.environment, check=True, capture_output=True, text=True).stdout
        found = re.search(r"slot (\d+)", said)
        assert found, said
        return int(found[1])

    def ring(self, label: str = "hinterland", *, slot: int = -1, pin: Pin | None = None) -> Pkcs11Keys:
        return Pkcs11Keys(Token(self.module, label, slot), pin=pin or (lambda _: self.pin))
