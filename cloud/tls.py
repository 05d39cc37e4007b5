"""Certificates of our own servers and clients: renewed while they run, and taken up without a restart.

The coordinator issues them (`cloud.setup.fit_certificates`). Its API and the SuperLink notice new files by themselves;
mosquitto (2.0) reads its certificate, key and revocation list again on SIGHUP; the coordinator's own session with the
broker is opened anew. Sessions that are open go on under the certificate they began with.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from cryptography import x509

from cloud.layout import Layout
from shared.durable import read_if_present

log = logging.getLogger(__name__)

LOOK_S = 30.0
"""Seconds between looks at a server's files."""

SOON_DAYS = 14.0
"""Renewal comes at half of a life of 90 days; with so few left it has failed for a month."""

OURS = ("api", "broker", "superlink", "coordinator", "operator")


class LiveContext:
    """A server's TLS context that follows its certificate file."""

    def __init__(self, context: ssl.SSLContext, *, certificate: Path, key: Path) -> None:
        self._context = context
        self._certificate = certificate
        self._key = key
        self._loaded = read_if_present(certificate)

    def follow_once(self) -> bool:
        """Take a new certificate up for all handshakes from now on; whether there was one."""
        found = read_if_present(self._certificate)
        if found == self._loaded:
            return False
        try:
            # on another context first: a key that does not fit would leave this one without any
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key)
            self._context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            log.warning("%s was not taken up: %s", self._certificate, error)
            return False
        self._loaded = found
        log.info("%s was taken up", self._certificate)
        return True

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self.follow_once)

    def follow_in_background(self) -> None:
        """Follow for as long as this process lives, for servers that own their event loop."""
        stopped = threading.Event()

        def follow() -> None:
            while not stopped.wait(LOOK_S):
                self.follow_once()

        threading.Thread(target=follow, name="certificate", daemon=True).start()


class CertificateKeeper:
    """Renews what is due and has it taken up."""

    def __init__(self, fit: Callable[[], list[str]], *, taken_up_by: Mapping[str, Callable[[], None]]) -> None:
        """`fit` issues what is due and says what; `taken_up_by` maps what it says to who must hear of it."""
        self._fit = fit
        self._taken_up_by = taken_up_by

    def __call__(self) -> None:
        """One look."""
        for made in self._fit():
            log.info("made: %s", made)
            self._taken_up_by.get(made, lambda: None)()


def days_left(layout: Layout, *, at: float) -> dict[str, float]:
    """Days until each of our certificates ends, the authority's among them."""
    files = {name: layout.certificate(name) for name in OURS} | {"authority": layout.ca}
    found = {}
    for name, file in files.items():
        with suppress(ValueError):
            held = x509.load_pem_x509_certificate(read_if_present(file) or b"")
            found[name] = round((held.not_valid_after_utc.timestamp() - at) / 86_400, 1)
    return found


def verdict(left: Mapping[str, float]) -> str:
    """`ok`, or which certificates are about to end."""
    ending = [f"{name} ends in {days:.0f} days" for name, days in sorted(left.items()) if days < SOON_DAYS]
    return "; ".join(ending) or "ok"
