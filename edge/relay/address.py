"""Where a relay listens."""

from __future__ import annotations

import re
from typing import NamedTuple

from shared.errors import RefusedError

PATTERN = r"^(\[[0-9A-Fa-f:.]+(%\w+)?\]|[\w.-]+):[1-9]\d{0,4}$"
"""`host:port`; an IPv6 address stands in brackets."""


class Address(NamedTuple):
    """A host and a TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `host:port`.

        Raises:
            RefusedError: it is none.
        """
        host, _, port = text.rpartition(":")
        if not re.fullmatch(PATTERN, text, flags=re.ASCII) or int(port) > 65_535:
            raise RefusedError(f"{text[:80]!r} is no address of a relay", hint="Write it as 192.168.1.5:8890.")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
