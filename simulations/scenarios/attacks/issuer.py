"""A small OpenID Connect issuer on loopback, which the coordinator is told to believe."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from simulations.world.ports import LOOPBACK

AUDIENCE = "hinterland"
LIFE_S = 600


class Issuer:
    """Real keys over real HTTP; what it signs is up to whoever asks."""

    def __init__(self, tenant: str) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "issuer-1", "use": "sig"})
        self._tenant = tenant
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(issuer.document(self.path)).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.url = f"http://{LOOPBACK}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, name="issuer", daemon=True).start()

    def document(self, path: str) -> Any:
        """What it serves: its description, or its public keys."""
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        return KeySet([self.key]).as_dict(private=False)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """An honest person's, with what is said otherwise; None leaves a claim out."""
        at = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "eve", "iat": at, "exp": at + LIFE_S}
        claims |= {"tenant": self._tenant, "roles": ["viewer"]}
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, *, key: RSAKey | None = None, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Signed by the issuer, or by a `key` of somebody else's."""
        named = {"alg": "RS256", "kid": "issuer-1", "typ": "JWT", **(header or {})}
        return str(jwt.encode(named, self.claims(**changes), key or self.key, algorithms=["RS256"]))

    def environment(self) -> dict[str, str]:
        """What makes a coordinator believe it."""
        return {"HINTERLAND_ACCESS_ISSUER": self.url, "HINTERLAND_ACCESS_AUDIENCE": AUDIENCE}

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
