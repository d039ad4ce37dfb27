"""REST calls as `curl` commands, to be made again by hand."""

import shlex
from collections.abc import Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import urlencode

from digitorn_testing._exchanges import Exchange
from digitorn_testing._generated import operations
from digitorn_testing._generated._runtime import RestOperation
from digitorn_testing._texts import json_text, printable

TOKEN: Final = "DIGITORN_TOKEN"
"""The environment variable that the commands take the token from."""

_URL: Final = "DIGITORN_DAEMON_URL"


def curl(exchange: Exchange, daemon_url: str) -> str:
    """A command that makes a call again. The token is not in it: the shell takes it from the environment.

    Args:
        exchange: The call.
        daemon_url: The daemon; if empty, the shell takes it from the environment.
    """
    operation = _operations().get(exchange.operation)
    address = exchange.path + (f"?{urlencode(exchange.query)}" if exchange.query else "")
    base = shlex.quote(daemon_url.rstrip("/")) if daemon_url else f'"${_URL}"'
    parts = ["curl"]
    if exchange.method == "HEAD":
        parts.append("--head")
    elif exchange.method != ("POST" if exchange.request_size else "GET"):
        parts.append(f"-X {shlex.quote(exchange.method)}")
    parts.append(base + shlex.quote(printable(address)).removeprefix("''"))
    if operation is None or operation.authenticated:
        parts.append(f'-H "Authorization: Bearer ${TOKEN}"')
    notes = _body(exchange, operation, parts)
    return " \\\n  ".join(parts) + "".join(f"\n# {note}" for note in notes)


def _body(exchange: Exchange, operation: RestOperation[Any] | None, parts: list[str]) -> list[str]:
    """Adds the body; returns what has to be said about it."""
    if not exchange.request_size:
        return []
    body = exchange.request
    if body is None:
        parts.append("--data-binary @body")
        return [
            f"The body of {exchange.request_size} bytes is not in the recording: put it into the file body."
        ]
    if operation is not None and operation.body == "multipart" and isinstance(body, Mapping):
        parts.extend(f"-F {shlex.quote(printable(f'{name}={value}'))}" for name, value in body.items())
        return ["Of a file only its name and size are recorded: write name=@file for it."]
    text = printable(body) if isinstance(body, str) else json_text(body)
    usual = "text/plain" if isinstance(body, str) else "application/json"
    media_type = (operation.media_type if operation is not None else None) or usual
    parts.append(f"-H {shlex.quote(f'Content-Type: {media_type}')}")
    parts.append(f"--data-raw {shlex.quote(text)}")
    return []


@cache
def _operations() -> dict[str, RestOperation[Any]]:
    return {one.id: one for one in operations.OPERATIONS}
