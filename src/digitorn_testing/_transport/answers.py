"""Turns an HTTP answer into a typed result or a typed error, without any IO."""

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar, cast
from urllib.parse import urlsplit

from digitorn_testing._errors import (
    ApiError,
    Conflict,
    ContractViolation,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    ServerError,
    Unauthorized,
)
from digitorn_testing._exchanges import Exchange
from digitorn_testing._generated._runtime import Call, Refused, Undecodable
from digitorn_testing._generated._surrogates import parsed
from digitorn_testing._generated.operations import LOGIN
from digitorn_testing._secrets.credentials import Credentials
from digitorn_testing._secrets.raising import raise_detached

from .any_route import AnyRoute

T = TypeVar("T")

_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
}
_FACTS: Final = ("request_id", "max_bytes", "got_bytes")
"""Members of an error body that say more than its text."""
_LONGEST_REASON = 500
_LONGEST_SHOWN = 120
_LEADS_ON: Final = frozenset({301, 302, 303, 307, 308})
_NOT_MODIFIED: Final = 304
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_NO_ROUTE: Final = "Not Found"
"""What a daemon says of a path that it does not serve; of a thing that is missing it names the thing."""
_NOT_DEPLOYED: Final = "is not deployed"
"""What a daemon says of an app that it does not have."""
_UPGRADE_HINTS: Final[Mapping[int, str]] = {
    401: "something in front of the daemon wants a login of its own before that",
    403: "something in front of the daemon does not allow it",
    429: "wait and connect again",
}


def read_answer(
    call: Call[T],
    status: int,
    exchange: Callable[[], Exchange],
    *,
    daemon_url: str,
    headers: Mapping[str, str],
    content: bytes,
    credentials: Credentials,
) -> T:
    """Reads the result from an answer.

    Args:
        call: The call that was sent.
        status: HTTP status of the answer.
        exchange: Returns the call and its answer, for errors.
        daemon_url: The daemon, for errors.
        headers: Header fields with lower-case names.
        content: The body.
        credentials: Tokens to keep out of error messages.

    Raises:
        ApiError: The daemon refused the call, by its status or in the envelope.
        ContractViolation: The body breaks the contract.
    """
    if not 200 <= status < 300:
        raise _refusal(exchange(), status, headers, content, daemon_url, credentials)
    try:
        if isinstance(call.operation, AnyRoute):
            return cast("T", call.operation.answered(status, headers, content))
        return call.operation.read(content, media_type=headers.get("content-type"))
    except Refused as refused:
        # A refusal without words may have them in its data.
        said = refused.reason or _words(refused.data)
        reason = credentials.redact(said)[:_LONGEST_REASON]
        # What it is made from knows the answer, and there may be a token in it; so below.
        raise_detached(ApiError(exchange(), reason, credentials.redact_data(refused.data)))
    except Undecodable as error:
        what = f"the answer to {exchange()}"
        if not _is_json(content):
            what += f" ({_shown(content, credentials)!r}; is {daemon_url} a Digitorn daemon?)"
        raise_detached(violation(what, error, credentials))


def refused_upgrade(
    path: str,
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    daemon_url: str,
    credentials: Credentials,
) -> ApiError:
    """The error for an event socket whose WebSocket was refused.

    Args:
        path: Path of the socket.
        status: HTTP status of the answer.
        headers: Header fields with lower-case names.
        content: The body, or its beginning.
        daemon_url: The daemon.
        credentials: Tokens to keep out of the message.
    """
    if (advice := _UPGRADE_HINTS.get(status)) is None:
        if status >= 500:
            advice = "a proxy does not reach the daemon, or the daemon is not ready"
        elif status in _LEADS_ON:
            advice = f"redirects are not followed, and this one leads to {_target(headers)}"
        else:
            advice = (
                f"is a Digitorn daemon at {daemon_url}? "
                "A proxy in front of it must pass on WebSocket upgrades of this path"
            )
    exchange = Exchange(operation="", method="GET", path=path, status=status)
    below = urlsplit(daemon_url).path
    hint = f"The event socket was not opened: {advice}"
    if below and status in (_FORBIDDEN, _NOT_FOUND):
        hint += f"; or {_address_hint(daemon_url)}"
    error = _refusal(exchange, status, headers, content, daemon_url, credentials, hint)
    if below and status in (_FORBIDDEN, _NOT_FOUND) and error.reason in ("", _NO_ROUTE):
        guess = (
            f"the daemon's URL {daemon_url} has the path {below}, and nothing answers the event socket there"
        )
        explained = _BY_STATUS[status](
            error.exchange, guess, error.data, f"Check the path of the URL; or {advice}"
        )
        explained.reason = error.reason
        return explained
    return error


def violation(what: str, error: Undecodable, credentials: Credentials) -> ContractViolation:
    """The error for an answer that breaks the contract.

    Args:
        what: Which answer.
        error: What does not fit.
        credentials: Tokens to keep out of the message.
    """
    return ContractViolation(what, [credentials.redact(one)[:_LONGEST_REASON] for one in error.reasons])


def _refusal(
    exchange: Exchange,
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    daemon_url: str,
    credentials: Credentials,
    advice: str | None = None,
) -> ApiError:
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
    data: object = None
    hint: str | None = None
    if _is_json(content):
        document: object = parsed(content)
        data = credentials.redact_data(document)
        reason = credentials.redact(_reason(document))[:_LONGEST_REASON]
    elif content.strip():
        reason = _shown(content, credentials)
        hint = f"The answer is not the daemon's; is a Digitorn daemon at {daemon_url}?"
    else:
        reason = ""
    if status in _LEADS_ON:
        hint = f"Redirects are not followed; this one leads to {_target(headers)}"
    elif status == _NOT_MODIFIED:
        hint = (
            "Nobody asked whether anything has changed; a cache in front of the daemon must not answer for it"
        )
    elif status == _UNAUTHORIZED:
        hint = _login_hint(exchange, credentials)
    elif status == _NOT_FOUND and reason == _NO_ROUTE:
        hint = f"No such path is served there: {_address_hint(daemon_url)}"
    elif status == _NOT_FOUND and _NOT_DEPLOYED in reason:
        hint = "client.list_apps() says which apps are"
    error = kind(exchange, reason, data, advice or hint)
    if isinstance(error, RateLimited | ServerError):
        error.retry_after = _seconds(headers.get("retry-after"))
        if error.retry_after is None:
            error.retry_after = _said_seconds(data)
    return error


def _login_hint(exchange: Exchange, credentials: Credentials) -> str | None:
    """What to do about a 401; None for the usual advice."""
    if exchange.operation == LOGIN.id:
        return "Check the email address and the password"
    if credentials.access_token is None:
        return "The client has no token: make it with with_user() or with_token(), or call login()"
    return None


def _address_hint(daemon_url: str) -> str:
    """What may be wrong with a daemon's URL whose paths nobody serves."""
    path = urlsplit(daemon_url).path
    if not path:
        return f"is {daemon_url} the address of a Digitorn daemon?"
    host = daemon_url.removesuffix(path)
    return f"the daemon URL {daemon_url} ends with the path {path}; a daemon itself answers at {host}"


def _reason(document: object) -> str:
    """The daemon's own words in any of its error bodies (contract: rest, section 1.2)."""
    if not (body := _members(document)):
        return json.dumps(document)
    if (invalid := _invalid_members(body.get("details"))) is not None:
        return invalid
    detail = body.get("detail")
    words = _words(detail) or (json.dumps(detail) if _members(detail) else detail)
    said = words or body.get("error", body.get("message"))
    if not isinstance(said, str):
        # An envelope may be without a word.
        return "" if "error" in body else json.dumps(document)
    facts = [f"{name} {body[name]}" for name in _FACTS if name in body]
    return f"{said} ({', '.join(facts)})" if facts else said


def _invalid_members(details: object) -> str | None:
    """What is wrong with which member of a request; None if the body is not that of a 422."""
    if not isinstance(details, list):
        return None
    said: list[str] = []
    for one in cast("list[object]", details):
        detail = _members(one)
        place = detail.get("loc")
        words = [
            ".".join(map(str, cast("list[object]", place))) if isinstance(place, list) else "",
            str(detail.get("msg", one)),
            _words(detail.get("ctx")),
        ]
        said.append(": ".join(word for word in words if word))
    return "; ".join(said)


def _members(value: object) -> Mapping[str, object]:
    """An object of JSON; empty for any other value."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _words(detail: object) -> str:
    """The texts of a detail that is an object; all of it is in the error's data."""
    members = _members(detail)
    said = (members.get(name) for name in ("error", "message", "detail", "hint"))
    return ": ".join(dict.fromkeys(one for one in said if isinstance(one, str) and one))


def _is_json(content: bytes) -> bool:
    try:
        parsed(content)
    except ValueError:
        return False
    return True


def _shown(content: bytes, credentials: Credentials) -> str:
    text = credentials.redact(" ".join(content.decode("utf-8", errors="replace").split()))
    return text[:_LONGEST_SHOWN]


def _target(headers: Mapping[str, str]) -> str:
    """Where a redirect leads, without the parts that may be secret."""
    try:
        target = urlsplit(headers.get("location", "")[:_LONGEST_REASON])
    except ValueError:
        return "nowhere"
    host = target.netloc.rpartition("@")[2]
    return f"{target.scheme}://{host}" if host else "the same host"


def _said_seconds(data: object) -> float | None:
    """How long an error body asks to wait."""
    body = _members(data)
    seconds = body.get("retry_after", _members(body.get("detail")).get("retry_after"))
    return None if seconds is None else _seconds(str(seconds))


def _seconds(value: str | None) -> float | None:
    """How long `Retry-After` asks to wait (RFC 9110 §10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        utc = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        seconds = max(0.0, (utc - datetime.now(UTC)).total_seconds())
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
