"""Which daemon, user and app a command is about."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from digitorn_testing import _environment

from . import _logins
from ._failing import USAGE, CommandFailed

if TYPE_CHECKING:
    from digitorn_testing import ApprovalPolicy, DevClient, SessionHandle
    from digitorn_testing._secrets.credentials import Credentials

TOKEN_VARIABLE: Final = "$DIGITORN_TOKEN"

_COMPLETION_SECONDS: Final = 2.0

_URL_HELP: Final = (
    "The daemon. Default: $DIGITORN_DEV_DAEMON_URL, $DIGITORN_DAEMON_URL, or http://127.0.0.1:8000."
)
_APP_HELP: Final = "The app. Default: $DIGITORN_APP, or all apps."
_JSON_HELP: Final = "Write JSON to stdout, for scripts."


def complete_app(ctx: typer.Context, incomplete: str) -> list[str]:
    """The ids of apps that begin with what was typed; none if no daemon tells them at once.

    Args:
        ctx: The command line so far.
        incomplete: What was typed.
    """
    from digitorn_testing import DigitornError

    url: Any = ctx.params.get("url")
    try:
        with connected(url, timeout=_COMPLETION_SECONDS) as client:
            found = [one.app_id for one in client.list_apps()]
    except (CommandFailed, DigitornError, OSError):
        # A shell that completes has no place for an error.
        return []
    return [one for one in found if one.startswith(incomplete)]


Url: TypeAlias = Annotated[str | None, typer.Option("--url", metavar="URL", help=_URL_HELP)]
AppOption: TypeAlias = Annotated[
    str | None, typer.Option("--app", metavar="APP", help=_APP_HELP, autocompletion=complete_app)
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help=_JSON_HELP)]


@dataclass(frozen=True, slots=True)
class Access:
    """How a command reaches a daemon.

    Attributes:
        url: The daemon.
        tokens: The tokens for it.
        source: Where they come from, for people; empty if there are none.
        is_kept: Whether they are those of `login`, to be kept again when they were renewed.
    """

    url: str
    tokens: Credentials = field(repr=False)
    source: str = ""
    is_kept: bool = False


def access(url: str | None) -> Access:
    """Finds the daemon and the tokens for it.

    Args:
        url: The URL from the command line.

    Raises:
        CommandFailed: The URL or the token cannot be one, or the kept tokens cannot be read.
    """
    from digitorn_testing._secrets.credentials import Credentials
    from digitorn_testing._transport.daemon_url import resolve_daemon_url

    try:
        daemon_url = resolve_daemon_url(url)
        if (token := _environment.token()) is not None:
            return Access(daemon_url, Credentials(token), TOKEN_VARIABLE)
    except ValueError as error:
        raise CommandFailed(str(error), USAGE) from error
    if (kept := _logins.load(daemon_url)) is not None:
        return Access(daemon_url, kept, str(_logins.path()), is_kept=True)
    return Access(daemon_url, Credentials())


@contextmanager
def connected(
    url: str | None, *, timeout: float = 60.0, approvals: ApprovalPolicy | None = None
) -> Generator[DevClient]:
    """A client of the daemon, signed in.

    Args:
        url: The URL from the command line.
        timeout: Seconds for one call, and for one turn.
        approvals: Decides the approvals; without it they stay open.

    Raises:
        CommandFailed: There is no token for the daemon, or it refuses it, or what `access` raises.
    """
    from digitorn_testing import Unauthorized

    found = access(url)
    if not found.source:
        raise CommandFailed(f"not logged in to {found.url}. {new_token(found, found.url)}")
    try:
        with client_of(found, timeout=timeout, approvals=approvals) as client:
            yield client
    except Unauthorized as error:
        said = str(error).partition(f". {error.hint}")[0]
        raise CommandFailed(
            f"the token of {found.source} is refused: {said}. {new_token(found, url)}"
        ) from error


@contextmanager
def client_of(
    found: Access, *, timeout: float, approvals: ApprovalPolicy | None = None, retries: bool = True
) -> Generator[DevClient]:
    """A client, whose renewed tokens are kept where they came from.

    Args:
        found: The daemon and the tokens.
        timeout: Seconds for one call, and for one turn.
        approvals: Decides the approvals; without it they stay open.
        retries: Whether calls are sent again.
    """
    from digitorn_testing import DevClient, LeaveOpen, RetryPolicy

    before = found.tokens.access_token
    with DevClient(
        found.url,
        timeout=timeout,
        token=found.tokens,
        approvals=approvals or LeaveOpen(),
        retries=RetryPolicy() if retries else None,
    ) as client:
        try:
            yield client
        finally:
            if found.is_kept and found.tokens.access_token not in (None, before):
                _logins.save(found.url, found.tokens)


def shown(words: str, url: str | None) -> str:
    """A command for people to run, for the same daemon.

    Args:
        words: The command and its arguments.
        url: The URL from the command line.
    """
    return f"digitorn-testing {words}" + (f" --url {url}" if url else "")


def new_token(found: Access, url: str | None) -> str:
    """What to do about a token that is missing or refused.

    Args:
        found: The daemon and the tokens.
        url: The URL from the command line.
    """
    if found.source == TOKEN_VARIABLE:
        return f"Unset {TOKEN_VARIABLE} to use the login, or set it to a fresh token"
    return f"Run: {shown('login', url)}; or set {TOKEN_VARIABLE}"


def apps_of(client: DevClient, app_id: str | None) -> list[str]:
    """The ids of the apps that a command is about.

    Args:
        client: The client.
        app_id: The app from the command line.
    """
    chosen = app_id or _environment.app_id()
    return [chosen] if chosen else [one.app_id for one in client.list_apps()]


def find_session(client: DevClient, session_id: str | None, app_id: str | None) -> SessionHandle:
    """Finds a session.

    Args:
        client: The client.
        session_id: Its id; the session that was used last if left out.
        app_id: Its app; looked for in all apps if left out.

    Raises:
        CommandFailed: There is no such session.
    """
    from digitorn_testing import NotFound

    apps = apps_of(client, app_id)
    where = ", ".join(apps) or "none"
    if session_id is None:
        pages = [(one, client.list_sessions(one, limit=1).sessions) for one in apps]
        latest = max(
            ((s.last_active, app, s.session_id) for app, found in pages for s in found), default=None
        )
        if latest is None:
            raise CommandFailed(f"there is no session yet in these apps: {where}")
        return client.open_session(latest[1], latest[2])
    for one in apps:
        try:
            return client.open_session(one, session_id)
        except NotFound:
            continue
    raise CommandFailed(
        f"no session {session_id!r} in these apps: {where}. A session exists from its first message on, and "
        "only for the user who sent it"
    )
