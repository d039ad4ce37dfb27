"""A stand-in for the daemon's auth service, on loopback.

The daemon has no users of its own: it checks RS256 tokens against the public key of its auth service and
redirects `/auth/*` there. This is the smallest service that it accepts. Accounts live in memory; the signing
key is kept in FOLDER, so that tokens stay valid when the service is started again.

    python auth_service.py FOLDER

It listens on a free port and writes its address to FOLDER/url. It runs in the daemon's environment, which has
the libraries that it needs. Beside the operations of the real service it has `POST /mint`, which returns a
token for any user to whoever knows the key in $MINT_KEY.
"""

import base64
import hmac
import json
import os
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_KEY_ID: Final = "testing"
_ALGORITHM: Final = "RS256"
_ACCESS_SECONDS: Final = 3600


class Refused(Exception):
    """A request is refused.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(slots=True)
class Account:
    """A user.

    Attributes:
        name: User name and id.
        email: E-mail address.
        password: Password; None when the user cannot log in with one.
        display_name: Name that people see.
        is_admin: Whether the user has every permission.
        extra: Other parts of the profile.
    """

    name: str
    email: str
    password: str | None
    display_name: str
    is_admin: bool
    extra: dict[str, object] = field(default_factory=dict[str, object])

    def roles(self) -> list[str]:
        """Its roles."""
        return ["admin"] if self.is_admin else ["user"]

    def permissions(self) -> list[str]:
        """Its permissions."""
        return ["*"] if self.is_admin else []

    def profile(self) -> dict[str, object]:
        """What `GET /auth/me` returns."""
        return {
            "id": self.name,
            "user_id": self.name,
            "external_id": self.name,
            "provider": "local",
            "email": self.email,
            "display_name": self.display_name,
            "is_active": True,
            "roles": self.roles(),
            "permissions": self.permissions(),
            "is_admin": self.is_admin,
            "attributes": {},
            **self.extra,
        }


class AuthService:
    """The accounts, their tokens, and the key that signs them.

    Args:
        issuer: Address of the service.
        key: Signs the tokens.
        mint_key: What a request for a token without a password has to show.
    """

    def __init__(self, issuer: str, key: rsa.RSAPrivateKey, mint_key: str) -> None:
        self._issuer = issuer
        self._key = key
        self._mint_key = mint_key
        self._accounts: dict[str, Account] = {}
        self._refresh_tokens: dict[str, str] = {}
        # Requests are handled on threads of their own.
        self._lock = threading.Lock()
        self._routes: Mapping[tuple[str, str], Callable[[dict[str, Any], str], object]] = {
            ("GET", "/.well-known/openid-configuration"): self._configuration,
            ("GET", "/.well-known/jwks.json"): self._public_keys,
            ("GET", "/auth/revocations"): lambda body, shown: [],
            ("GET", "/auth/me"): self._profile,
            ("PATCH", "/auth/me"): self._change_profile,
            ("POST", "/auth/register"): self._register,
            ("POST", "/auth/login"): self._login,
            ("POST", "/auth/refresh"): self._refresh,
            ("POST", "/auth/logout"): self._logout,
            ("POST", "/mint"): self._mint,
        }

    def answer(self, method: str, path: str, body: dict[str, Any], shown: str) -> object:
        """The answer to a request, as JSON values.

        Args:
            method: HTTP method.
            path: Path without query.
            body: JSON body; empty if there is none.
            shown: Bearer token of the request; empty if there is none.

        Raises:
            Refused: It is refused.
        """
        route = self._routes.get((method, path))
        if route is None:
            raise Refused(404, "not found")
        with self._lock:
            return route(body, shown)

    # --- keys

    def _configuration(self, body: dict[str, Any], shown: str) -> object:
        return {"issuer": self._issuer, "jwks_uri": f"{self._issuer}/.well-known/jwks.json"}

    def _public_keys(self, body: dict[str, Any], shown: str) -> object:
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": _KEY_ID, "use": "sig", "alg": _ALGORITHM}
        return {"keys": [{**key, "n": _base64(numbers.n), "e": _base64(numbers.e)}]}

    # --- accounts

    def _register(self, body: dict[str, Any], shown: str) -> object:
        name, email = str(body.get("username") or ""), str(body.get("email") or "")
        if not name or name in self._accounts:
            raise Refused(400, "username missing or taken")
        return self._tokens(self._account(name, email=email, password=str(body.get("password") or "")))

    def _login(self, body: dict[str, Any], shown: str) -> object:
        for account in self._accounts.values():
            is_named = body.get("username") == account.name or body.get("email") == account.email
            if is_named and account.password and account.password == body.get("password"):
                return self._tokens(account)
        raise Refused(401, "invalid credentials")

    def _refresh(self, body: dict[str, Any], shown: str) -> object:
        name = self._refresh_tokens.get(str(body.get("refresh_token")))
        if name is None:
            raise Refused(401, "invalid refresh token")
        return self._tokens(self._accounts[name])

    def _logout(self, body: dict[str, Any], shown: str) -> object:
        self._refresh_tokens.pop(str(body.get("refresh_token")), None)
        return {"success": True}

    def _mint(self, body: dict[str, Any], shown: str) -> object:
        if not self._mint_key or not hmac.compare_digest(shown.encode(), self._mint_key.encode()):
            raise Refused(401, "unauthorized")
        account = self._account(str(body["user"]))
        account.is_admin = bool(body["is_admin"])
        return {"access_token": self._access_token(account, int(body["seconds"]))}

    def _profile(self, body: dict[str, Any], shown: str) -> object:
        return self._caller(shown).profile()

    def _change_profile(self, body: dict[str, Any], shown: str) -> object:
        caller = self._caller(shown)
        changed = [name for name in ("display_name", "phone", "attributes") if name in body]
        caller.extra.update({name: body[name] for name in changed})
        return {**caller.profile(), "changed": changed}

    def _caller(self, shown: str) -> Account:
        key = self._key.public_key()
        try:
            claims = jwt.decode(shown, key, algorithms=[_ALGORITHM], options={"verify_aud": False})
        except jwt.PyJWTError:
            raise Refused(401, "unauthorized") from None
        account = self._account(claims["sub"], email=claims["email"])
        account.is_admin = "*" in claims["perms"]
        return account

    def _account(self, name: str, *, email: str = "", password: str | None = None) -> Account:
        """The account of a name, which is created if it does not exist."""
        new = Account(name, email or f"{name}@example.test", password, name, is_admin=False)
        return self._accounts.setdefault(name, new)

    # --- tokens

    def _tokens(self, account: Account) -> object:
        refresh_token = secrets.token_hex(16)
        self._refresh_tokens[refresh_token] = account.name
        return {
            "access_token": self._access_token(account, _ACCESS_SECONDS),
            "refresh_token": refresh_token,
            "token_type": "bearer",
            "expires_in": _ACCESS_SECONDS,
            "user_id": account.name,
            "email": account.email,
            "display_name": account.display_name,
            "roles": account.roles(),
            "permissions": account.permissions(),
            "is_admin": account.is_admin,
        }

    def _access_token(self, account: Account, seconds: int) -> str:
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "sub": account.name,
            "email": account.email,
            "name": account.display_name,
            "roles": account.roles(),
            "perms": account.permissions(),
            "type": "access",
            "iat": now,
            "exp": now + seconds,
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": _KEY_ID})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: AuthService

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing."""

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def do_PATCH(self) -> None:
        self._respond()

    def _respond(self) -> None:
        body = self._body()
        shown = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            status, answer = 200, self.service.answer(self.command, urlsplit(self.path).path, body, shown)
        except Refused as refusal:
            status, answer = refusal.status, {"error": str(refusal)}
        raw = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _body(self) -> dict[str, Any]:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            parsed = json.loads(raw or b"{}")
        except ValueError:
            return {}
        return cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}


def _signing_key(path: Path) -> rsa.RSAPrivateKey:
    """The key in a file, which is created if it does not exist."""
    if not path.exists():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.touch(mode=0o600)
        path.write_bytes(key.private_bytes(*form))
    loaded = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise TypeError(f"{path} holds no RSA key")
    return loaded


def _base64(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def main() -> None:
    """Serves until it is stopped."""
    folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    mint_key = os.environ.get("MINT_KEY", "")
    _Handler.service = AuthService(url, _signing_key(folder / "signing-key.pem"), mint_key)
    unfinished = folder / "url.new"
    unfinished.write_text(url, encoding="utf-8")
    unfinished.rename(folder / "url")
    server.serve_forever()


if __name__ == "__main__":
    main()
