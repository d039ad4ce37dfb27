"""Where the tokens of `digitorn-testing login` are kept: a file that only its owner can read."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import typer

from digitorn_testing._texts import json_text

from ._failing import CommandFailed

if TYPE_CHECKING:
    from digitorn_testing._secrets.credentials import Credentials

_OWNER_ONLY: Final = 0o600
_FOLDER: Final = "digitorn-testing"


def path() -> Path:
    """The file, in the folder where this system keeps the settings of a user."""
    return Path(typer.get_app_dir(_FOLDER)) / "logins.json"


def load(url: str) -> Credentials | None:
    """The tokens for a daemon; None if nobody logged in to it.

    Args:
        url: The daemon.

    Raises:
        CommandFailed: Others can read the file, or it is damaged.
    """
    from digitorn_testing._secrets.credentials import Credentials

    kept = _read().get(url)
    return None if kept is None else Credentials(kept.get("access_token"), kept.get("refresh_token"))


def save(url: str, tokens: Credentials) -> None:
    """Keeps the tokens for a daemon.

    Args:
        url: The daemon.
        tokens: The tokens.

    Raises:
        CommandFailed: Others can read the file, or it is damaged.
        OSError: It cannot be written.
    """
    both = {"access_token": tokens.access_token, "refresh_token": tokens.refresh_token}
    _write(_read() | {url: {name: str(one) for name, one in both.items() if one}})


def forget(url: str) -> bool:
    """Removes the tokens for a daemon.

    Args:
        url: The daemon.

    Returns:
        Whether there were any.

    Raises:
        CommandFailed: Others can read the file, or it is damaged.
        OSError: It cannot be written.
    """
    kept = _read()
    if kept.pop(url, None) is None:
        return False
    _write(kept)
    return True


def _read() -> dict[str, dict[str, str]]:
    file = path()
    try:
        with file.open(encoding="utf-8") as opened:
            if os.name == "posix" and stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077:
                raise CommandFailed(f"{file} holds tokens and other users can read it. Run: chmod 600 {file}")
            content: object = json.load(opened)
    except FileNotFoundError:
        return {}
    except ValueError:
        # What is in it may be a token, and is not shown.
        raise CommandFailed(f"{file} is damaged. Delete it and log in again") from None
    if not isinstance(content, dict) or not all(
        isinstance(one, dict) for one in cast("dict[str, object]", content).values()
    ):
        raise CommandFailed(f"{file} is damaged. Delete it and log in again")
    return cast("dict[str, dict[str, str]]", content)


def _write(kept: dict[str, dict[str, str]]) -> None:
    file = path()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        # It is never readable by others, not even for a moment.
        with open(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "w", encoding="utf-8"
        ) as out:
            out.write(json_text(kept, indent=2) + "\n")
        os.replace(new, file)
    except BaseException:
        with suppress(FileNotFoundError):
            new.unlink()
        raise
