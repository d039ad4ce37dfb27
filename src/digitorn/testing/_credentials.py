"""The tokens of one user, shared by a client and its streams."""

from ._generated.models import TokenResponse

_SHORTEST_SECRET = 8


class Credentials:
    """An access token and what renews it. Never prints either.

    Raises:
        ValueError: A token holds characters that no header can carry. The message does not repeat it.

    Attributes:
        access_token: Sent with every authenticated call.
        refresh_token: Renews it, if the daemon gave one.
    """

    __slots__ = ("access_token", "refresh_token")

    def __init__(self, access_token: str | None = None, refresh_token: str | None = None) -> None:
        self.access_token = _checked(access_token)
        self.refresh_token = _checked(refresh_token)

    def store(self, tokens: TokenResponse) -> None:
        """Takes over what a login or a refresh brought; a refresh brings no new refresh token."""
        self.access_token = _checked(tokens.access_token)
        self.refresh_token = _checked(tokens.refresh_token) or self.refresh_token

    def forget(self) -> None:
        """Drops both tokens."""
        self.access_token = None
        self.refresh_token = None

    def redact(self, text: str) -> str:
        """A text without the tokens."""
        for secret in (self.access_token, self.refresh_token):
            # What is shorter is no secret, and may be part of any word.
            if secret and len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, "***")
        return text

    def __repr__(self) -> str:
        return f"Credentials({'with' if self.access_token else 'without'} a token)"


def _checked(token: str | None) -> str | None:
    # A token that was read from a file often ends with a line break.
    token = (token or "").strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError(
            "the token holds blanks or characters that no header can carry; is it one token, whole?"
        )
    return token or None
