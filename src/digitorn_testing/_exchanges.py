"""REST exchanges: requests and answers, with their secrets hidden."""

import difflib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, TypeAlias, overload

from pydantic import JsonValue

from ._concurrency.forks import in_forks
from ._generated import models, operations
from ._generated._runtime import Call, Part, Refused, RestOperation, Undecodable
from ._secrets.redaction import Redactor, as_json

KEPT: Final = 50
"""How many exchanges a client keeps by default."""

LARGEST_BODY: Final = 16 * 1024
"""Bytes of the largest body that is kept; for larger bodies only the size is kept."""

LARGEST_RECORDED: Final = 1024 * 1024
"""Bytes of the largest body that a recording holds."""

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

    def __str__(self) -> str:
        operation = f" ({self.operation})" if self.operation else ""
        tried = f" on attempt {self.retry + 1}" if self.retry else ""
        came = (
            f"answered {self.status}{tried}"
            if self.status is not None
            else f"got no answer{tried}: {self.error}"
        )
        return f"{self.method} {self.path}{operation} {came}"

    def to_json(self) -> str:
        """The exchange as a JSON object on one line."""
        return json.dumps(self.to_wire(), ensure_ascii=False)

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
        self._kept: deque[Exchange] = deque(maxlen=keep)
        self._lock = threading.Lock()
        self._seen = 0
        self._listeners: tuple[Listener, ...] = ()
        self.redactor = Redactor()
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

    def add(self, exchange: Exchange, whole: Exchange | None = None) -> None:
        """Adds an exchange; if the list is full, the oldest is dropped.

        Args:
            exchange: The exchange.
            whole: The exchange with bodies that are too large to be kept, for those who listen.
        """
        with self._lock:
            for listener in self._listeners:
                listener(whole or exchange)
            self._seen += 1
            self._kept.append(exchange)

    def listen(self, listener: Listener) -> None:
        """Passes every exchange to a listener: first the existing ones, then each new one.

        Args:
            listener: Takes an exchange, with larger bodies than are kept here. It must be quick, must not
                raise, and must not use these exchanges.
        """
        with self._lock:
            for exchange in self._kept:
                listener(exchange)
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
        with self._lock:
            return list(self._kept)

    def __repr__(self) -> str:
        return f"<{len(self)} exchanges, {self.dropped} dropped>"


class Sending:
    """An exchange that is under way; `answered` or `failed` ends it.

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
        self._exchanges = exchanges
        self._redactor = exchanges.redactor
        self._method = method
        self._path = path
        self._query = query
        self._retry = retry
        self._request: JsonValue = None
        self._request_size = 0
        self._is_large = False
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
        if self.is_kept and len(content) <= self._exchanges.largest_body:
            self._request = _body(content)
            self._is_large = len(content) > LARGEST_BODY

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

    def answered(self, status: int, content: bytes, *, size: int | None = None) -> Exchange:
        """The exchange with its answer.

        Args:
            status: HTTP status.
            content: The body.
            size: Bytes of the body, if `content` is not the whole.
        """
        return self._ended(status, content, len(content) if size is None else size)

    def failed(self, error: str) -> Exchange:
        """The exchange without an answer.

        Args:
            error: Why.
        """
        return self._ended(None, b"", 0, error)

    def _ended(self, status: int | None, content: bytes, size: int, error: str = "") -> Exchange:
        duration = time.perf_counter() - self._clock
        id_ = self.operation.id if self.operation is not None else ""
        request = response = turn = None
        if self.is_kept:
            response = _body(content) if size == len(content) <= self._exchanges.largest_body else None
            secret = id_ in _NOTHING_BUT_SECRETS
            # Before hiding anything: the answer may repeat the request.
            self._redactor.learn_from(self._request, everything=secret)
            self._redactor.learn_from(response)
            request = self._redactor.json(self._request, everything=secret or id_ in _HOLD_SECRETS)
            response = self._answer(response, id_)
            turn = self._turn(content) if status is not None and 200 <= status < 300 else None
        query = self._redactor.pairs(self._query, everything=id_ in _HOLD_SECRETS)
        exchange = Exchange(
            operation=id_,
            method=self._method,
            path=self._redactor.text(self._path),
            status=status,
            query=query,
            request=request,
            response=response,
            request_size=self._request_size,
            response_size=size,
            error=self._redactor.text(error),
            started=self._started,
            duration=duration,
            correlation_id=turn,
            retry=self._retry,
        )
        kept = exchange
        if self._is_large:
            kept = replace(kept, request=None)
        if size > LARGEST_BODY:
            kept = replace(kept, response=None)
        self._exchanges.add(kept, exchange)
        return kept

    def _answer(self, response: JsonValue, operation: str) -> JsonValue:
        if operation in _HOLD_SECRETS:
            # Secrets sent under other names may be repeated in this answer only.
            once = Redactor()
            once.learn_from(_nested(self._request), everything=True)
            response = once.json(response)
        return self._redactor.json(response)

    def _turn(self, content: bytes) -> str | None:
        if self.operation is None or self.operation.id not in _NAMES_A_TURN:
            return None
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


@cache
def _known() -> tuple[str, ...]:
    return tuple(one.id for one in operations.OPERATIONS)


def _body(content: bytes) -> JsonValue:
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
