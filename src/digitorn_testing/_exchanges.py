"""REST exchanges: requests and answers, with their secrets hidden."""

import difflib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, TypeAlias, overload

from pydantic import JsonValue

from ._concurrency.forks import in_forks
from ._generated import models, operations
from ._generated._encoding import Part
from ._generated._runtime import Call, Refused, RestOperation, Undecodable
from ._secrets.redaction import Redactor, as_json, may_hold_secret
from ._texts import json_text

KEPT: Final = 50
"""How many exchanges a client keeps by default."""

LARGEST_BODY: Final = 16 * 1024
"""Bytes of the largest body that is kept; for larger bodies only the size is kept."""

LARGEST_RECORDED: Final = 1024 * 1024
"""Bytes of the largest body that a recording holds."""

EXAMPLE_HEADER: Final = "x-digitorn-example"
"""Header of an answer that the embedded daemon made up from the contract."""

# The requests of these operations hold secrets under inconspicuous names. If a request holds only secrets,
# they are hidden wherever they appear again; otherwise a value may be any ordinary word.
_HOLD_SECRETS: Final = frozenset(
    operation.id
    for operation in (
        operations.CREATE_CREDENTIAL,
        operations.CREATE_SYSTEM_CREDENTIAL,
        operations.UPDATE_CREDENTIAL,
        operations.UPSERT_USER_CREDENTIAL,
        operations.INSTALL_MCP_SERVER,
        operations.UPDATE_MCP_CONFIG,
        operations.COMPLETE_MCP_OAUTH,
    )
)
_NOTHING_BUT_SECRETS: Final = frozenset(
    operation.id for operation in (operations.SET_SECRET, operations.SET_SECRETS)
)
_NAMES_A_TURN: Final = frozenset(
    operation.id for operation in (operations.SEND_MESSAGE, operations.CREATE_SESSION)
)


_Sent: TypeAlias = bytes | dict[str, JsonValue]
"""The body of a request: as it is sent, or the members of a form with files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One call over REST and its answer. Secrets in it are hidden, and headers are not kept.

    Attributes:
        operation: The operation's id in the contract; empty if the contract does not have it.
        method: HTTP method.
        path: Path as it was sent.
        status: HTTP status of the answer; None without an answer.
        query: Query parameters, in order.
        request: Body of the request: the JSON value, the text, or of a form its members. None when there is
            none or it was not kept.
        response: Body of the answer, likewise.
        request_size: Bytes of the request's body, of a form with files those of its members.
        response_size: Bytes of the answer's body.
        error: Why there was no answer; empty if there was one.
        started: When it was sent.
        duration: Seconds until the answer arrived or the call failed.
        correlation_id: The turn that the answer names, if it names one.
        retry: How many times the same call had been sent before.
        is_example: Whether the embedded daemon has no behaviour for the operation and made the answer up
            from the contract.
    """

    operation: str
    method: str
    path: str
    status: int | None
    query: tuple[tuple[str, str], ...] = ()
    request: JsonValue = field(default=None, repr=False)
    response: JsonValue = field(default=None, repr=False)
    request_size: int = 0
    response_size: int = 0
    error: str = ""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    duration: float = 0.0
    correlation_id: str | None = None
    retry: int = 0
    is_example: bool = False

    def __str__(self) -> str:
        operation = f" ({self.operation})" if self.operation else ""
        tried = f" on attempt {self.retry + 1}" if self.retry else ""
        came = (
            f"answered {self.status}{tried}{' with an example' if self.is_example else ''}"
            if self.status is not None
            else f"got no answer{tried}: {self.error}"
        )
        return f"{self.method} {self.path}{operation} {came}"

    def to_json(self) -> str:
        """The exchange as a JSON object on one line."""
        return json_text(self.to_wire())

    def to_wire(self) -> dict[str, JsonValue]:
        """The exchange as JSON values."""
        members: dict[str, JsonValue] = {one.name: getattr(self, one.name) for one in fields(self)}
        return members | {"started": self.started.isoformat(), "duration": round(self.duration, 6)}


Listener: TypeAlias = Callable[[Exchange], object]


class Exchanges(Sequence[Exchange]):
    """The last exchanges, oldest first. May be read while it grows.

    Args:
        keep: How many to keep at most.

    Raises:
        ValueError: `keep` is negative.
    """

    def __init__(self, keep: int) -> None:
        if keep < 0:
            raise ValueError(f"keep must be 0 or more exchanges, not {keep}")
        self._kept: deque[Exchange | Sending] = deque(maxlen=keep)
        self._lock = threading.Lock()
        self._seen = 0
        self._listeners: tuple[Listener, ...] = ()
        self.redactor = Redactor(before_forgetting=self._listed)
        """Hides the secrets that were exchanged."""
        in_forks(self)

    def after_fork(self) -> None:
        """Makes them usable in a forked child."""
        self._lock = threading.Lock()

    @property
    def keep(self) -> int:
        """How many are kept at most."""
        return self._kept.maxlen or 0

    @property
    def largest_body(self) -> int:
        """Bytes of the largest body that has to be read; 0 if no bodies are kept."""
        if self._listeners:
            return LARGEST_RECORDED
        return LARGEST_BODY if self.keep else 0

    @property
    def dropped(self) -> int:
        """How many exchanges were dropped or never kept."""
        return self._seen - len(self._kept)

    def of(self, operation: str) -> list[Exchange]:
        """The exchanges of one operation.

        Args:
            operation: The operation's id in the contract, such as `send_message`; empty for requests that
                are none of it.

        Raises:
            ValueError: The contract has no such operation.
        """
        if operation and operation not in _known():
            near = difflib.get_close_matches(operation, _known(), 5)
            hint = f"; there is {' and '.join(near)}" if near else ""
            raise ValueError(f"the contract has no operation {operation!r}{hint}")
        return [one for one in self if one.operation == operation]

    def clear(self) -> None:
        """Removes all exchanges, and resets the counts."""
        with self._lock:
            self._kept.clear()
            self._seen = 0

    def add(self, exchange: "Exchange | Sending") -> None:
        """Adds an exchange; if the list is full, the oldest is dropped.

        Args:
            exchange: The exchange, or one that has ended and is made when somebody looks.
        """
        with self._lock:
            if self._listeners:
                whole = exchange if isinstance(exchange, Exchange) else exchange.whole
                for listener in self._listeners:
                    listener(whole)
            self._seen += 1
            self._kept.append(exchange)

    def listen(self, listener: Listener) -> None:
        """Passes every exchange to a listener: first the existing ones, then each new one.

        Args:
            listener: Takes an exchange, with larger bodies than are kept here. It must be quick, must not
                raise, and must not use these exchanges.
        """
        with self._lock:
            for one in self._kept:
                listener(_made(one))
            self._listeners = (*self._listeners, listener)

    def unlisten(self, listener: Listener) -> None:
        """Removes a listener. Idempotent."""
        with self._lock:
            self._listeners = tuple(one for one in self._listeners if one != listener)

    @overload
    def __getitem__(self, index: int) -> Exchange: ...
    @overload
    def __getitem__(self, index: slice) -> list[Exchange]: ...
    def __getitem__(self, index: int | slice) -> Exchange | list[Exchange]:
        return self._listed()[index]

    def __iter__(self) -> Iterator[Exchange]:
        return iter(self._listed())

    def __len__(self) -> int:
        return len(self._kept)

    def _listed(self) -> list[Exchange]:
        """All of them, made now if nobody has looked before."""
        with self._lock:
            kept = list(self._kept)
        return [_made(one) for one in kept]

    def __repr__(self) -> str:
        return f"<{len(self)} exchanges, {self.dropped} dropped>"


class Sending:
    """An exchange that is under way; `answered` or `failed` ends it.

    What nobody looks at is not worth parsing: the exchange is made when it is asked for.

    Args:
        exchanges: Where it is kept.
        operation: What is called; None when that is not known before it ends.
        method: HTTP method.
        path: Path as it is sent.
        query: Query parameters.
        retry: How many times the same call was sent before.
    """

    def __init__(
        self,
        exchanges: Exchanges,
        operation: RestOperation[Any] | None,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        retry: int = 0,
    ) -> None:
        self.operation = operation
        self.is_example = False
        self._exchanges = exchanges
        self._method = method
        self._path = path
        self._query = query
        self._retry = retry
        self._request: _Sent = b""
        self._request_size = 0
        self._status: int | None = None
        self._response_size = 0
        self._error = ""
        self._turn: str | None = None
        self._duration = 0.0
        self._kept: Exchange | tuple[_Sent, bytes] = b"", b""
        self._started = datetime.now(UTC)
        self._clock = time.perf_counter()

    @property
    def is_kept(self) -> bool:
        """Whether bodies are worth looking at."""
        return self._exchanges.largest_body > 0

    def sends(self, content: bytes) -> None:
        """Notes the body of the request.

        Args:
            content: The body, in any encoding except multipart.
        """
        self._request_size = len(content)
        if len(content) <= self._exchanges.largest_body:
            self._request = content

    def sends_parts(self, parts: Sequence[Part]) -> None:
        """Notes the parts of a multipart request: texts, and of files their names and sizes."""
        self._request_size = sum(len(one.content) for one in parts)
        if not self.is_kept:
            return
        members: dict[str, JsonValue] = {}
        for one in parts:
            if one.filename is not None:
                members[one.name] = f"{one.filename} ({len(one.content)} bytes)"
            elif len(one.content) <= LARGEST_BODY:
                members[one.name] = one.content.decode("utf-8", errors="replace")
        self._request = members

    def sends_unread(self, size: int) -> None:
        """Notes that the request has a body, which is not looked at.

        Args:
            size: Its bytes.
        """
        self._request_size = size

    def answered(self, status: int, content: bytes, *, size: int | None = None) -> None:
        """Ends the exchange with its answer.

        Args:
            status: HTTP status.
            content: The body.
            size: Bytes of the body, if `content` is not the whole.
        """
        self._status = status
        self._response_size = len(content) if size is None else size
        if len(content) == self._response_size <= self._exchanges.largest_body:
            self._ended(content)
        else:
            self._turn = self._named(content) if self.is_kept else None
            self._ended(b"")

    def failed(self, error: str) -> None:
        """Ends the exchange without an answer.

        Args:
            error: Why.
        """
        self._error = error
        self._ended(b"")

    def _ended(self, response: bytes) -> None:
        self._duration = time.perf_counter() - self._clock
        redactor, request = self._exchanges.redactor, self._request
        if self.is_kept:
            everything = self._id in _NOTHING_BUT_SECRETS
            # Before hiding anything: the answer may repeat the request.
            if everything or isinstance(request, dict) or may_hold_secret(request):
                redactor.learn_from(_body(request), everything=everything)
            if may_hold_secret(response):
                redactor.learn_from(_body(response))
        self._kept, self._request = (request, response), b""
        self._exchanges.add(self)
        if max(len(request), len(response)) > LARGEST_BODY:
            # Such a body was here for those who listen; this drops it.
            _ = self.exchange

    @property
    def _id(self) -> str:
        return self.operation.id if self.operation is not None else ""

    @property
    def exchange(self) -> Exchange:
        """The exchange as it is kept, after its end."""
        # Two threads may make it at once; they make the same.
        if isinstance(kept := self._kept, tuple):
            self._kept = kept = self._make(*kept, LARGEST_BODY)
        return kept

    @property
    def whole(self) -> Exchange:
        """The exchange with bodies that are too large to be kept, for those who listen while it ends."""
        return self._make(*kept, LARGEST_RECORDED) if isinstance(kept := self._kept, tuple) else kept

    def _make(self, request: _Sent, response: bytes, largest: int) -> Exchange:
        hiding, holds_secrets = self._exchanges.redactor, self._id in _HOLD_SECRETS
        sent, shown, answer = _body(request), None, None
        if isinstance(request, dict) or len(request) <= largest:
            shown = hiding.json(sent, everything=holds_secrets or self._id in _NOTHING_BUT_SECRETS)
        if len(response) <= largest:
            answer = self._answer(sent, _body(response))
        return Exchange(
            operation=self._id,
            method=self._method,
            path=hiding.text(self._path),
            status=self._status,
            query=hiding.pairs(self._query, everything=holds_secrets),
            request=shown,
            response=answer,
            request_size=self._request_size,
            response_size=self._response_size,
            error=hiding.text(self._error),
            started=self._started,
            duration=self._duration,
            correlation_id=self._turn or self._named(response),
            retry=self._retry,
            is_example=self.is_example,
        )

    def _answer(self, request: JsonValue, response: JsonValue) -> JsonValue:
        if self._id in _HOLD_SECRETS:
            # Secrets sent under other names may be repeated in this answer only.
            once = Redactor()
            once.learn_from(_nested(request), everything=True)
            response = once.json(response)
        return self._exchanges.redactor.json(response)

    def _named(self, content: bytes) -> str | None:
        """The turn that an answer names."""
        if self._id not in _NAMES_A_TURN or self._status is None or not 200 <= self._status < 300:
            return None
        assert self.operation is not None
        try:
            result: object = self.operation.read(content)
        except (Refused, Undecodable):
            # Whoever made the call is told; here it names no turn.
            return None
        match result:
            case models.MessageAccepted(correlation_id=turn):
                return turn
            case models.CreatedSession(first_message=models.FirstMessage(correlation_id=turn)):
                return turn
            case _:
                return None


def sending(exchanges: Exchanges, call: Call[Any], *, retry: int = 0) -> Sending:
    """Begins the exchange of a call that is about to be sent.

    Args:
        exchanges: Where it is kept.
        call: The call.
        retry: How many times it was sent before.
    """
    operation = call.operation
    return Sending(exchanges, operation, operation.method, call.path, query=call.query, retry=retry)


def _made(one: Exchange | Sending) -> Exchange:
    return one if isinstance(one, Exchange) else one.exchange


@cache
def _known() -> tuple[str, ...]:
    return tuple(one.id for one in operations.OPERATIONS)


def _body(content: _Sent) -> JsonValue:
    if isinstance(content, dict):
        return content
    if not content:
        return None
    value = as_json(content)
    if value is not None:
        return value
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return text if "\0" not in text else None


def _nested(value: JsonValue) -> JsonValue:
    """The members of an object that are objects or lists; the others only describe it."""
    if not isinstance(value, Mapping):
        return value
    return [one for one in value.values() if isinstance(one, dict | list)]
