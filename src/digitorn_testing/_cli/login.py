"""`digitorn-testing login` and `logout`: the tokens that the other commands use."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from . import _logins
from ._connection import Access, Url, access, client_of
from ._failing import USAGE, CommandFailed
from ._terminal import Terminal

_SECONDS = 30.0


def login(
    url: Url = None,
    email: Annotated[
        str | None, typer.Option(metavar="NAME", help="Email address or user name. Asked for if left out.")
    ] = None,
    with_token: Annotated[
        bool, typer.Option("--with-token", help="Read an access token from stdin instead of logging in.")
    ] = False,
) -> None:
    """Log in to a daemon, so that the other commands can use it.

    Asks for email and password. The tokens are kept in a file that only you can read, and are renewed when
    they expire. Neither the password nor a token is ever a command line argument or shown. $DIGITORN_TOKEN,
    where it is set, goes before the tokens that are kept here.
    """
    from digitorn_testing._secrets.credentials import Credentials

    terminal = Terminal()
    try:
        found = Access(access(url).url, Credentials(_secret("Token") if with_token else None))
    except ValueError as error:
        raise CommandFailed(str(error), USAGE) from error
    with client_of(found, timeout=_SECONDS) as client:
        if not with_token:
            name = email or _name(terminal)
            password = _secret("Password")
            with terminal.busy(f"logging in to {found.url}"):
                client.login(name, password)
        with terminal.busy("asking who you are"):
            user = client.get_me()
    _logins.save(found.url, found.tokens)
    who = user.email or user.display_name or user.user_id
    terminal.note(f"Logged in to {found.url} as {who}. The tokens are kept in {_logins.path()}.", "")


def logout(url: Url = None) -> None:
    """Log out of a daemon: revoke and forget the tokens of `login`."""
    from digitorn_testing import DigitornError

    terminal = Terminal()
    daemon_url = access(url).url
    tokens = _logins.load(daemon_url)
    if tokens is None:
        terminal.note(f"You were not logged in to {daemon_url}.", "")
        return
    try:
        with client_of(Access(daemon_url, tokens), timeout=_SECONDS, retries=False) as client:
            client.logout()
    except DigitornError as error:
        terminal.note(f"The daemon did not revoke the tokens: {error}", "yellow")
    _logins.forget(daemon_url)
    terminal.note(f"Logged out of {daemon_url}.", "")


def _name(terminal: Terminal) -> str:
    try:
        return terminal.ask("Email or user name: ")
    except EOFError:
        raise CommandFailed("no email on stdin; pass --email", USAGE) from None


def _secret(what: str) -> str:
    """Asks for a secret without showing it, or reads a line of stdin."""
    if sys.stdin.isatty():
        typed: str = typer.prompt(what, hide_input=True, err=True)
        return typed
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise CommandFailed(f"{what} is missing on stdin", USAGE)
    return line
