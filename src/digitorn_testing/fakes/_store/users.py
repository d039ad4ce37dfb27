"""Users of the embedded daemon, their passwords and their tokens."""

import hashlib
import hmac
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

import jwt

from digitorn_testing._errors import DigitornError

ADMIN: Final = "*"
"""The permission that stands for all of them."""

_ALGORITHM: Final = "HS256"
# Cheap on purpose: these passwords protect nothing, and tests log in often.
_SCRYPT_COST: Final = 2**4


@dataclass(frozen=True, slots=True)
class User:
    """A user of the embedded daemon.

    Attributes:
        user_id: Id of the user.
        username: Name to log in with.
        email: Email address to log in with; None if there is none.
        display_name: Name to show.
        roles: Roles of the user.
        permissions: Permissions of the user; `*` stands for all of them.
        created_at: When the account was created, seconds since the Unix epoch.
    """

    user_id: str
    username: str
    email: str | None
    display_name: str
    roles: tuple[str, ...]
    permissions: tuple[str, ...]
    created_at: float

    @property
    def is_admin(self) -> bool:
        """Whether the user has every permission."""
        return ADMIN in self.permissions


class TokenRefused(Exception):
    """A token is missing, wrong or expired; says which, never the token."""


class NameTaken(DigitornError, ValueError):
    """Somebody else has that user name or email address."""


@dataclass(frozen=True, slots=True)
class _Password:
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, clear: str) -> "_Password":
        salt = secrets.token_bytes(16)
        return cls(salt, _digest(clear, salt))

    def matches(self, clear: str) -> bool:
        return hmac.compare_digest(self.digest, _digest(clear, self.salt))


def _digest(clear: str, salt: bytes) -> bytes:
    return hashlib.scrypt(clear.encode(), salt=salt, n=_SCRYPT_COST, r=8, p=1)


class Users:
    """The accounts of one daemon. May be used from several threads.

    Args:
        access_token_lifetime: Seconds that an access token is valid.
    """

    def __init__(self, *, access_token_lifetime: float) -> None:
        self.access_token_lifetime = access_token_lifetime
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._by_id: dict[str, User] = {}
        self._by_name: dict[str, User] = {}
        self._passwords: dict[str, _Password] = {}
        self._refresh_tokens: dict[str, str] = {}

    # --- accounts

    def add(
        self,
        username: str,
        password: str,
        *,
        email: str | None = None,
        display_name: str | None = None,
        roles: Iterable[str] = (),
        permissions: Iterable[str] = (),
    ) -> User:
        """Creates an account.

        Raises:
            NameTaken: The user name or the email address belongs to somebody else.
        """
        user = User(
            user_id=f"u-{uuid.uuid4().hex[:12]}",
            username=username,
            email=email,
            display_name=display_name or username,
            roles=tuple(roles),
            permissions=tuple(permissions),
            created_at=time.time(),
        )
        names = {_folded(name) for name in (username, email) if name}
        stored = _Password.of(password)
        with self._lock:
            if names & self._by_name.keys():
                raise NameTaken("the user name or email address is taken")
            self._by_id[user.user_id] = user
            self._by_name.update(dict.fromkeys(names, user))
            self._passwords[user.user_id] = stored
        return user

    def find(self, name: str) -> User | None:
        """The user with a user name, an email address or an id."""
        with self._lock:
            return self._by_id.get(name) or self._by_name.get(_folded(name))

    def log_in(self, name: str, password: str) -> User | None:
        """The user with a name and a password; None if one of the two is wrong."""
        user = self.find(name)
        if user is None or not self._passwords[user.user_id].matches(password):
            return None
        return user

    # --- tokens

    def access_token(self, user: User, *, expires_in: float | None = None) -> str:
        """A new access token.

        Args:
            user: For whom.
            expires_in: Seconds that it is valid; the daemon's default if left out. Not positive: it is
                expired already.
        """
        now = time.time()
        lifetime = self.access_token_lifetime if expires_in is None else expires_in
        claims = {
            "sub": user.user_id,
            "iat": int(now),
            "exp": now + lifetime,
            "jti": uuid.uuid4().hex,
            "roles": list(user.roles),
            "permissions": list(user.permissions),
        }
        # PyJWT's types name those of a package that need not be there.
        encode: Callable[..., str] = cast("Any", jwt).encode
        return encode(claims, self._secret, algorithm=_ALGORITHM)

    def authenticate(self, token: str | None) -> User:
        """The user behind an access token.

        Raises:
            TokenRefused: It is missing, wrong or expired.
        """
        if not token:
            raise TokenRefused("Authentication required")
        try:
            # PyJWT cuts `exp` to whole seconds, which would end short-lived tokens at once.
            claims: dict[str, Any] = cast("Any", jwt).decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                options={"verify_exp": False, "require": ["exp"]},
            )
        except jwt.PyJWTError as error:
            raise TokenRefused("Invalid token") from error
        if claims["exp"] <= time.time():
            raise TokenRefused("Token expired")
        user = self.find(str(claims.get("sub")))
        if user is None:
            raise TokenRefused("Invalid token")
        return user

    def refresh_token(self, user: User) -> str:
        """A new refresh token; valid until it is revoked."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._refresh_tokens[token] = user.user_id
        return token

    def user_of_refresh_token(self, token: str) -> User:
        """The user behind a refresh token.

        Raises:
            TokenRefused: It is unknown or revoked.
        """
        with self._lock:
            user_id = self._refresh_tokens.get(token)
            if user_id is None:
                raise TokenRefused("Invalid or expired refresh token")
            return self._by_id[user_id]

    def revoke(self, refresh_token: str, user: User) -> None:
        """Makes a refresh token of a user invalid; one that is not the user's stays as it is."""
        with self._lock:
            if self._refresh_tokens.get(refresh_token) == user.user_id:
                del self._refresh_tokens[refresh_token]


def _folded(name: str) -> str:
    return name.strip().casefold()
