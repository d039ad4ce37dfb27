"""The tokens of one user, shared by a client and its streams."""

from __future__ import annotations

from typing import Any, cast

from digitorn_testing._generated import models

from .redaction import HIDDEN

_SHORTEST_SECRET = 8
_MOST_KNOWN = 64


class Token(str):
    """A string whose repr is hidden, so tracebacks with local variables do not show the token."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN)


class Credentials:
    """An access token and the refresh token that renews it. Its repr shows neither.

    Raises:
        ValueError: A token contains characters that no header can carry. The message does not repeat it.
    """

    __slots__ = ("_access_token", "_known", "_refresh_token")

    def __init__(self, access_token: str | None = None, refresh_token: str | None = None) -> None:
        self._known: dict[str, None] = {}
        self._access_token = self._taken(access_token)
        self._refresh_token = self._taken(refresh_token)

    @property
    def access_token(self) -> Token | None:
        """Sent with every authenticated call."""
        return self._access_token

    @access_token.setter
    def access_token(self, token: str | None) -> None:
        self._access_token = self._taken(token)

    @property
    def refresh_token(self) -> Token | None:
        """Renews the access token, if the daemon issued one."""
        return self._refresh_token

    @refresh_token.setter
    def refresh_token(self, token: str | None) -> None:
        self._refresh_token = self._taken(token)

    def store(self, tokens: models.TokenResponse) -> None:
        """Stores the tokens of a login or a refresh; a refresh brings no new refresh token."""
        self._access_token = self._taken(tokens.access_token)
        self._refresh_token = self._taken(tokens.refresh_token) or self._refresh_token

    def forget(self) -> None:
        """Drops both tokens."""
        self._access_token = self._refresh_token = None

    def _taken(self, token: str | None) -> Token | None:
        found = _checked(token)
        if found is not None:
            self._known[found] = None
            while len(self._known) > _MOST_KNOWN:
                del self._known[next(iter(self._known))]
        return found

    def redact(self, text: str) -> str:
        """A text with the tokens hidden, including earlier ones."""
        for secret in list(self._known):
            text = without(text, secret)
        return text

    def redact_data(self, data: object) -> object:
        """JSON values with the tokens hidden."""
        if isinstance(data, str):
            return self.redact(data)
        if isinstance(data, list):
            return [self.redact_data(one) for one in cast("list[object]", data)]
        if isinstance(data, dict):
            members = cast("dict[str, Any]", data)
            return {self.redact(name): self.redact_data(one) for name, one in members.items()}
        return data

    def __repr__(self) -> str:
        return f"Credentials({'with' if self._access_token else 'without'} a token)"


def hidden(token: str | None) -> Token | None:
    """A token that was passed in, wrapped so that the frame of its receiver does not show it."""
    return None if token is None else Token(token)


def without(text: str, secret: str | None) -> str:
    """A text with a secret hidden."""
    # Anything shorter is not a secret, and may be part of any word.
    return text.replace(secret, HIDDEN) if secret and len(secret) >= _SHORTEST_SECRET else text


def _checked(token: str | None) -> Token | None:
    # A token read from a file often ends with a line break.
    found = Token((token or "").strip())
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise ValueError(
            "the token holds blanks or characters that no header can carry; is it one token, whole?"
        )
    return found or None
