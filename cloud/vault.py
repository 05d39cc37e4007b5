"""The way to a Vault or OpenBao server: login by AppRole, errors in our own words, and no waiting on a dead one.

What it guards (signing keys, the certificate authority, small secrets) is asked for through `ask`. Whatever the
server does, sealed, gone, slow, or of another opinion about our rights, comes out as one of our errors, so that
the step that needed it fails whole and is taken again later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from shared.clock import Clock
from shared.durable import read_if_present
from shared.errors import RefusedError, TransportError, TrustError

T = TypeVar("T")

REFERENCE = "vault:"
"""Before a path and a field in a key-value store, for example `vault:secret/hinterland#passphrase`."""

RENEW_AT = 0.5
"""Share of a login's life after which it is renewed: the rest is time for a server that is away to come back."""

MAX_RESPITE_S = 2.0
"""Longest time for which a server that did not answer is not asked again."""


class VaultAddress(NamedTuple):
    """Where a server is, and who we are there."""

    url: str
    """For example `https://vault.example:8200`."""

    role_id: Path
    """File with the role id of an AppRole."""

    secret_id: Path
    """File with its secret id; mode 0600."""

    ca: Path | None = None
    """Who vouches for the server's certificate, PEM; the system's authorities when None."""

    namespace: str = ""
    login_mount: str = "approle"
    deadline_s: float = 5.0
    """For a connection, and again for each answer."""


class Vault:
    """One server, logged in when that is first needed; safe from several threads."""

    def __init__(self, address: VaultAddress, *, clock: Clock) -> None:
        """Nothing is asked for yet: a coordinator starts while its server is sealed."""
        self._address = address
        self._clock = clock
        self._lock = threading.RLock()
        self._client: Any = None
        self._renew_at = float("-inf")
        self._ends_at = float("-inf")
        self._quiet: tuple[float, TransportError] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return self._address.url

    def ask(self, question: Callable[[Any], T], *, what: str) -> T:
        """Put a question to the server.

        Args:
            question: gets a logged-in `hvac.Client`.
            what: the purpose, for messages.

        Raises:
            LookupError: there is no such thing.
            TransportError: sealed, unreachable or too slow.
            RefusedError: our rights or its rules do not allow it.
            TrustError: the server's certificate is not by the authority that was named.
        """
        from hvac.exceptions import Forbidden

        with self._lock:
            self._spare_the_silent()
            self._understood(self._ensure_login, what="log in")
            try:
                return self._understood(lambda: question(self._client), what=what)
            except RefusedError as error:
                if not isinstance(error.__cause__, Forbidden):
                    raise
                # a token that was revoked and a right that is missing look the same: a new login tells them apart
                self._understood(self._login, what="log in")
                return self._understood(lambda: question(self._client), what=what)

    def secret(self, reference: str) -> str:
        """A small secret of a key-value store, version 2, as `vault:<mount>/<path>#<field>` names it.

        Raises:
            RefusedError: it is not there, or we may not read it.
            TransportError: the server does not answer.
        """
        place, _, field = reference.removeprefix(REFERENCE).partition("#")
        mount, _, path = place.partition("/")
        hint = f"Write it: `bao kv put -mount={mount} {path} {field}=…`; see the keys in docs/operators.md."
        try:
            answer = self.ask(lambda client: client.read(f"{mount}/data/{path}"), what=f"read {place}")
            return str(answer["data"]["data"][field])
        except (LookupError, TypeError) as error:
            raise RefusedError(f"there is no secret {place}#{field} in {self.url}", hint=hint) from error

    def _spare_the_silent(self) -> None:
        """Every question of one operation would wait its whole deadline on a server that just did not answer."""
        if self._quiet is not None and self._clock.monotonic() < self._quiet[0]:
            raise TransportError(str(self._quiet[1]), hint=self._quiet[1].hint)

    def _ensure_login(self) -> None:
        at = self._clock.monotonic()
        if self._client is None or at >= self._ends_at:
            self._login()
        elif at >= self._renew_at:
            from hvac.exceptions import VaultError

            try:
                self._lasting(self._client.auth.token.renew_self()["auth"])
            except VaultError:
                self._login()

    def _login(self) -> None:
        address, client = self._address, self._connection()
        auth = client.auth.approle.login(
            _credential(address.role_id), _credential(address.secret_id), mount_point=address.login_mount
        )["auth"]
        self._client = client
        self._lasting(auth)

    def _lasting(self, auth: dict[str, Any]) -> None:
        lifetime, at = float(auth["lease_duration"]) or float("inf"), self._clock.monotonic()
        self._renew_at, self._ends_at = at + RENEW_AT * lifetime, at + lifetime

    def _connection(self) -> Any:
        """A client that believes the settings and nothing of the environment (tokens, proxies, authorities)."""
        import hvac
        import requests

        address, session = self._address, requests.Session()
        session.trust_env = False
        session.verify = str(address.ca) if address.ca is not None else True
        return hvac.Client(
            url=address.url,
            token="",
            verify=session.verify,
            timeout=address.deadline_s,
            session=session,
            namespace=address.namespace or None,
            allow_redirects=False,  # a redirect would be given our token
        )

    def _understood(self, question: Callable[[], T], *, what: str) -> T:
        from hvac import exceptions as said
        from requests import exceptions as link

        who = f"the Vault at {self.url}"
        try:
            answer = question()
        except said.VaultDown as error:
            self._fell_silent(f"{who} is sealed", hint="Unseal it; signing goes on by itself.", cause=error)
        except said.InvalidPath as error:
            raise LookupError(f"{who} has nothing there") from error
        except said.Forbidden as error:
            raise RefusedError(f"{who} does not let us {what}", hint=_POLICY_HINT) from error
        except (said.InvalidRequest, said.Unauthorized) as error:
            raise RefusedError(f"{who} refused to {what}: {_said(error)}", hint=_POLICY_HINT) from error
        except said.VaultError as error:
            self._fell_silent(f"{who} is in trouble: {_said(error)}", hint="See its log.", cause=error)
        except link.SSLError as error:
            hint = "Name the authority of its certificate: `ca_file` in the group `vault` of the settings."
            raise TrustError(f"{who} could not prove who it is", hint=hint) from error
        except (link.RequestException, ValueError) as error:
            kind = "did not answer in time" if isinstance(error, link.Timeout) else "cannot be reached"
            self._fell_silent(f"{who} {kind}", hint="Start it, or correct the group `vault`.", cause=error)
        self._quiet = None
        return answer

    def _fell_silent(self, message: str, *, hint: str, cause: Exception) -> Any:
        error = TransportError(message, hint=hint)
        self._quiet = (self._clock.monotonic() + min(MAX_RESPITE_S, self._address.deadline_s), error)
        raise error from cause


_POLICY_HINT = "Compare role, policy and credentials with the section on keys of docs/operators.md."


def _said(error: Any) -> str:
    """The server's words without the address that was asked, shortened to one line."""
    return " ".join(str(error.args[0] if error.args else "").split())[:200]


def _credential(path: Path) -> str:
    held = read_if_present(path)
    if not held or not held.strip():
        raise RefusedError(f"there is no credential in {path}", hint="Write the AppRole's ids into these files.")
    return held.decode().strip()
