"""The tokens of one user, shared by a client and its streams."""

from typing import Any, cast

from ._generated.models import TokenResponse
from ._redaction import HIDDEN

_SHORTEST_SECRET = 8


class Token(str):
    """A token, which is a text like any other, but does not show in tracebacks with local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN)


class Credentials:
    """An access token and what renews it. Never prints either.

    Raises:
        ValueError: A token holds characters that no header can carry. The message does not repeat it.
    """

    __slots__ = ("_access_token", "_refresh_token")

    def __init__(self, access_token: str | None = None, refresh_token: str | None = None) -> None:
        self._access_token = _checked(access_token)
        self._refresh_token = _checked(refresh_token)

    @property
    def access_token(self) -> Token | None:
        """Sent with every authenticated call."""
        return self._access_token

    @access_token.setter
    def access_token(self, token: str | None) -> None:
        self._access_token = _checked(token)

    @property
    def refresh_token(self) -> Token | None:
        """Renews it, if the daemon gave one."""
        return self._refresh_token

    @refresh_token.setter
    def refresh_token(self, token: str | None) -> None:
        self._refresh_token = _checked(token)

    def store(self, tokens: TokenResponse) -> None:
        """Takes over what a login or a refresh brought; a refresh brings no new refresh token."""
        self._access_token = _checked(tokens.access_token)
        self._refresh_token = _checked(tokens.refresh_token) or self._refresh_token

    def forget(self) -> None:
        """Drops both tokens."""
        self._access_token = self._refresh_token = None

    def redact(self, text: str) -> str:
        """A text without the tokens."""
        for secret in (self._access_token, self._refresh_token):
            text = without(text, secret)
        return text

    def redact_data(self, data: object) -> object:
        """JSON values without the tokens."""
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


def without(text: str, secret: str | None) -> str:
    """A text without a secret."""
    # What is shorter is no secret, and may be part of any word.
    return text.replace(secret, HIDDEN) if secret and len(secret) >= _SHORTEST_SECRET else text


def _checked(token: str | None) -> Token | None:
    # A token that was read from a file often ends with a line break.
    found = Token((token or "").strip())
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise ValueError(
            "the token holds blanks or characters that no header can carry; is it one token, whole?"
        )
    return found or None
