"""The tokens of one user, shared by a client and its streams."""

from typing import Any, cast

from digitorn_testing._generated.models import TokenResponse

from .redaction import HIDDEN

_SHORTEST_SECRET = 8
_MOST_KNOWN = 64


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
        """Renews it, if the daemon gave one."""
        return self._refresh_token

    @refresh_token.setter
    def refresh_token(self, token: str | None) -> None:
        self._refresh_token = self._taken(token)

    def store(self, tokens: TokenResponse) -> None:
        """Takes over what a login or a refresh brought; a refresh brings no new refresh token."""
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
        """A text without the tokens, those of before too."""
        for secret in list(self._known):
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


def hidden(token: str | None) -> Token | None:
    """A token that was passed in, so that it does not show in the frame of who takes it."""
    return None if token is None else Token(token)


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
