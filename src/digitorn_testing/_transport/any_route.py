"""Calls of routes that the contract lacks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast
from urllib.parse import parse_qsl, quote

from pydantic import JsonValue

from digitorn_testing._generated._runtime import NOT_GIVEN, Call, Refused, RestOperation, Writing
from digitorn_testing._generated._surrogates import parsed
from digitorn_testing._texts import check_sendable

Param: TypeAlias = str | int | float | bool | None
"""A value of a query parameter; None is not sent."""

_OWN_HEADERS: Final = frozenset(
    {"authorization", "connection", "content-length", "host", "transfer-encoding"}
)
"""Headers that decide who gets a call, as whom, and where it ends."""
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_USUAL: Final[Mapping[Writing, str]] = {
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "binary": "application/octet-stream",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """The answer to `client.request`.

    Attributes:
        status: HTTP status, 200 to 299; any other is an error.
        headers: Header fields with lower-case names.
        content: The body.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 is replaced."""
        return self.content.decode("utf-8", errors="replace")

    def json(self) -> JsonValue:
        """The body as a JSON value.

        Raises:
            ValueError: It is not JSON.
        """
        value: JsonValue = parsed(self.content)
        return value


class AnyRoute(RestOperation[Response]):
    """A route that the contract lacks. Whatever answers it is a result, unless it reports a failure."""

    __slots__ = ()

    def answered(self, status: int, headers: Mapping[str, str], content: bytes) -> Response:
        """The result in an answer.

        Args:
            status: Its HTTP status.
            headers: Its header fields.
            content: Its body.

        Raises:
            Refused: It is the envelope of a failure, as the contract's routes have it.
        """
        response = Response(status=status, headers=dict(headers), content=content)
        if "json" in response.headers.get("content-type", ""):
            try:
                value = response.json()
            except ValueError:
                # Whoever asks for its JSON is told.
                return response
            if isinstance(value, dict) and value.get("success") is False:
                raise Refused(str(value.get("error") or ""), value.get("data"))
        return response


def any_call(
    method: str,
    path: str,
    *,
    params: Mapping[str, Param | Sequence[Param]] | None = None,
    json: object = NOT_GIVEN,
    content: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Call[Response]:
    """A call of any route of the daemon; see `AsyncDevClient.request`.

    Raises:
        ValueError: Something cannot be sent, or would lead away from the daemon.
    """
    check_sendable(path, "path")
    if (verb := method.upper()) not in _METHODS:
        raise ValueError(f"{method!r} is no HTTP method")
    if not path.startswith("/") or path.startswith("//") or "#" in path:
        raise ValueError(f"{path!r} is no path of the daemon, such as '/api/apps'")
    if content is not None and json is not NOT_GIVEN:
        raise ValueError("a call has one body: pass json= or content=, not both")
    route, _, query = path.partition("?")
    found: dict[str, object] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        found[name] = [*cast("list[str]", found.get(name, [])), value]
    sent = dict(headers or {})
    named = [name for name in sent if name.lower() == "content-type"]
    media_type = next((sent.pop(name) for name in named), None)
    if own := [name for name in sent if name.lower() in _OWN_HEADERS]:
        raise ValueError(f"header {own[0]!r} is set by the client itself")
    writing: Writing | None = None
    if json is not NOT_GIVEN:
        writing = "json"
    elif content is not None:
        writing = "text" if isinstance(content, str) else "binary"
    operation = AnyRoute(
        "",
        verb,
        # What is percent-encoded stays as it is.
        quote(route, safe="/%:@!$&'()*+,;=~"),
        lambda: bytes,
        reading="bytes",
        body=writing,
        media_type=media_type or (None if writing is None else _USUAL[writing]),
    )
    return operation.call(
        query=found | dict(params or {}),
        headers=sent,
        content=content if json is NOT_GIVEN and content is not None else json,
    )
