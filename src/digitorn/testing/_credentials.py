"""The tokens of one user, shared by a client and its streams."""

from ._generated.models import TokenResponse

_SHORTEST_SECRET = 8


class Credentials:
    """An access token and what renews it. Never prints either.

    Attributes:
        access_token: Sent with every authenticated call.
        refresh_token: Renews it, if the daemon gave one.
    """

    __slots__ = ("access_token", "refresh_token")

    def __init__(self, access_token: str | None = None, refresh_token: str | None = None) -> None:
        self.access_token = access_token or None
        self.refresh_token = refresh_token or None

    def store(self, tokens: TokenResponse) -> None:
        """Takes over what a login or a refresh brought; a refresh brings no new refresh token."""
        self.access_token = tokens.access_token
        self.refresh_token = tokens.refresh_token or self.refresh_token

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
