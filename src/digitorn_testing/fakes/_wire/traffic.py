"""Records the REST calls that reach the embedded daemon."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from digitorn_testing._exchanges import EXAMPLE_HEADER, LARGEST_BODY, Exchanges, Sending
from digitorn_testing._generated import operations
from digitorn_testing._generated._runtime import RestOperation

from .socketio import AsgiApp, Scope

_OPERATIONS: Final = {operation.id: operation for operation in operations.OPERATIONS}
_EXAMPLE: Final = EXAMPLE_HEADER.encode()
_BEARER: Final = "bearer "


def recorded(app: AsgiApp, exchanges: Exchanges) -> AsgiApp:
    """An application whose calls are recorded.

    Args:
        app: What serves them.
        exchanges: Where they are kept.
    """
    if not exchanges.keep:
        return app

    async def serve(
        scope: Scope, receive: Callable[[], Awaitable[Scope]], send: Callable[[Scope], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        call = _RecordedCall(scope, exchanges)

        async def received() -> Scope:
            message = await receive()
            call.received(message)
            return message

        async def sent(message: Scope) -> None:
            call.sent(message)
            await send(message)

        try:
            await app(scope, received, sent)
        except BaseException as error:
            call.end(type(error).__name__)
            raise
        call.end("no answer")

    return serve


class _RecordedCall:
    """One call while it is served."""

    def __init__(self, scope: Scope, exchanges: Exchanges) -> None:
        self._scope = scope
        headers = {name.lower(): text.decode("latin-1") for name, text in scope["headers"]}
        authorization = headers.get(b"authorization", "")
        if authorization.lower().startswith(_BEARER):
            exchanges.redactor.learn(authorization[len(_BEARER) :].strip())
        self._is_multipart = headers.get(b"content-type", "").startswith("multipart/")
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        self._sending = Sending(exchanges, None, scope["method"], raw_path.decode("latin-1"), query=query)
        self._request = _KeptBody()
        self._response = _KeptBody()
        self._status: int | None = None
        self._ended = False

    def received(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.request":
            self._request.add(message.get("body", b""))

    def sent(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._sending.is_example = any(name == _EXAMPLE for name, _ in message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self._response.add(message.get("body", b""))
            if not message.get("more_body", False):
                # Before the caller has the answer, so that the call is here when it looks.
                self.end()

    def end(self, error: str = "") -> None:
        """Ends the exchange, unless it has ended."""
        if self._ended:
            return
        self._ended = True
        self._sending.operation = _operation(self._scope)
        if self._is_multipart:
            # Its texts and files cannot be told apart here without parsing it once more.
            self._sending.sends_unread(self._request.size)
        elif self._request.is_whole:
            self._sending.sends(self._request.content)
        else:
            self._sending.sends_unread(self._request.size)
        if self._status is None or error:
            self._sending.failed(error)
        else:
            self._sending.answered(self._status, self._response.content, size=self._response.size)


class _KeptBody:
    """The beginning of a body, as far as it may be kept."""

    def __init__(self) -> None:
        self.content = b""
        self.size = 0

    @property
    def is_whole(self) -> bool:
        return self.size == len(self.content)

    def add(self, chunk: bytes) -> None:
        if self.is_whole and self.size + len(chunk) <= LARGEST_BODY:
            self.content += chunk
        self.size += len(chunk)


def _operation(scope: Scope) -> RestOperation[Any] | None:
    """The operation that served a call; None when none did."""
    found = getattr(scope.get("route"), "operation_id", None) or getattr(
        scope.get("endpoint"), "__name__", None
    )
    return _OPERATIONS.get(found) if isinstance(found, str) else None
