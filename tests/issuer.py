"""A small OpenID Connect issuer on loopback: discovery, keys, and whatever tokens a test wants of it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

KINDS = {
    "RS256": lambda kid: RSAKey.generate_key(2048, {"kid": kid, "use": "sig"}),
    "ES256": lambda kid: ECKey.generate_key("P-256", {"kid": kid, "use": "sig"}),
    "EdDSA": lambda kid: OKPKey.generate_key("Ed25519", {"kid": kid, "use": "sig"}),
}


class LocalIssuer:
    """Real keys over real HTTP; `asked` counts the fetches of its keys."""

    def __init__(self, audience: str = "hinterland") -> None:
        self.keys: dict[str, Any] = {alg: make(f"{alg}-1") for alg, make in KINDS.items()}
        self.audience = audience
        self.asked = 0
        self.down = False
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if issuer.down:
                    self.send_error(503)
                    return
                body = json.dumps(issuer.document(self.path)).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def document(self, path: str) -> dict[str, Any]:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.asked += 1
        return KeySet(list(self.keys.values())).as_dict(private=False)

    def claims(self, *, at: float, **changes: Any) -> dict[str, Any]:
        claims = {
            "iss": self.url,
            "aud": self.audience,
            "sub": "eve",
            "iat": int(at),
            "exp": int(at) + 600,
            "tenant": "acme",
            "roles": ["viewer"],
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, *, at: float, alg: str = "RS256", header: dict[str, Any] | None = None, **changes: Any) -> str:
        key = self.keys[alg]
        named = {"alg": alg, "kid": key.kid, "typ": "JWT"} | (header or {})
        named = {name: value for name, value in named.items() if value is not None}
        return jwt.encode(named, self.claims(at=at, **changes), key, algorithms=[alg])

    def rotate(self, alg: str = "RS256") -> None:
        number = int(self.keys[alg].kid.rpartition("-")[2]) + 1
        self.keys[alg] = KINDS[alg](f"{alg}-{number}")

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
