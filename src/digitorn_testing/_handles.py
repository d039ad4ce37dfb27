"""Values that name an app or a session; made locally, without asking the daemon."""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, TypeAlias

from ._formerly import formerly
from ._texts import check_sendable

SessionKey: TypeAlias = tuple[str, str]
"""App id and session id: what identifies a session of one daemon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppHandle:
    """Names an app of a daemon.

    Attributes:
        app_id: The app.
        daemon_url: The daemon.
    """

    app_id: str
    daemon_url: str

    if not TYPE_CHECKING:
        __getattr__ = formerly("OldApp")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHandle:
    """Names a session of an app. One that does not exist yet is created by its first message.

    Raises:
        ValueError: An id or the workspace holds half of a surrogate pair.

    Attributes:
        session_id: The session.
        app_id: Its app.
        daemon_url: The daemon.
        workspace: Working folder on the daemon's machine, sent with each message; empty for none.
        first_turn: Correlation id of the turn of the message that the session was created with; None if it
            was created without one.
        is_new: Whether `new_session` made it without a message, so that the daemon may not know it yet.
    """

    session_id: str
    app_id: str
    daemon_url: str
    workspace: str = ""
    first_turn: str | None = field(default=None, compare=False)
    is_new: bool = field(default=False, compare=False)

    if not TYPE_CHECKING:
        __getattr__ = formerly("OldSession")

    def __repr__(self) -> str:
        # Most handles are made without the rest, which would only hide what identifies the session.
        given = ((one.name, getattr(self, one.name), one.default) for one in fields(self))
        said = ", ".join(f"{name}={value!r}" for name, value, default in given if value != default)
        return f"{type(self).__name__}({said})"

    def __post_init__(self) -> None:
        for name in ("session_id", "app_id", "workspace"):
            check_sendable(getattr(self, name), name)


def session_key(session: SessionHandle) -> SessionKey:
    """What identifies a session, whatever else its handle says."""
    return session.app_id, session.session_id
